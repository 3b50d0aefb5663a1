"""Whether a worker may still speak for the reply that it writes."""

import time


class Liveness:
    """The time since the worker was last heard, by the monotonic clock, which runs on while a function is frozen.

    A worker that was silent for `lasts_s` may have been declared dead, and its reply ended by somebody else.
    """

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._until_s = time.monotonic() + lasts_s

    @property
    def is_doubtful(self) -> bool:
        """Whether the worker may have been declared dead."""
        return time.monotonic() > self._until_s

    def heard(self, at_s: float) -> None:
        """Record a heartbeat that has arrived, and was sent at `at_s` of the monotonic clock."""
        # From when it was sent, so that doubt comes before the lease in the table runs out.
        self._until_s = at_s + self._lasts_s

    def release(self) -> None:
        """Let the worker speak for as long as it takes: what it says is stored, so nobody can say otherwise."""
        self._until_s = float("inf")
