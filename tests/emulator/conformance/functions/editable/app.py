"""A test changes this file while it is served."""

from typing import Any

ANSWER = "before"


def handler(_event: dict[str, Any], _context: Any) -> str:
    return ANSWER
