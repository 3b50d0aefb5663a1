"""Open connections: one item a socket, a count for each agent, and which conversation each connection shows."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chatrelay.domain.errors import Conflict, Ended, RateLimited
from chatrelay.domain.identity import Identity
from chatrelay.domain.keys import ConversationKey
from chatrelay.store.accounts import MOST, Account, Accounts
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
ENTER_TRIES = 5
READ_AT_ONCE = 100
"""The most keys that one ``BatchGetItem`` takes."""
FOR_EVER = 10**10


@dataclass(frozen=True)
class Connection:
    """A socket. `identity` is None while the connection is pending: open, and not yet authenticated.

    `good_until` is when its client has to bring a new token, in seconds since 1970; None: never. `viewing` is the
    conversation that the connection shows, `device` the device behind it; None until it names them. `frames` of at
    most `frames_per_minute` have come this minute.
    """

    id: str
    agent: str
    dialect: Dialect
    connected_at: int
    identity: Identity | None = None
    good_until: int | None = None
    frames_per_minute: int | None = None
    viewing: str | None = None
    device: str | None = None
    frames: int = 0

    @property
    def user(self) -> str | None:
        """Whose connection this is."""
        return None if self.identity is None else self.identity.user

    @property
    def credential(self) -> str:
        """By which credential it came; empty while it is pending."""
        return "" if self.identity is None else self.identity.credential


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

    def __init__(self, table: Table, accounts: Accounts, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock

    def open(self, connection: Connection, most: int | None = None) -> None:
        """Store `connection`, and count it. Of its user's sockets, `most` stay: the latest.

        Raise ``Ended`` if the user's credential is not good any more, and ``RateLimited`` if `most` is 0.
        """
        item: Item = {
            "pk": CONNECTION_PK + connection.id,
            "sk": CONNECTION,
            "agent": connection.agent,
            "dialect": connection.dialect.name,
            "connected_at": connection.connected_at,
            "expires_at": connection.connected_at + LIFE_S,
            **_known(connection),
        }
        if connection.identity is None:
            self._table.put(item)
        else:
            self._enter(connection, most, Put(item))
        self._add_to_count(connection, 1)

    def _enter(self, connection: Connection, most: int | None, write: Write) -> None:
        """Write `write` with what makes the connection its user's, unless the connection has closed meanwhile."""
        assert connection.identity is not None  # noqa: S101 - the callers know it
        if most == 0:
            raise RateLimited("You may have no socket.")
        for _ in range(ENTER_TRIES):
            refused = self._table.transact(
                write, *self._accounts.enter(connection.identity, "sockets", connection.id, most)
            )
            if not refused or write in refused:
                return
            account = self._accounts.admit(connection.identity)
            # A phone in a tunnel leaves sockets behind that nobody has closed yet: it must come in all the same.
            self._close_oldest(account, (MOST if most is None else most) - 1)
        raise Conflict(f"the sockets of the user of {connection.id}")

    def _close_oldest(self, account: Account, kept: int) -> None:
        """Close all but the latest `kept` of the user's sockets: who speaks there is told to connect again."""
        opened = {each.id: each.connected_at for each in self.of(account)}
        if forgotten := account.sockets - opened.keys():  # they have expired
            self._table.transact(self._accounts.leave(account.user, "sockets", *forgotten))
        latest_first = sorted(opened, key=lambda each: (opened[each], each), reverse=True)
        for each in latest_first[kept:]:
            self.close(each)

    def of(self, account: Account) -> list[Connection]:
        """Return the user's open connections."""
        keys = [(CONNECTION_PK + each, CONNECTION) for each in sorted(account.sockets)]
        pages = (self._table.get_all(*keys[at : at + READ_AT_ONCE]) for at in range(0, len(keys), READ_AT_ONCE))
        return [_connection(item) for page in pages for item in page.values()]

    def get(self, connection_id: str) -> Connection | None:
        """Return the connection; None if it is closed or never existed."""
        item = self._table.get(CONNECTION_PK + connection_id, CONNECTION)
        return None if item is None else _connection(item)

    def hear(self, connection_id: str) -> Connection | None:
        """Count a frame of the connection, and return the connection with the count; None if it is closed."""
        # In place of a read: of frames that come at once, each has a number of its own.
        minute = int(self._clock()) // 60
        counted = self._count_frame(connection_id, "ADD frames :one", "heard_in = :minute", minute)
        if counted is None:
            first = f"{IF_EXISTS} AND (attribute_not_exists(heard_in) OR heard_in < :minute)"
            counted = self._count_frame(connection_id, "SET heard_in = :minute, frames = :one", first, minute)
        return counted or self.get(connection_id)  # closed; or two clocks are in different minutes

    def _count_frame(self, connection_id: str, expression: str, condition: str, minute: int) -> Connection | None:
        values, pk = {":minute": minute, ":one": 1}, CONNECTION_PK + connection_id
        item = self._table.update_returning(pk, CONNECTION, expression, values, condition, "ALL_NEW")
        return None if item is None else _connection(item)

    def authenticate(self, connection: Connection, most: int | None = None) -> None:
        """Store who the pending `connection` is by now, unless it has closed meanwhile. Raise as ``open`` does."""
        self._enter(connection, most, _identified(connection))

    def renew(self, connection: Connection) -> None:
        """Store by which credential the connection goes on, and for how long, unless it has closed meanwhile.

        Raise ``Ended`` if the credential is not good any more.
        """
        identity = connection.identity
        assert identity is not None  # noqa: S101 - only who is known can be known anew
        write = _identified(connection)
        refused = self._table.transact(write, *self._accounts.admission(identity))
        if refused and write not in refused:
            raise Ended("revoked")
        if connection.viewing is not None:
            pk, known = conversation_pk(ConversationKey(identity.user, connection.viewing)), _good_until(connection)
            self._table.update(pk, VIEWER + connection.id, *_assignments(known, ("good_until",)), condition=IF_EXISTS)

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

    def close(self, connection_id: str, *, at_once: bool = False) -> None:
        """Remove the connection from the open ones and from the viewers. Idempotent.

        Frames that are on their way are still its user's; `at_once`, they are nobody's.
        """
        pk = CONNECTION_PK + connection_id
        while (known := self._table.get(pk, CONNECTION)) is not None:
            connection = _connection(known)
            unchanged, seen = _as_read(connection)
            # For a frame that is still on its way: there is always one of the two items.
            copy = Put({**known, "sk": RECENTLY_CLOSED, "expires_at": int(self._clock()) + RECENTLY_CLOSED_S})
            writes = [Delete(pk, CONNECTION, unchanged, seen or None), *self._no_viewer(connection)]
            if connection.user is not None:
                writes.append(self._accounts.leave(connection.user, "sockets", connection.id))
            if not self._table.transact(*writes, *([] if at_once else [copy])):
                # No part of the transaction: everybody's connections meet in the count.
                self._add_to_count(connection, -1)
                return

    def recently_closed(self, connection_id: str) -> Connection | None:
        """Return a connection as it was when it closed, for as long as its frames may still arrive. None otherwise."""
        item = self._table.get(CONNECTION_PK + connection_id, RECENTLY_CLOSED)
        return None if item is None or item["expires_at"] < self._clock() else _connection(item)

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
            **_good_until(connection),
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
        """Return the user's connections that show the conversation, and whose clients are signed in.

        Some may be gone: API Gateway does not report every socket that closes. Raise ``Unavailable``.
        """
        with transient_as_unavailable():
            items = list(self._table.query(conversation_pk(key), *beginning_with(VIEWER)))
        good = [item for item in items if item.get("good_until", FOR_EVER) > self._clock()]
        return [Viewer(name_in(item["sk"]), BY_NAME[item["dialect"]]) for item in good]

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
    """Return the condition that the connection is open and is what it was when it was read, and its values."""
    conditions = [IF_EXISTS]
    values: Item = {}
    # Whose it is and how long its client is signed in are kept with what it shows, too.
    known = {"user_id": connection.user, "viewing": connection.viewing, "good_until": connection.good_until}
    for name, seen in known.items():
        if seen is None:
            conditions.append(f"attribute_not_exists({name})")
        else:
            conditions.append(f"{name} = :seen_{name}")
            values[f":seen_{name}"] = seen
    return " AND ".join(conditions), values


