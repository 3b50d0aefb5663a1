"""What a deployment chooses, as most tests have it."""

from chatrelay.settings import Claude

CLAUDE = Claude(
    bedrock=False,
    secret="relay/anthropic",
    model="claude-sonnet-5",
    fallback_model="",
    thinking=False,
    web_searches=0,
    max_tokens=4096,
    prompt="",
    read_timeout_s=60,
    history_tokens=100_000,
)
