from collections.abc import Callable

import pytest

from chatrelay.domain.errors import SettingError
from chatrelay.settings import BridgeHub, Claude, Environment, Handshake, OpenAI

CLAUDE = {
    "CLAUDE_BACKEND": "anthropic",
    "CLAUDE_SECRET": "relay/anthropic",
    "CLAUDE_MODEL": "claude-sonnet-5",
    "CLAUDE_FALLBACK_MODEL": "claude-haiku-5",
    "CLAUDE_THINKING": "true",
    "CLAUDE_WEB_SEARCHES": "0",
    "CLAUDE_MAX_TOKENS": "4096",
    "CLAUDE_PROMPT": "",
    "CLAUDE_READ_TIMEOUT": "60",
    "CLAUDE_HISTORY_TOKENS": "100000",
}
BRIDGEHUB = {
    "BRIDGEHUB_URL": "https://bridge.example",
    "BRIDGEHUB_SECRET": "relay/bridgehub",
    "BRIDGEHUB_WORKING_DIRECTORY": "/work",
}
OPENAI = {
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "OPENAI_SECRET": "relay/openai",
    "CODEX_MODEL": "gpt-5",
    "CODEX_THINKING": "true",
    "CODEX_MAX_TOKENS": "4096",
    "CODEX_PROMPT": "",
    "CODEX_READ_TIMEOUT": "60",
}


def test_the_settings_of_claude_are_typed() -> None:
    assert Claude.read(Environment(CLAUDE)) == Claude(
        bedrock=False,
        secret="relay/anthropic",
        model="claude-sonnet-5",
        fallback_model="claude-haiku-5",
        thinking=True,
        web_searches=0,
        max_tokens=4096,
        prompt="",
        read_timeout_s=60,
        history_tokens=100_000,
    )


def test_the_settings_of_codex_are_typed() -> None:
    assert BridgeHub.read(Environment(BRIDGEHUB)) == BridgeHub("https://bridge.example", "relay/bridgehub", "/work")
    assert OpenAI.read(Environment(OPENAI)) == OpenAI(
        "https://api.openai.com/v1", "relay/openai", "gpt-5", True, 4096, "", read_timeout_s=60
    )


@pytest.mark.parametrize(
    ("read", "variables", "name"),
    [
        (read, variables, name)
        for read, variables in [(Claude.read, CLAUDE), (BridgeHub.read, BRIDGEHUB), (OpenAI.read, OPENAI)]
        for name in variables
    ],
    ids=[*CLAUDE, *BRIDGEHUB, *OPENAI],
)
def test_a_missing_variable_is_named(
    read: Callable[[Environment], object], variables: dict[str, str], name: str
) -> None:
    present = {key: value for key, value in variables.items() if key != name}

    with pytest.raises(SettingError, match=f"{name} is missing"):
        read(Environment(present))


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "1e3", "many", "1 5", "²", "9" * 5000])
def test_a_number_must_be_a_whole_one(value: str) -> None:
    with pytest.raises(SettingError, match="CLAUDE_MAX_TOKENS must be a whole number from 1 on"):
        Claude.read(Environment({**CLAUDE, "CLAUDE_MAX_TOKENS": value}))


@pytest.mark.parametrize(
    "value",
    [
        "",
        "bridge.example",
        "ftp://bridge.example",
        "http://[::1",
        "https://bridge.example:99999",
        "https://bridge.example:",
        "https://alice:secret@bridge.example",
        "https://bridge.example/?q=1",
        "https://bridge..example",
        "https://bridge.example/ a",
    ],
)
def test_an_address_must_be_one_that_can_be_asked(value: str) -> None:
    with pytest.raises(SettingError, match="BRIDGEHUB_URL must be an address"):
        BridgeHub.read(Environment({**BRIDGEHUB, "BRIDGEHUB_URL": value}))


@pytest.mark.parametrize("value", ["claude-sonnet-5\n", " claude-sonnet-5", "\ufeffclaude-sonnet-5\r\n"])
def test_a_variable_is_taken_as_it_was_meant_when_it_was_pasted(value: str) -> None:
    assert Claude.read(Environment({**CLAUDE, "CLAUDE_MODEL": value})).model == "claude-sonnet-5"


@pytest.mark.parametrize("value", ["", "-1", "1.5", "many"])
def test_a_count_must_be_a_whole_number(value: str) -> None:
    with pytest.raises(SettingError, match="CLAUDE_WEB_SEARCHES must be a whole number from 0 on"):
        Claude.read(Environment({**CLAUDE, "CLAUDE_WEB_SEARCHES": value}))


@pytest.mark.parametrize("value", ["", "True", "1", "yes", "fal se"])
def test_a_flag_must_be_true_or_false(value: str) -> None:
    with pytest.raises(SettingError, match="FIRST_FRAME_AUTH must be true or false"):
        Handshake.read(Environment({"FIRST_FRAME_AUTH": value, "ALLOWED_ORIGINS": ""}))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", set()),
        (" , ,", set()),
        ("a", {"a"}),
        ("https://a.example, https://b.example,", {"https://a.example", "https://b.example"}),
    ],
    ids=["empty", "only commas", "one", "two"],
)
def test_a_list_has_commas_between_its_names(value: str, names: set[str]) -> None:
    variables = {"FIRST_FRAME_AUTH": "true", "ALLOWED_ORIGINS": value}

    assert Handshake.read(Environment(variables)) == Handshake(True, frozenset(names))
