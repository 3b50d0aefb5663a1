"""Pushes: one for each reply and device, however often it is asked for.

Whoever wants to send one claims it first, until a time at which it must have given up. So a claim that nobody settles,
because its worker died, runs out, and the next one may try: a push is never lost for ever. It can only come twice when
a worker dies between sending and settling, and then the phone replaces the first by the second.
"""

import time
from collections.abc import Callable
from enum import Enum, auto

from chatrelay.store.item_keys import DEVICE, PUSHED_PK
from chatrelay.store.table import Table

KEPT_S = 7 * 24 * 60 * 60
"""How long it is known: many times longer than Lambda and its dead-letter queue repeat anything by themselves."""


class Claim(Enum):
    """Whose a push is."""

    OURS = auto()
    ANOTHERS = auto()
    SETTLED = auto()


class Pushes:
    """The pushes of all replies."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def claim(self, reply: str, device_id: str, lasting_s: float) -> Claim:
        """Makes the push the caller's for `lasting_s`, unless it is another's or was settled before."""
        now_s = self._clock()
        pk, sk = _key(reply, device_id)
        claimed = self._table.update(
            pk,
            sk,
            "SET claimed_until_ms = :until, expires_at = :expires_at",
            {
                ":now": int(now_s * 1000),
                ":until": int((now_s + lasting_s) * 1000),
                ":expires_at": int(now_s) + KEPT_S,
            },
            condition="attribute_not_exists(pk) OR (attribute_not_exists(settled) AND claimed_until_ms < :now)",
        )
        if claimed:
            return Claim.OURS
        item = self._table.get(pk, sk) or {}
        return Claim.SETTLED if "settled" in item else Claim.ANOTHERS

    def settle(self, reply: str, device_id: str) -> None:
        """There is nothing more to send."""
        self._table.update(*_key(reply, device_id), "SET settled = :settled", {":settled": True})


def _key(reply: str, device_id: str) -> tuple[str, str]:
    return PUSHED_PK + reply, DEVICE + device_id
