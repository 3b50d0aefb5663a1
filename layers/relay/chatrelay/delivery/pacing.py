"""The pace of an outbox: what goes out now, what waits and for how long. Pure: the time is an argument.

A model writes a delta every 5-30 ms and a post takes 10-30 ms: one post a delta falls behind for ever. So the first
text goes out at once; after that one post is in flight at a time, and whatever has gathered goes in the next. How long
it gathers, each dialect says.
"""

from dataclasses import dataclass

from chatrelay.wire.dialect import Pacing

WIDEST_S = 2.0
NARROWING = 0.9
RESOLUTION_S = 1e-6
"""Less than that is no wait: an event loop's clock may not move by so little."""


@dataclass
class Window:
    """The time until the next post may start. Throttling widens it; every post that succeeds narrows it again."""

    pacing: Pacing
    extra_s: float = 0.0
    _started_s: float = float("-inf")
    _done_s: float = float("-inf")

    def opens_at_s(self, *, ending: bool) -> float:
        """Return the time from which a post may start; `ending` if the reply's text is all there."""
        quiet = self._done_s + self.pacing.quiet_s + self.extra_s
        # The interval exists to gather text, and at the end nothing is left to gather.
        return quiet if ending else max(quiet, self._started_s + self.pacing.min_interval_s)

    def wait_s(self, now_s: float, *, ending: bool) -> float:
        """Return the seconds until ``opens_at_s``; 0 if a post may start now."""
        wait_s = self.opens_at_s(ending=ending) - now_s
        return wait_s if wait_s > RESOLUTION_S else 0.0

    def posted(self, started_s: float, done_s: float) -> None:
        """Record a post that was delivered."""
        self._started_s, self._done_s = started_s, done_s
        self.extra_s *= NARROWING

    def throttled(self, done_s: float) -> None:
        """Record a post that was refused because there are too many, or that failed and is to be tried again."""
        self._done_s = done_s
        self.extra_s = min(WIDEST_S, 2 * self.extra_s or self.pacing.min_interval_s)
