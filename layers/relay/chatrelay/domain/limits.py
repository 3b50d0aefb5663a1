"""How much one user may use. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from math import ceil

from chatrelay.domain.errors import QuotaExceeded
from chatrelay.domain.usage import MICRO, Spent

MOST = 10**15
"""No count of a day comes near it, and every JSON reader keeps it exactly."""
MEGABYTE = 1_000_000
NONE = ("", "none")
"""What says that there is no limit."""


@dataclass(frozen=True)
class Limits:
    """How much of each thing a user may have; None: as much as there is, 0: nothing.

    Dollars are in micro-dollars. A minute, a day and a month begin with the clock's, in UTC. `frames_per_minute` is
    for each socket, and has pings of API Gateway's own not in it.
    """

    messages_per_minute: int | None = None
    replies_at_once: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    dollars_per_day: int | None = None
    dollars_per_month: int | None = None
    sockets: int | None = None
    frames_per_minute: int | None = None
    devices: int | None = None
    files_per_day: int | None = None
    megabytes_per_day: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Limits":
        """Return the limits in ``name=amount`` and so on, with blanks between. Raise ``ValueError``."""
        entries = [entry.partition("=") for entry in text.split()]
        return cls().overridden({name: amount(name, value) for name, _, value in entries})

    def overridden(self, overrides: Mapping[str, int | None]) -> "Limits":
        """Return these limits with others for some of the names. What another version has stored is left out."""
        return replace(self, **{name: limit for name, limit in overrides.items() if name in NAMES})

    def quota(self, today: Spent, this_month: Spent, now_s: float) -> QuotaExceeded | None:
        """Return what a user hears who has used up a day or a month; None if there is something left."""
        if 0 in (self.messages_per_minute, self.replies_at_once):
            return QuotaExceeded("You may send no messages.")
        # The month first: who waits for tomorrow in vain was told too little.
        for period, spent in (("month", this_month), ("day", today)):
            for name, used in (("tokens", spent.tokens), ("dollars", spent.cost)):
                limit: int | None = getattr(self, f"{name}_per_{period}")
                if limit is not None and used >= limit:
                    amount = f"${said(f'{name}_per_{period}', limit)}" if name == "dollars" else f"{limit:,} tokens"
                    wait_s = None if limit == 0 else left_s(period, now_s)
                    return QuotaExceeded(f"Your {amount} of this {period} are used up.", retry_after_s=wait_s)
        return None

    def files_used_up(self, size: int, now_s: float) -> QuotaExceeded:
        """Return what a user hears who sends one file of `size` bytes more than a day has room for."""
        rooms = ((self.files_per_day, "files"), (self.megabytes_per_day, "megabytes"))
        never = self.files_per_day == 0 or (
            self.megabytes_per_day is not None and size > self.megabytes_per_day * MEGABYTE
        )
        return QuotaExceeded(
            f"A day has room for {' and '.join(f'{most} {kind}' for most, kind in rooms if most is not None)}.",
            retry_after_s=None if never else left_s("day", now_s),
        )


def left_s(period: str, now_s: float) -> int:
    """Return how many seconds of this minute, day or month are left, in UTC: at least one."""
    now = datetime.fromtimestamp(now_s, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    ends = {
        "minute": now.replace(second=0, microsecond=0) + timedelta(minutes=1),
        "day": midnight + timedelta(days=1),
        "month": (midnight.replace(day=1) + timedelta(days=32)).replace(day=1),
    }
    return ceil((ends[period] - now).total_seconds())


NAMES = tuple(each.name for each in fields(Limits))
UNLIMITED = Limits()


def amount(name: str, text: str) -> int | None:
    """Return an amount as an operator writes it: a whole number, dollars with cents, or nothing for no limit.

    Raise ``ValueError``, which names the limit.
    """
    if name not in NAMES:
        raise ValueError(f"{name}: there is no such limit; there are {', '.join(NAMES)}")
    if text in NONE:
        return None
    try:
        number = Decimal(text) * (MICRO if name.startswith("dollars") else 1)
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and 0 <= number <= MOST and number == number.to_integral_value()):
        raise ValueError(f"{name}: must be a number from 0 on, or `none`; is {text!r}")
    return int(number)


def said(name: str, limit: int | None) -> str:
    """Return a limit as ``amount`` reads it."""
    if limit is None:
        return NONE[-1]
    return f"{Decimal(limit) / MICRO:f}" if name.startswith("dollars") else str(limit)
