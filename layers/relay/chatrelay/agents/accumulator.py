"""A message of Anthropic's stream as it grows: events in, pieces of a log out, the content blocks at the end. Pure.

Grammar: https://platform.claude.com/docs/en/build-with-claude/streaming. Events of unknown types are ignored, and so is
any field that is null or absent. Everything else outside the grammar raises ``ValueError``.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from chatrelay.agents.usage import counted
from chatrelay.domain.attachments import Block
from chatrelay.domain.blocks import concluded
from chatrelay.domain.log import Kind, Piece, Written
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
SHOWN: dict[str, Kind] = {"text": "message", "thinking": "reasoning"}
"""What is shown while it grows, and as which kind of part."""


class Accumulator:
    """One message."""

    def __init__(self) -> None:
        self.started = False
        self.stopped = False
        self.stop_reason: str | None = None
        self.model = ""
        self.usage: dict[str, int] = {}
        self._blocks: dict[int, Block] = {}
        self._open: int | None = None
        self._joiner = SurrogateJoiner()

    @property
    def blocks(self) -> list[Block]:
        """The content blocks as they came, but halves of surrogate pairs, which can be neither sent nor stored."""
        return list(map(_whole, self._blocks.values()))

    def feed(self, event: object) -> Iterator[Written]:
        """Yield what `event` adds to the reply's log. Raise ``ValueError`` outside the grammar."""
        match event:
            case {"type": str(kind)} if kind in NAMES and (self.stopped or self.started == (kind == "message_start")):
                raise ValueError("a message that has not started, has started already, or is over")
            case {"type": "message_start", "message": {} as message}:
                self.started = True
                self.model = _text(message, "model")
                self.usage |= counted(message.get("usage"), *USAGE)
            case {"type": "content_block_start", "index": int(index), "content_block": {"type": str()} as block} if (
                index > next(reversed(self._blocks), -1)
            ):
                yield from self._finish(self._open)
                yield from self._begin(index, block)
            case {"type": "content_block_delta", "index": int(index), "delta": {} as delta} if index == self._open:
                yield from self._grow(self._blocks[index], delta)
            case {"type": "content_block_stop", "index": int(index)} if index in self._blocks:
                yield from self._finish(index)
            case {"type": "message_delta", **more}:
                self._conclude(more)
            case {"type": "message_stop"}:
                yield from self._finish(self._open)
                self.stopped = True
            case {"type": str(kind)} if kind in NAMES:
                raise ValueError("an event that lacks what it must have")
            case {"type": str()}:
                pass  # a ping, or an event of a later version
            case _:
                raise ValueError("no event of the service")

    def _begin(self, index: int, block: Block) -> Iterator[Written]:
        kind = block["type"]
        self._open = index
        self._blocks[index] = {**block, kind: _text(block, kind)} if kind in SHOWN else dict(block)
        if kind in SHOWN:
            yield from self._shown(kind, block)

    def _grow(self, block: Block, delta: dict[str, Any]) -> Iterator[Written]:
        kind = delta.get("type")
        if kind == "citations_delta" and isinstance(delta.get("citation"), dict):
            block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
        if not isinstance(kind, str) or kind not in GROWING:
            return
        name = GROWING[kind]
        # What is sent as text has to be what is stored as text, or no resume would match.
        if name in SHOWN and name != block["type"]:
            raise ValueError(f"a {name} in a block of another type")
        block[name] = _text(block, name) + _text(delta, name)
        if name in SHOWN:
            yield from self._shown(name, delta)

    def _shown(self, name: str, grown: dict[str, Any]) -> Iterator[Written]:
        """Yield the next piece of a text or a thought, from a delta or from the beginning of a block."""
        if text := self._joiner.feed(_text(grown, name)):
            yield Piece(SHOWN[name], text)

    def _finish(self, index: int | None) -> Iterator[Written]:
        """End the block `index` if it is open: by its stop, by the next block, or by the end of the message."""
        if index is None or index != self._open:
            return
        block, self._open = self._blocks[index], None
        if rest := self._joiner.flush():  # a pair that is cut goes on in its own block only
            yield Piece(SHOWN[block["type"]], rest)
        if block.get("partial_json"):
            block.pop("input", None)
            with suppress(ValueError, RecursionError):  # an input that is cut off at the model's limit is none
                value = json.loads(block["partial_json"])
                json.dumps(value, allow_nan=False)  # Python reads numbers that JSON does not have
                block["input"] = value
        if block["type"] not in SHOWN or "citations" in block:
            yield from concluded(_whole(block))

    def _conclude(self, more: Mapping[Any, Any]) -> None:
        # There may be several, with a stop reason each: the last holds.
        if isinstance(delta := more.get("delta"), dict):
            self.stop_reason = _text(delta, "stop_reason") or self.stop_reason
        # Cumulative: a number that is left out stays as it was.
        self.usage |= counted(more.get("usage"), *USAGE)


def _whole(block: Block) -> Block:
    """Return a block without halves of surrogate pairs, and without the text that its input was read from."""
    written = {name: value for name, value in block.items() if name != "partial_json"}
    joined: Block = json.loads(join_surrogates(json.dumps(written, ensure_ascii=False, allow_nan=False)))
    return joined


def _text(fields: dict[str, Any], name: str) -> str:
    """Return a text field, empty if it is null or absent."""
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value or ""
