"""How a reply went."""

from dataclasses import dataclass

from chatrelay.domain.reply import Status


@dataclass(frozen=True)
class ReplyOutcome:
    """How a reply ended, and how it reached everybody who read it along.

    `length` is in UTF-16 code units. `first_text_s` is from the beginning of its writing to the first delivery of text,
    if there was any.
    """

    status: Status
    length: int
    posts: int
    readers_left: int
    first_text_s: float | None
