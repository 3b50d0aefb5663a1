"""What a user has used, and what is left: the answer of ``GET /api/usage``. Pure."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from chatrelay.domain.errors import InvalidMessage
from chatrelay.domain.limits import Limits, left_s
from chatrelay.domain.usage import MICRO, Month, Spent
from chatrelay.wire.fields import given

MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


def parse_month(query: Mapping[str, Any], now_s: float) -> str:
    """Return the month that is asked for, ``2026-11``; this one if none is. Raise ``InvalidMessage``."""
    month = given(query, "month")
    if month is None:
        return _now(now_s).date().isoformat()[:7]
    if not MONTH.fullmatch(month):
        raise InvalidMessage("month", "must be a year and a month, as 2026-11")
    return str(month)


def usage(month: Month, limits: Limits, now_s: float) -> dict[str, Any]:
    """Return the answer: what was used in the month and on each of its days, the limits, and what is left by now."""
    days = [
        {
            "day": day,
            "used": _used(spent),
            "models": [{"model": model, **_in_dollars(counts)} for model, counts in sorted(month.models[day].items())],
        }
        for day, spent in sorted(month.days.items())
    ]
    told = {"month": month.name, "used": _used(month.total), "days": days, "limits": _limits(limits)}
    today = _now(now_s).date().isoformat()
    if not today.startswith(month.name):
        return told
    left = {
        period: {
            "tokens": _left(getattr(limits, f"tokens_per_{period}"), spent.tokens),
            "dollars": _dollars(_left(getattr(limits, f"dollars_per_{period}"), spent.cost)),
            "until": (_now(now_s).replace(microsecond=0) + timedelta(seconds=left_s(period, now_s))).isoformat(),
        }
        for period, spent in (("day", month.days.get(today, Spent())), ("month", month.total))
    }
    return {**told, "left": left}


def _used(spent: Spent) -> dict[str, Any]:
    return _in_dollars(asdict(spent))


def _in_dollars(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return `counts` with dollars instead of ``cost``, in micro-dollars."""
    return {name: count for name, count in counts.items() if name != "cost"} | {"dollars": _dollars(counts["cost"])}


def _limits(limits: Limits) -> dict[str, Any]:
    return {name: _dollars(limit) if name.startswith("dollars") else limit for name, limit in asdict(limits).items()}


def _left(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)


def _dollars(cost: int | None) -> float | None:
    return None if cost is None else cost / MICRO


def _now(now_s: float) -> datetime:
    return datetime.fromtimestamp(now_s, UTC)
