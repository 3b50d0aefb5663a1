"""One reply's state: its text so far, and how it ended. Pure.

                ┌──► COMPLETE      the model said all it had to say, or its limit
    STREAMING ──┼──► FAILED        the model's service refused, before any text
                ├──► INTERRUPTED   the stream or the worker broke off; the partial text is kept
                └──► CANCELLED     the user stopped it; the partial text is kept

In the store, a reply may be QUEUED first, while the conversation's previous reply is written.

A reply ends exactly once. Any other move raises ``IllegalMove``.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from chatrelay.domain.errors import Interrupted, RelayError, ReplyError, Upstream
from chatrelay.domain.text import utf16_length


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
    ``cache_creation_input_tokens``, those that are known.
    """

    stop_reason: str
    model: str
    usage: dict[str, int]
    blocks: list[dict[str, Any]]


@dataclass(frozen=True)
class Aside:
    """What a model does beside its text. Asides are shown while they happen, and not stored.

    `kind` is the frame's type: ``thinking`` is a piece of a thought, ``tool`` one whole sentence.
    """

    kind: Literal["thinking", "tool"]
    content: str


@dataclass
class Reply:
    """The reply that a worker writes."""

    id: str
    text: str = ""
    status: Status = Status.STREAMING
    ending: Ending | None = None
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256, repr=False)

    def append(self, text: str) -> None:
        """Append the next `text` of the model."""
        self._must_be_streaming()
        self.text += text
        self._hash.update(text.encode())  # with the text, so that the last frame need not wait for a hash of it all

    def complete(self, ending: Ending) -> None:
        """End the reply as complete."""
        self._move(Status.COMPLETE)
        self.ending = ending

    def break_off(self, reason: ReplyError) -> None:
        """End the reply with its partial text: interrupted, or failed if a service refused before any text."""
        # These two cut an answer off, which is no refusal even before its first text.
        partial = isinstance(reason, Interrupted | Upstream) or self.text
        self._move(Status.INTERRUPTED if partial else Status.FAILED)

    def cancel(self) -> None:
        """End the reply with its partial text, because its user has stopped it."""
        self._move(Status.CANCELLED)

    @property
    def has_ended(self) -> bool:
        """Whether nothing can be appended any more."""
        return self.status is not Status.STREAMING

    @property
    def length(self) -> int:
        """The text's length in UTF-16 code units."""
        return utf16_length(self.text)

    @property
    def sha256(self) -> str:
        """SHA-256 of the text's UTF-8 bytes, hexadecimal."""
        return self._hash.hexdigest()

    def _move(self, status: Status) -> None:
        self._must_be_streaming()
        self.status = status

    def _must_be_streaming(self) -> None:
        if self.has_ended:
            raise IllegalMove(f"reply {self.id} is {self.status} already")
