"""One invocation of a function: who it is, and how long it lasts."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Invocation:
    """The invocation `worker`, which has to be over at `deadline_s` of the monotonic clock."""

    worker: str
    deadline_s: float

    @classmethod
    def begun(cls, worker: str, time_left_s: float) -> "Invocation":
        """Return the invocation that has so much time left."""
        return cls(worker, time.monotonic() + time_left_s)

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return self.deadline_s - time.monotonic()
