"""Answers of services that are told texts only: streamed in parts, kept as the parts and as one text. Pure."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from chatrelay.domain.errors import Reason, Said, Upstream
from chatrelay.domain.log import Piece, Written, is_text
from chatrelay.domain.reply import Ending
from chatrelay.domain.text import SurrogateJoiner
from chatrelay.domain.turns import Room, estimate_tokens

ROOM = Room(tokens=100_000)
"""The room of models that read text only; no setting says otherwise."""
PARAGRAPH = "\n\n"


@dataclass(frozen=True)
class End:
    """How a model ended, as far as its service said. `usage` may lack what ``Ending`` has."""

    stop_reason: str
    model: str
    usage: dict[str, int]


class Growing:
    """The text or the thought at the end of an answer, while it grows. `kind` is None when neither does."""

    def __init__(self) -> None:
        self.kind: Literal["message", "reasoning"] | None = None
        self._stretch: object = None
        self._written: list[str] = []
        self._joiner = SurrogateJoiner()

    @property
    def text(self) -> str:
        """What is written of this stretch."""
        return "".join(self._written)

    def grow(self, kind: Literal["message", "reasoning"], delta: str, stretch: object = None) -> Iterator[Piece]:
        """Yield what `delta` adds. Surrogate pairs that are cut between deltas of one `stretch` are joined.

        Texts of several stretches follow each other as they are; thoughts are paragraphs, as in OpenAI's own clients.
        """
        if delta and (kind, stretch) != (self.kind, self._stretch):
            is_paragraph = kind == self.kind == "reasoning"
            yield from self.end()
            self.kind, self._stretch = kind, stretch
            delta = PARAGRAPH + delta if is_paragraph else delta
        if text := self._joiner.feed(delta):
            self._written.append(text)
            yield Piece(kind, text)

    def end(self) -> Iterator[Piece]:
        """Yield what is left of the stretch: something else follows it."""
        if self.kind and (rest := self._joiner.flush()):
            yield Piece(self.kind, rest)
        self.kind, self._written = None, []


def text_field(value: object) -> str:
    """Return a text of a service's event, empty if it is null or absent. Raise ``ValueError`` for anything else."""
    if value is not None and not isinstance(value, str):
        raise ValueError("no text")
    return value or ""


async def answered(events: AsyncGenerator[Written | End], heard: Said) -> AsyncGenerator[Written | Ending]:
    """Yield the answer as ``Agent`` does. Raise ``Upstream`` if `events` has no end; `heard` goes into that error."""
    texts: list[str] = []
    async with aclosing(events):
        async for event in events:
            if isinstance(event, End):  # nothing after the end counts
                yield ending("".join(texts), event)
                return
            if is_text(event):
                texts.append(event.content)
            yield event
    raise Upstream("The model's service cut its answer off.", reason=Reason.CUT_OFF, said=heard)


def ending(text: str, end: End) -> Ending:
    """Return the ending of an answer that is `text`."""
    blocks = [{"type": "text", "text": text}] if text else []
    return Ending(end.stop_reason, end.model, {"output_tokens": estimate_tokens(text)} | end.usage, blocks)
