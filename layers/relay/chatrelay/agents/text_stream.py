"""Answers that are text only. Pure."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from chatrelay.domain.errors import Reason, Said, Upstream
from chatrelay.domain.log import Piece, Written
from chatrelay.domain.reply import Ending
from chatrelay.domain.text import SurrogateJoiner
from chatrelay.domain.turns import Room, estimate_tokens

ROOM = Room(tokens=100_000)
"""The room of models that read text only; no setting says otherwise."""


@dataclass(frozen=True)
class End:
    """How a model ended, as far as its service said. `usage` may lack what ``Ending`` has."""

    stop_reason: str
    model: str
    usage: dict[str, int]


async def answered(deltas: AsyncGenerator[str | End], heard: Said) -> AsyncGenerator[Written | Ending]:
    """Yield the answer as ``Agent`` does. Raise ``Upstream`` if `deltas` has no end; `heard` goes into that error."""
    joiner = SurrogateJoiner()
    texts: list[str] = []
    async with aclosing(deltas):
        async for delta in deltas:
            if text := joiner.flush() if isinstance(delta, End) else joiner.feed(delta):
                texts.append(text)
                yield Piece("message", text)
            if isinstance(delta, End):  # nothing after the end counts
                yield ending("".join(texts), delta)
                return
    raise Upstream("The model's service cut its answer off.", reason=Reason.CUT_OFF, said=heard)


def ending(text: str, end: End) -> Ending:
    """Return the ending of an answer that is `text`."""
    blocks = [{"type": "text", "text": text}] if text else []
    return Ending(end.stop_reason, end.model, {"output_tokens": estimate_tokens(text)} | end.usage, blocks)