def _identified(connection: Connection) -> Update:
    """Return the part of a transaction that stores who the connection is, refused if the connection has closed."""
    changes = _assignments(_known(connection), ("token_until", "good_until", "frames_per_minute"))
    return Update(CONNECTION_PK + connection.id, CONNECTION, *changes, IF_EXISTS)


def _known(connection: Connection) -> Item:
    """Return the attributes that say who the connection is."""
    identity = connection.identity
    if identity is None:
        return {}
    known: Item = {"user_id": identity.user, "credential": identity.credential, "issued_at": identity.issued_at}
    if identity.expires_at is not None:
        known["token_until"] = identity.expires_at
    if connection.frames_per_minute is not None:
        known["frames_per_minute"] = connection.frames_per_minute
    return known | _good_until(connection)


def _good_until(connection: Connection) -> Item:
    return {} if connection.good_until is None else {"good_until": connection.good_until}


def _assignments(known: Item, optional: Sequence[str]) -> tuple[str, Item]:
    """Return the expression that stores `known`, and removes those `optional` attributes that are not in it."""
    removed = [name for name in optional if name not in known]
    expression = f"SET {', '.join(f'{name} = :{name}' for name in known)}" if known else ""
    return f"{expression} REMOVE {', '.join(removed)}" if removed else expression, {
        f":{name}": known[name] for name in known
    }


def _connection(item: Item) -> Connection:
    identity = None
    if "user_id" in item:
        token_until = item.get("token_until")
        identity = Identity(item["user_id"], item["credential"], int(item["issued_at"]), token_until)
    return Connection(
        id=name_in(item["pk"]),
        agent=item["agent"],
        dialect=BY_NAME[item["dialect"]],
        connected_at=int(item["connected_at"]),
        identity=identity,
        good_until=item.get("good_until"),
        frames_per_minute=item.get("frames_per_minute"),
        viewing=item.get("viewing"),
        device=item.get("device"),
        frames=int(item.get("frames", 0)),
    )
