"""Open connections: one item a socket, a count for each agent, and which conversation each connection shows."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from chatrelay.domain.keys import ConversationKey
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import (
    CONNECTION,
    CONNECTION_PK,
    COUNT_PK,
    RECENTLY_CLOSED,
    VIEWER,
    beginning_with,
    bucket,
    conversation_pk,
    name_in,
)
from chatrelay.store.table import IF_EXISTS, Delete, Put, Table, Update, Write, transient_as_unavailable
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.dialects import BY_NAME

LIFE_S = 2 * 60 * 60 + 10 * 60
"""API Gateway closes every socket after two hours; ten minutes allow for clock skew and late frames."""
BUCKET_S = 600
RECENTLY_CLOSED_S = 15 * 60
"""Longer than an event waits for a function."""
FAREWELL_S = 5
"""Longer than the last frame before a close takes."""


@dataclass(frozen=True)
class Connection:
    """A socket. `user` is None while the connection is pending: open, and not yet authenticated.

    `viewing` is the conversation that the connection shows, `device` the device behind it; None until it names them.
    """

    id: str
    agent: str
    dialect: Dialect
    connected_at: int
    user: str | None = None
    viewing: str | None = None
    device: str | None = None


@dataclass(frozen=True)
class Viewer:
    """A connection that shows a conversation."""

    connection_id: str
    dialect: Dialect


class Connections:
    """The connections of all users.

    They are counted in buckets of ten minutes by the time they opened. So a count takes a few reads however many
    connections there are, and a socket whose ``$disconnect`` never came leaves the count with its bucket.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def open(self, connection: Connection) -> None:
        """Store `connection`, and count it."""
        item: Item = {
            "pk": CONNECTION_PK + connection.id,
            "sk": CONNECTION,
            "agent": connection.agent,
            "dialect": connection.dialect.name,
            "connected_at": connection.connected_at,
            "expires_at": connection.connected_at + LIFE_S,
        }
        if connection.user is not None:
            item["user_id"] = connection.user
        self._table.put(item)
        self._add_to_count(connection, 1)

    def get(self, connection_id: str) -> Connection | None:
        """Return the connection; None if it is closed or never existed."""
        item = self._table.get(CONNECTION_PK + connection_id, CONNECTION)
        return None if item is None else _connection(item)

    def authenticate(self, connection: Connection, user: str) -> Connection:
        """Return the pending `connection` as `user`'s, and store it so unless it has closed meanwhile."""
        self._set(connection, "user_id", user)
        return replace(connection, user=user)

    def turn_away(self, connection: Connection) -> bool:
        """Return whether the caller is the one who says why the connection is closed, and closes it.

        Of several callers one gets True. Another may get True after ``FAREWELL_S``, in case the first has died.
        """
        now = int(self._clock())
        return self._table.update(
            CONNECTION_PK + connection.id,
            CONNECTION,
            "SET turned_away_at = :now",
            {":now": now, ":before": now - FAREWELL_S},
            condition=f"{IF_EXISTS} AND (attribute_not_exists(turned_away_at) OR turned_away_at < :before)",
        )

    def close(self, connection_id: str) -> None:
        """Remove the connection from the open ones and from the viewers. Idempotent."""
        pk = CONNECTION_PK + connection_id
        while (known := self._table.get(pk, CONNECTION)) is not None:
            connection = _connection(known)
            unchanged, seen = _as_read(connection)
            # For a frame that is still on its way: there is always one of the two items.
            copy = Put({**known, "sk": RECENTLY_CLOSED, "expires_at": int(self._clock()) + RECENTLY_CLOSED_S})
            closed = Delete(pk, CONNECTION, unchanged, seen or None)
            if not self._table.transact(closed, copy, *self._no_viewer(connection)):
                # No part of the transaction: everybody's connections meet in the count.
                self._add_to_count(connection, -1)
                return

    def recently_closed(self, connection_id: str) -> Connection | None:
        """Return a connection as it was when it closed, for as long as its frames may still arrive. None otherwise."""
        item = self._table.get(CONNECTION_PK + connection_id, RECENTLY_CLOSED)
        return None if item is None else _connection(item)

    def subscribe(self, connection: Connection, conversation: str) -> None:
        """Record that the connection shows `conversation` from now on, unless it has closed."""
        seen: Connection | None = connection
        while seen is not None and (writes := self.subscription(seen, conversation)):
            if not self._table.transact(*writes):
                return
            seen = self.get(connection.id)

    def subscription(self, connection: Connection, conversation: str) -> list[Write]:
        """Return the parts of a transaction that let the connection show `conversation`, and no longer the one before.

        Return no parts if it shows `conversation` already. The first is refused if the connection has closed, or has
        named another conversation since it was read as `connection`.
        """
        if connection.user is None or connection.viewing == conversation:
            return []
        viewer: Item = {
            "pk": conversation_pk(ConversationKey(connection.user, conversation)),
            "sk": VIEWER + connection.id,
            "dialect": connection.dialect.name,
            "expires_at": connection.connected_at + LIFE_S,
        }
        unchanged, seen = _as_read(connection)
        now_viewing = Update(
            CONNECTION_PK + connection.id,
            CONNECTION,
            "SET viewing = :conversation",
            {":conversation": conversation, **seen},
            unchanged,
        )
        return [now_viewing, Put(viewer), *self._no_viewer(connection)]

    def set_device(self, connection: Connection, device: str) -> None:
        """Record the device that the connection has named."""
        if connection.device != device:
            self._set(connection, "device", device)

    def unsubscribe(self, key: ConversationKey, dialect: Dialect) -> None:
        """Let the user's connections of `dialect` show the conversation no longer, until they name it again."""
        for viewer in self.viewers(key):
            if viewer.dialect is dialect:
                pk = CONNECTION_PK + viewer.connection_id
                # On condition, because the connection may show another conversation by now.
                shown = {":shown": key.conversation}
                self._table.update(pk, CONNECTION, "REMOVE viewing", shown, condition="viewing = :shown")
                self._table.delete(conversation_pk(key), VIEWER + viewer.connection_id)

    def viewers(self, key: ConversationKey) -> list[Viewer]:
        """Return the user's connections that show the conversation.

        Some may be gone: API Gateway does not report every socket that closes. Raise ``Unavailable``.
        """
        with transient_as_unavailable():
            items = list(self._table.query(conversation_pk(key), *beginning_with(VIEWER)))
        return [Viewer(name_in(item["sk"]), BY_NAME[item["dialect"]]) for item in items]

    def gone(self, key: ConversationKey, connection_id: str) -> None:
        """Remove a connection whose socket a post has found closed for good."""
        self._table.delete(conversation_pk(key), VIEWER + connection_id)
        self.close(connection_id)

    def count(self, agent: str) -> int:
        """Return how many connections of `agent` are open."""
        oldest = int(self._clock() - LIFE_S) // BUCKET_S
        counts = self._table.query(COUNT_PK + agent, bucket(oldest), bucket(10**10))  # later than any bucket
        return sum(int(count["sockets"]) for count in counts)

    def _add_to_count(self, connection: Connection, change: int) -> None:
        self._table.update(
            COUNT_PK + connection.agent,
            bucket(connection.connected_at // BUCKET_S),
            "ADD sockets :change SET expires_at = :expires_at",
            {":change": change, ":expires_at": connection.connected_at + BUCKET_S + LIFE_S},
        )

    def _set(self, connection: Connection, attribute: str, value: str) -> None:
        """Change the connection's item, unless the connection has closed."""
        # UpdateItem makes an item that is missing: without the condition, a closed connection would be open again.
        pk = CONNECTION_PK + connection.id
        self._table.update(pk, CONNECTION, f"SET {attribute} = :value", {":value": value}, condition=IF_EXISTS)

    def _no_viewer(self, connection: Connection) -> list[Write]:
        """Return the part of a transaction after which the connection does not show what it has shown, if it has."""
        if connection.user is None or connection.viewing is None:
            return []
        return [Delete(conversation_pk(ConversationKey(connection.user, connection.viewing)), VIEWER + connection.id)]


def _as_read(connection: Connection) -> tuple[str, Item]:
    """Return the condition that the connection is open and shows what it showed when it was read, and its values."""
    if connection.viewing is None:
        return f"{IF_EXISTS} AND attribute_not_exists(viewing)", {}
    return "viewing = :seen", {":seen": connection.viewing}


def _connection(item: Item) -> Connection:
    return Connection(
        id=name_in(item["pk"]),
        agent=item["agent"],
        dialect=BY_NAME[item["dialect"]],
        connected_at=int(item["connected_at"]),
        user=item.get("user_id"),
        viewing=item.get("viewing"),
        device=item.get("device"),
    )
