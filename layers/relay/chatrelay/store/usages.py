"""What each user has used: an item a day and an item a month.

A day has, beside its totals, a number for each model and count, under names such as ``output_tokens gpt-5.5``.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime

from chatrelay.domain.limits import MEGABYTE, MOST, Limits
from chatrelay.domain.usage import Month, Spent, Used
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import USAGE, USER_PK, name_in
from chatrelay.store.table import Table, Update, Write

KEPT_S = 400 * 24 * 60 * 60
"""A year and a month: a bill can be compared with that of a year ago."""


class Usages:
    """The usage of all users."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def keys(self, user: str) -> list[tuple[str, str]]:
        """Return the keys of the items of this day and of this month."""
        return [(USER_PK + user, USAGE + self._day), (USER_PK + user, USAGE + self._month)]

    def spent(self, user: str, items: Mapping[tuple[str, str], Item]) -> tuple[Spent, Spent]:
        """Return what the user has used today and this month, from the items of ``keys``."""
        today, this_month = (_spent(items.get(key, {})) for key in self.keys(user))
        return today, this_month

    def add(self, user: str, used: Used) -> list[Write]:
        """Return the parts of a transaction that count what a reply has used."""
        totals = {"tokens": used.total, "cost": used.cost or 0, "replies": 1}
        by_model = {**used.tokens, "cost": used.cost or 0, "replies": 1}
        return [
            self._added(user, self._day, {**totals, **{f"{name} {used.model}": n for name, n in by_model.items()}}),
            self._added(user, self._month, totals),
        ]

    def add_file(self, user: str, size: int, limits: Limits) -> None:
        """Count a file of the user's. Raise ``QuotaExceeded`` if the user may send no more of them today."""
        others = (MOST if limits.files_per_day is None else limits.files_per_day) - 1
        room = (MOST if limits.megabytes_per_day is None else limits.megabytes_per_day * MEGABYTE) - size
        now_s = self._clock()
        if min(others, room) >= 0 and self._table.update(
            USER_PK + user,
            USAGE + self._day,
            "ADD #files :one, #bytes :size SET expires_at = :expires_at",
            {":one": 1, ":size": size, ":others": others, ":room": room, ":expires_at": int(now_s) + KEPT_S},
            condition="(attribute_not_exists(#files) OR #files <= :others)"
            " AND (attribute_not_exists(#bytes) OR #bytes <= :room)",
            names={"#files": "files", "#bytes": "bytes"},
        ):
            return
        raise limits.files_used_up(size, now_s)

    def month(self, user: str, name: str) -> Month:
        """Return the user's usage of the month `name`, ``2026-11``."""
        items = self._table.query(USER_PK + user, USAGE + name, f"{USAGE}{name}~")
        days = {name_in(item["sk"]): item for item in items}
        total = _spent(days.pop(name, {}))
        return Month(
            name,
            total,
            {day: _spent(item) for day, item in days.items()},
            {day: _by_model(item) for day, item in days.items()},
        )

    def _added(self, user: str, period: str, counts: Mapping[str, int]) -> Update:
        names = {f"#{number}": name for number, name in enumerate(counts)}
        values = {f":{number}": count for number, count in enumerate(counts.values())}
        added = ", ".join(f"{name} :{name[1:]}" for name in names)
        return Update(
            USER_PK + user,
            USAGE + period,
            f"ADD {added} SET expires_at = :expires_at",
            {**values, ":expires_at": int(self._clock()) + KEPT_S},
            names=names,
        )

    @property
    def _day(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).date().isoformat()

    @property
    def _month(self) -> str:
        return self._day[:7]


def _spent(item: Item) -> Spent:
    return Spent(*(int(item.get(each.name, 0)) for each in fields(Spent)))


def _by_model(item: Item) -> dict[str, dict[str, int]]:
    models: dict[str, dict[str, int]] = {}
    for name, number in item.items():
        count, _, model = name.partition(" ")
        if model:
            models.setdefault(model, {})[count] = int(number)
    return models
