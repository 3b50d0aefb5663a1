"""A conversation as a request to OpenAI, as text only. Pure.

OpenAI's rules: texts have at most 10,485,760 characters and are not null; instructions are left out rather than empty;
roles may come in any order. [openai-openapi, EasyInputMessage; public reports] ``max_output_tokens`` is at least 16,
which the template ensures.
"""

from collections.abc import Sequence

from chatrelay.agents.requests import Request
from chatrelay.agents.requests.plain_text import as_plain_messages
from chatrelay.domain.turns import Turn
from chatrelay.settings import OpenAI


def to_openai(turns: Sequence[Turn], instructions: str, settings: OpenAI) -> Request:
    """Return a request to answer the last of `turns`. `instructions` are the system prompt, or blank."""
    request: Request = {
        "model": settings.model,
        "input": as_plain_messages(turns),
        "max_output_tokens": settings.max_tokens,
        "stream": True,
        "store": False,
    }
    if settings.thinking:  # refused by models that do not think, and for accounts that OpenAI has not verified
        request["reasoning"] = {"summary": "auto"}
    return {**request, "instructions": instructions} if instructions.strip() else request
