"""API keys: only their hashes are kept."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatrelay.store.item_keys import API_KEY, API_KEY_PK, name_in
from chatrelay.store.table import Item, Table
from chatrelay.wire.identity import key_hash

USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
OWNER = "#KEYS"
"""Whose all keys are in the index ``by_owner``: no user's name."""
PAGE = 100


@dataclass(frozen=True)
class Key:
    """What is known of an API key: the beginning of its hash as a name, whose it is, and when it was made (ms)."""

    id: str
    user: str
    label: str
    created_at_ms: int


class Keys:
    """All users' API keys."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def add(self, key: str, user: str, label: str = "") -> None:
        """Makes `key` a credential of `user`. Raises ``ValueError`` for a name that could not be part of a key."""
        if not USER.fullmatch(user):
            raise ValueError(f"user: must be 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, is {user!r}")
        item = {"user_id": user, "label": label, "owner_id": OWNER, "updated_at": int(self._clock() * 1000)}
        self._table.put({"pk": API_KEY_PK + key_hash(key), "sk": API_KEY, **item})

    def user_of(self, key: str) -> str | None:
        """Whose key this is; None if it is nobody's."""
        item = self._table.get(API_KEY_PK + key_hash(key), API_KEY)
        return None if item is None else str(item["user_id"])

    def all(self) -> Iterator[Key]:
        """Every key, the latest first. One that was made this second may be missing."""
        return map(_key, self._items())

    def revoke(self, key_id: str) -> int:
        """Removes the keys whose hash begins with `key_id`; how many there were."""
        doomed = [item for item in self._items() if _key(item).id == key_id]
        for item in doomed:
            self._table.delete(item["pk"], item["sk"])
        return len(doomed)

    def _items(self) -> Iterator[Item]:
        after: Item | None = None
        while page := self._table.owned_by(OWNER, PAGE, after):
            yield from page
            after = {name: page[-1][name] for name in ("pk", "sk", "updated_at")}


def _key(item: Item) -> Key:
    name = name_in(item["pk"])[:12]
    return Key(name, item["user_id"], item["label"], int(item["updated_at"]))
