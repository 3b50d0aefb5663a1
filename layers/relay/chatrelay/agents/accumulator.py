"""A message of Anthropic's stream as it grows: events in, texts and asides out, the content blocks at the end. Pure.

Grammar: https://platform.claude.com/docs/en/build-with-claude/streaming. Events of unknown types are ignored, and so is
any field that is null or absent. Everything else outside the grammar raises ``ValueError``.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from chatrelay.agents.usage import counted
from chatrelay.domain.attachments import Block
from chatrelay.domain.reply import Aside
from chatrelay.domain.text import SurrogateJoiner, join_surrogates

USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
NAMES = ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_stop")
GROWING = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "input_json_delta": "partial_json",
}
"""The field that a delta of each type adds to; delta and block give it the same name. Other types are newer."""


class Accumulator:
    """One message. `texts` and `thoughts` join surrogate pairs that the stream cuts, across an answer's messages."""

    def __init__(self, texts: SurrogateJoiner, thoughts: SurrogateJoiner) -> None:
        self.started = False
        self.stopped = False
        self.stop_reason: str | None = None
        self.model = ""
        self.usage: dict[str, int] = {}
        self._blocks: dict[int, Block] = {}
        self._texts = texts
        self._thoughts = thoughts

    @property
    def blocks(self) -> list[Block]:
        """The content blocks as they came, but halves of surrogate pairs, which can be neither sent nor stored."""
        written = [
            {name: value for name, value in block.items() if name != "partial_json"} for block in self._blocks.values()
        ]
        joined: list[Block] = json.loads(join_surrogates(json.dumps(written, ensure_ascii=False, allow_nan=False)))
        return joined

    @property
    def _last(self) -> int:
        """The index of the block that grows, -1 before the first."""
        return next(reversed(self._blocks), -1)

    def feed(self, event: object) -> str | Aside | None:
        """Return the text or the aside in `event`, if there is one. Raise ``ValueError`` outside the grammar."""
        match event:
            case {"type": str(kind)} if kind in NAMES and (self.stopped or self.started == (kind == "message_start")):
                raise ValueError("a message that has not started, has started already, or is over")
            case {"type": "message_start", "message": {} as message}:
                self.started = True
                self.model = _text(message, "model")
                self._count(message)
            case {"type": "content_block_start", "index": int(index), "content_block": {"type": str()} as block} if (
                index > self._last
            ):
                return self._begin(index, block)
            case {"type": "content_block_delta", "index": int(index), "delta": {} as delta} if index == self._last:
                return self._grow(self._blocks[index], delta)
            case {"type": "content_block_stop", "index": int(index)} if index in self._blocks:
                return self._finish(self._blocks[index])
            case {"type": "message_delta", **more}:
                self._conclude(more)
            case {"type": "message_stop"}:
                self.stopped = True
            case {"type": str(kind)} if kind in NAMES:
                raise ValueError("an event that lacks what it must have")
            case {"type": str()}:
                pass  # a ping, or an event of a later version
            case _:
                raise ValueError("no event of the service")
        return None

    def _begin(self, index: int, block: Block) -> str | Aside | None:
        kind = block["type"]
        self._blocks[index] = {**block, kind: _text(block, kind)} if kind in ("text", "thinking") else dict(block)
        if kind == "text":  # a pair that is cut goes on in its own block only
            return self._texts.flush() + self._texts.feed(_text(block, "text")) or None
        return self._next(kind, block)

    def _grow(self, block: Block, delta: dict[str, Any]) -> str | Aside | None:
        kind = delta.get("type")
        if kind == "citations_delta" and isinstance(delta.get("citation"), dict):
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        if not isinstance(kind, str) or kind not in GROWING:
            return None
        name = GROWING[kind]
        # What is sent as text has to be what is stored as text, or no resume would match.
        if name in ("text", "thinking") and name != block["type"]:
            raise ValueError(f"a {name} in a block of another type")
        block[name] = _text(block, name) + _text(delta, name)
        return self._next(name, delta)

    def _next(self, name: str, grown: dict[str, Any]) -> str | Aside | None:
        """Return the next piece of a text or a thought, from a delta or from the beginning of a block."""
        if name == "text":
            return self._texts.feed(_text(grown, name)) or None
        if name == "thinking" and (thought := self._thoughts.feed(_text(grown, name))):
            return Aside("thinking", thought)
        return None

    def _finish(self, block: Block) -> Aside | None:
        if "partial_json" in block:
            with suppress(ValueError, RecursionError):  # an input that is cut off at the model's limit is none
                value = json.loads(block["partial_json"])
                json.dumps(value, allow_nan=False)  # Python reads numbers that JSON does not have
                block["input"] = value
        used = _use(block)
        return Aside("tool", join_surrogates(used)) if used else None

    def _conclude(self, more: Mapping[Any, Any]) -> None:
        # There may be several, with a stop reason each: the last holds.
        if isinstance(delta := more.get("delta"), dict):
            self.stop_reason = _text(delta, "stop_reason") or self.stop_reason
        self._count(more)

    def _count(self, event: Mapping[Any, Any]) -> None:
        """Update the usage, which is cumulative; a number that is left out stays as it was."""
        self.usage |= counted(event.get("usage"), *USAGE)


def _text(fields: dict[str, Any], name: str) -> str:
    """Return a text field, empty if it is null or absent."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value or ""


def _use(block: Block) -> str:
    """Return what the model did with one of the service's tools, as a sentence for a person; empty for other blocks."""
    match block:
        case {"type": "server_tool_use", "input": {"query": str(query)}}:
            return f"Searching the web: {query}"
        case {"type": "web_search_tool_result", "content": [*pages]}:
            return "\n".join(["Found:", *filter(None, map(_page, pages))])
        case {"type": "web_search_tool_result"}:
            return "The search failed."
    return ""


def _page(page: object) -> str:
    match page:
        case {"title": str(title), "url": str(url)}:
            return f"{title} {url}"
        case {"url": str(url)}:
            return url
    return ""
