"""Whether a worker may still speak for the reply that it writes."""

import time
from collections.abc import Callable


class Liveness:
    """When the worker was last heard, by a clock that runs on while a function is frozen.

    A worker that was silent for `lasts_s` may have been declared dead, and its reply ended by somebody else.
    """

    def __init__(self, lasts_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lasts_s = lasts_s
        self._clock = clock
        self._until_s = clock() + lasts_s

    @property
    def is_doubtful(self) -> bool:
        """Return whether the worker may have been declared dead."""
        return self._clock() > self._until_s

    def now_s(self) -> float:
        """Return the time to pass to ``heard``, taken before the heartbeat is sent."""
        return self._clock()

    def heard(self, at_s: float) -> None:
        """Record a heartbeat that was sent at `at_s` and has arrived."""
        self._until_s = at_s + self._lasts_s

    def release(self) -> None:
        """Let the worker speak for as long as it takes: what it says is stored, so nobody can say otherwise."""
        self._until_s = float("inf")
