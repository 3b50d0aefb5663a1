"""A test changes this file while it is served."""

from typing import Any

ANSWER = "before"


def handler(event: dict[str, Any], context: Any) -> str:
    return ANSWER
