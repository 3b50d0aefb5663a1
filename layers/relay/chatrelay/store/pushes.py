"""Pushes: at most one for each reply and device, however often it is asked for.

Whoever wants to send a push claims it first, until a time at which the sender must have given up. A claim whose sender
died runs out, and the next caller may try: no push is lost for ever. A push can only come twice if a sender dies
between sending and finishing, and then the phone replaces the first by the second.
"""

import time
from collections.abc import Callable
from enum import Enum, auto

from chatrelay.store.item_keys import DEVICE, PUSHED_PK
from chatrelay.store.table import Table

KEPT_S = 7 * 24 * 60 * 60
"""Many times longer than Lambda and its dead-letter queue repeat anything by themselves."""


class Claim(Enum):
    """Whose a push is."""

    OURS = auto()
    ANOTHERS = auto()
    FINISHED = auto()


class Pushes:
    """The pushes of all replies."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def claim(self, reply: str, device_id: str, lasting_s: float) -> Claim:
        """Claim the push for `lasting_s`, unless another sender has claimed or finished it."""
        now_s = self._clock()
        pk, sk = PUSHED_PK + reply, DEVICE + device_id
        claimed = self._table.update(
            pk,
            sk,
            "SET claimed_until_ms = :until, expires_at = :expires_at",
            {
                ":now": int(now_s * 1000),
                ":until": int((now_s + lasting_s) * 1000),
                ":expires_at": int(now_s) + KEPT_S,
            },
            condition="attribute_not_exists(pk) OR (attribute_not_exists(finished) AND claimed_until_ms < :now)",
        )
        if claimed:
            return Claim.OURS
        item = self._table.get(pk, sk) or {}
        return Claim.FINISHED if "finished" in item else Claim.ANOTHERS

    def finish(self, reply: str, device_id: str) -> None:
        """Record that there is nothing more to send."""
        self._table.update(PUSHED_PK + reply, DEVICE + device_id, "SET finished = :finished", {":finished": True})
