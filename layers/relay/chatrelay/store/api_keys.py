"""API keys. The table has only their hashes."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatrelay.domain.identity import KEY, Identity
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import API_KEY, API_KEY_PK, name_in
from chatrelay.store.table import Table
from chatrelay.wire.identity import key_hash

USER = re.compile(r"[A-Za-z0-9._@-]{1,64}")
OWNER = "#KEYS"
"""The owner of all keys in the index ``by_owner``; ``USER`` allows no user of that name."""


@dataclass(frozen=True)
class Key:
    """An API key without its secret. `id` is the beginning of its hash; `created_at_ms` is since 1970."""

    id: str
    user: str
    label: str
    created_at_ms: int


class ApiKeys:
    """The API keys of all users."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def add(self, key: str, user: str, label: str = "") -> None:
        """Make `key` a credential of `user`. Raise ``ValueError`` for a name with other characters than ``USER``."""
        if not USER.fullmatch(user):
            raise ValueError(f"user: must be 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, is {user!r}")
        item = {"user_id": user, "label": label, "owner_id": OWNER, "updated_at": int(self._clock() * 1000)}
        self._table.put({"pk": API_KEY_PK + key_hash(key), "sk": API_KEY, **item})

    def identity_of(self, key: str) -> Identity | None:
        """Return whose key this is; None for an unknown key."""
        item = self._table.get(API_KEY_PK + key_hash(key), API_KEY)
        return None if item is None else _identity(item)

    def all(self) -> Iterator[Key]:
        """Yield every key, the latest first. A key of the last second may be missing: the index follows the table."""
        for item in self._table.all_owned_by(OWNER):
            yield Key(_id(item), item["user_id"], item["label"], int(item["updated_at"]))

    def owners(self, key_id: str) -> list[Identity]:
        """Return whose keys have this id."""
        return [_identity(item) for item in self._table.all_owned_by(OWNER) if _id(item) == key_id]

    def remove(self, key_id: str) -> None:
        """Remove the keys with this id."""
        for item in self._table.all_owned_by(OWNER):
            if _id(item) == key_id:
                self._table.delete(item["pk"], item["sk"])


def _identity(item: Item) -> Identity:
    return Identity(item["user_id"], KEY + _id(item), int(item["updated_at"]) // 1000)


def _id(item: Item) -> str:
    return name_in(item["pk"])[:12]
