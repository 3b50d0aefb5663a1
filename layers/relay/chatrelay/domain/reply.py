"""One reply's state: its log so far, and how it ended. Pure.

                ┌──► COMPLETE      the model said all it had to say, or its limit
    STREAMING ──┼──► FAILED        the model's service refused, before any text
                ├──► INTERRUPTED   the stream or the worker broke off; what is written is kept
                └──► CANCELLED     the user stopped it; what is written is kept

In the store, a reply may be QUEUED first, while the conversation's previous reply is written.

A reply ends exactly once. Any other move raises ``IllegalMove``.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from chatrelay.domain.errors import Interrupted, RelayError, ReplyError, Upstream
from chatrelay.domain.log import Log, Written
from chatrelay.domain.turns import estimate_tokens
from chatrelay.domain.usage import Used


class Status(StrEnum):
    """The state of a reply."""

    QUEUED = "queued"
    STREAMING = "streaming"
    COMPLETE = "complete"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    CANCELLED = "cancelled"


class IllegalMove(RelayError):
    """A reply that has ended was written to, or ended again."""


@dataclass(frozen=True)
class Ending:
    """How a model ended: why, which model, its usage, and its content blocks exactly as they came.

    `usage` has integers only: ``input_tokens``, ``output_tokens``, ``cache_read_input_tokens`` and
    ``cache_creation_input_tokens``, those that are known. No token is counted twice: those of the cache are
    not among `input_tokens`. `cost` is in micro-dollars, None if nobody knows.
    """

    stop_reason: str
    model: str
    usage: dict[str, int]
    blocks: list[dict[str, Any]]
    cost: int | None = None


class Reply:
    """The reply that a worker writes: a log, and where it stands.

    `asked` is what the model was given, as far as that is known: its name, and tokens by an estimate.
    """

    def __init__(self, id: str, log: Log | None = None) -> None:  # noqa: A002 - the field's name
        self.id = id
        self.log = log or Log()
        self.asked = Used("", {})
        self.status = Status.STREAMING
        self.ending: Ending | None = None

    def append(self, written: Written) -> None:
        """Append what the model has written next."""
        self._must_be_streaming()
        self.log.append(written)

    def complete(self, ending: Ending) -> None:
        """End the reply as complete."""
        self._move(Status.COMPLETE)
        self.ending = ending

    def break_off(self, reason: ReplyError) -> None:
        """End the reply with what is written: interrupted, or failed if a service refused before any text."""
        # These two cut an answer off, which is no refusal even before its first text.
        partial = isinstance(reason, Interrupted | Upstream) or self.log.text
        self._move(Status.INTERRUPTED if partial else Status.FAILED)

    def cancel(self) -> None:
        """End the reply with what is written, because its user has stopped it."""
        self._move(Status.CANCELLED)

    @property
    def used(self) -> Used:
        """What the reply has used: as its service says, or by an estimate if it broke off before that."""
        if self.ending is not None:
            return Used(self.ending.model, self.ending.usage, self.ending.cost)
        if self.status is Status.FAILED:  # it refused before any text, and so does its bill
            return Used(self.asked.model, {"output_tokens": 0})
        written = "".join(part.content for part in self.log.parts)
        return replace(self.asked, tokens={**self.asked.tokens, "output_tokens": estimate_tokens(written)})

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be appended any more."""
        return self.status is not Status.STREAMING

    def _move(self, status: Status) -> None:
        self._must_be_streaming()
        self.log.settle()
        self.status = status

    def _must_be_streaming(self) -> None:
        if self.has_ended:
            raise IllegalMove(f"reply {self.id} is {self.status} already")
