"""What functions print, as far as whoever runs the gateway wants to read it without asking."""

import json
from collections.abc import Callable, Mapping
from typing import Any

Sentence = Callable[[Mapping[str, Any]], str | None]
"""Returns the gateway's own line for a structured line of a log; None if it has none for it."""

_GRAVE = ("WARNING", "ERROR", "CRITICAL")
# What every structured line has, beside what it is about. Source: Powertools' logger, and Lambda's JSON log format.
_COMMON = {
    *("level", "location", "message", "timestamp", "service", "cold_start", "xray_trace_id", "logger", "requestId"),
    *("function_name", "function_memory_size", "function_arn", "function_request_id", "stack_trace", "stackTrace"),
}


def readable(line: str, sentence: Sentence) -> str | None:
    """Return one readable line for a line of a function's log; None if it is for `--verbose` only.

    Warnings and errors are told, written as JSON or as text, and whatever `sentence` says of a structured line.
    """
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        # Lambda's text format begins with the level. Source: awslambdaric, bootstrap.py.
        return line if line.startswith(tuple(f"[{level}]" for level in _GRAVE)) else None
    if not isinstance(entry, dict):
        return None
    said = sentence(entry)
    if said is None and entry.get("level") in _GRAVE:
        details = "".join(f", {name}={value}" for name, value in entry.items() if name not in _COMMON)
        return f"{entry['level']} {entry.get('message', '')}{details}"
    return said
