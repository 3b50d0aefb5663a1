"""The asides that an outbox has yet to send: what the model does beside its text. Pure.

Thinking may be longer than the answer, and nobody keeps it: what a slow reader cannot take in time is dropped.
"""

from collections import deque
from dataclasses import dataclass, field, replace

from chatrelay.domain.reply import Aside
from chatrelay.domain.text import truncate_to_json

MOST_WAITING = 16  # beyond that a slow reader loses asides, so that text never waits for more posts than these


@dataclass
class Asides:
    """Asides by their places in the reply's text, in order; each takes at most `room_bytes` in a JSON string."""

    room_bytes: int
    _waiting: deque[tuple[int, Aside]] = field(default_factory=deque)

    def add(self, index: int, aside: Aside) -> None:
        """Send `aside` once the first `index` characters of the text have gone out. Thinking joins what waits there."""
        match self._waiting[-1] if self._waiting else None:
            case (place, Aside("thinking", begun)) if place == index and aside.kind == "thinking":
                self._waiting[-1] = (index, self._cut(replace(aside, content=begun + aside.content)))
            case _ if len(self._waiting) < MOST_WAITING:
                self._waiting.append((index, self._cut(aside)))

    def take(self) -> Aside:
        """Remove and return the next aside."""
        return self._waiting.popleft()[1]

    @property
    def place(self) -> int | None:
        """Where in the text the next aside belongs; None if none waits."""
        return self._waiting[0][0] if self._waiting else None

    def _cut(self, aside: Aside) -> Aside:
        # One frame is all that a slow reader gets of a thought: thinking may be longer than the answer.
        return replace(aside, content=truncate_to_json(aside.content, self.room_bytes))
