"""Who is connected: one item a socket, and how many there are of each agent."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from chatrelay.domain.keys import ConversationKey
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
from chatrelay.store.table import IF_EXISTS, Item, Table
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.dialects import BY_NAME

LIFE_S = 2 * 60 * 60 + 10 * 60
"""API Gateway closes every socket after two hours; ten minutes are for clocks and late frames."""
BUCKET_S = 600
RECENTLY_CLOSED_S = 15 * 60
"""Longer than an event waits for a function."""
FAREWELL_S = 5
"""Longer than it takes to tell a connection why it is closed."""


@dataclass(frozen=True)
class Connection:
    """A socket. `user` is None while it is pending: open, and not yet authenticated.

    `viewing` is the conversation that it shows, and `device` the device that it is on, if it has named them.
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

    They are counted in buckets of ten minutes by the time they opened, so that the count is a few reads however many
    there are, and a socket whose ``$disconnect`` never came is forgotten with its bucket.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def open(self, connection: Connection) -> None:
        """Remembers `connection`."""
        self._table.put(_item(connection))
        self._count(connection, 1)

    def get(self, connection_id: str) -> Connection | None:
        """The connection, or None if it is closed or was never there."""
        item = self._table.get(CONNECTION_PK + connection_id, CONNECTION)
        return None if item is None else _connection(item)

    def authenticate(self, connection: Connection, user: str) -> Connection:
        """The pending `connection` turns out to be `user`'s. One that has closed meanwhile stays closed."""
        pk = CONNECTION_PK + connection.id
        self._table.update(pk, CONNECTION, "SET user_id = :user", {":user": user}, condition=IF_EXISTS)
        return replace(connection, user=user)

    def turn_away(self, connection: Connection) -> bool:
        """Whether it is the caller who tells the connection why it is closed, and closes it. Of several, one gets True.

        Should it die over that, another one may, after a while.
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
        """The connection is no more. Twice does no harm."""
        pk = CONNECTION_PK + connection_id
        if (known := self._table.get(pk, CONNECTION)) is None:
            return
        self._table.put({**known, "sk": RECENTLY_CLOSED, "expires_at": int(self._clock()) + RECENTLY_CLOSED_S})
        item = self._table.delete(pk, CONNECTION)
        if item is not None:
            connection = _connection(item)
            self._count(connection, -1)
            self._unsubscribe(connection)

    def recently_closed(self, connection_id: str) -> Connection | None:
        """A connection that has closed not long ago, as it was: what it said may come after that. None otherwise."""
        item = self._table.get(CONNECTION_PK + connection_id, RECENTLY_CLOSED)
        return None if item is None else _connection(item)

    def subscribe(self, connection: Connection, conversation: str) -> None:
        """The connection shows `conversation` from now on, and the one before no more."""
        if connection.user is None or connection.viewing == conversation:
            return
        self._table.put(
            {
                "pk": conversation_pk(ConversationKey(connection.user, conversation)),
                "sk": VIEWER + connection.id,
                "dialect": connection.dialect.name,
                "expires_at": connection.connected_at + LIFE_S,
            }
        )
        pk = CONNECTION_PK + connection.id
        self._table.update(pk, CONNECTION, "SET viewing = :shown", {":shown": conversation}, condition=IF_EXISTS)
        self._unsubscribe(connection)

    def set_device(self, connection: Connection, device: str) -> None:
        """The connection has named its device."""
        if connection.device != device:
            pk = CONNECTION_PK + connection.id
            self._table.update(pk, CONNECTION, "SET device = :device", {":device": device}, condition=IF_EXISTS)

    def unsubscribe(self, key: ConversationKey, dialect: Dialect) -> None:
        """The user's connections of that dialect do not show the conversation any more, until they name it again."""
        for viewer in self.viewers(key):
            if viewer.dialect is dialect:
                pk = CONNECTION_PK + viewer.connection_id
                shown = {":shown": key.conversation}
                self._table.update(pk, CONNECTION, "REMOVE viewing", shown, condition="viewing = :shown")
                self._table.delete(conversation_pk(key), VIEWER + viewer.connection_id)

    def viewers(self, key: ConversationKey) -> list[Viewer]:
        """The user's connections that show it. Some may be gone: a socket is not always heard to close."""
        items = self._table.query(conversation_pk(key), *beginning_with(VIEWER))
        return [Viewer(name_in(item["sk"]), BY_NAME[item["dialect"]]) for item in items]

    def gone(self, key: ConversationKey, connection_id: str) -> None:
        """A post has shown that the socket is closed for good."""
        self._table.delete(conversation_pk(key), VIEWER + connection_id)
        self.close(connection_id)

    def _unsubscribe(self, connection: Connection) -> None:
        if connection.user is not None and connection.viewing is not None:
            self._table.delete(
                conversation_pk(ConversationKey(connection.user, connection.viewing)), VIEWER + connection.id
            )

    def count(self, agent: str) -> int:
        """How many connections of `agent` are open."""
        oldest = int(self._clock() - LIFE_S) // BUCKET_S
        buckets = self._table.query(COUNT_PK + agent, bucket(oldest), bucket(10**10))
        return sum(int(bucket["sockets"]) for bucket in buckets)

    def _count(self, connection: Connection, change: int) -> None:
        self._table.update(
            COUNT_PK + connection.agent,
            bucket(connection.connected_at // BUCKET_S),
            "ADD sockets :change SET expires_at = :expires_at",
            {":change": change, ":expires_at": connection.connected_at + BUCKET_S + LIFE_S},
        )


def _item(connection: Connection) -> Item:
    item = {
        "pk": CONNECTION_PK + connection.id,
        "sk": CONNECTION,
        "agent": connection.agent,
        "dialect": connection.dialect.name,
        "connected_at": connection.connected_at,
        "expires_at": connection.connected_at + LIFE_S,
    }
    return item if connection.user is None else {**item, "user_id": connection.user}


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
