"""The content blocks of a model's answer, as the parts of a reply's log. Pure.

Blocks are Anthropic's: https://platform.claude.com/docs/en/api/messages. Other services' answers are stored as text
blocks. A block whose kind nobody knows, or that may not be shown, is no part.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from chatrelay.domain.attachments import Block
from chatrelay.domain.log import Cited, Log, Part, Piece, Written
from chatrelay.domain.text import utf16_length, utf16_prefix

RESULT_LENGTH = 30_000
"""UTF-16 code units of a tool's result that are shown."""
FACT_BYTES = 512
TOOLS = {"server_tool_use": "model", "mcp_tool_use": "model", "tool_use": "client"}
"""Who runs a tool, by the block that calls it."""
SEALED = ("encrypted_content", "encrypted_index", "signature")
"""What only the service may see."""


def log_of(blocks: Iterable[Block], before: Iterable[Part] = ()) -> Log:
    """Return the log of an answer of `blocks`, after the parts `before`, which no block holds."""
    log = Log(before)
    for written in read(blocks):
        log.append(written)
    log.settle()
    return log


def read(blocks: Iterable[Block]) -> Iterator[Written]:
    """Yield whole blocks as a stream of them is written."""
    for block in blocks:
        match block:
            case {"type": "text", "text": str(text)}:
                yield Piece("message", text)
            case {"type": "thinking", "thinking": str(thought)}:
                yield Piece("reasoning", thought)
        yield from concluded(block)


def concluded(block: Block) -> Iterator[Written]:
    """Yield what a block adds to the log with its end: the sources of a text, a tool's call or result."""
    match block:
        case {"type": "text", "text": str(text), "citations": [*cited]}:
            for each in cited:
                match each:
                    case {"url": str(url), **more} if url:
                        title = more.get("title")
                        yield Cited(url, _fact(title if isinstance(title, str) else ""), utf16_length(text))
        case {"type": str(kind), "id": str(call), "name": str(name), "input": asked} if kind in TOOLS:
            written = json.dumps(asked or {}, ensure_ascii=False, allow_nan=False)
            yield Piece("tool", written, {"call": _fact(call), "name": _fact(name), "by": TOOLS[kind]})
        case {"type": str(kind), "tool_use_id": str(call)} if kind.endswith("_tool_result"):
            found = block.get("content")
            told = json.dumps(_unsealed(found), ensure_ascii=False, allow_nan=False)
            result = found.get("type") if isinstance(found, dict) else None
            is_error = bool(block.get("is_error")) or (isinstance(result, str) and result.endswith("_error"))
            facts: dict[str, Any] = {"call": _fact(call), "is_error": is_error}
            if utf16_length(told) > RESULT_LENGTH:
                told, facts["truncated"] = utf16_prefix(told, RESULT_LENGTH), True
            yield Piece("tool_result", told, facts)


def _unsealed(value: Any) -> Any:
    if isinstance(value, list):
        return [_unsealed(each) for each in value]
    if isinstance(value, dict):
        return {name: _unsealed(each) for name, each in value.items() if name not in SEALED}
    return value


def _fact(text: str) -> str:
    """Return a describing field, at most ``FACT_BYTES`` of UTF-8."""
    return text.encode()[:FACT_BYTES].decode(errors="ignore")
