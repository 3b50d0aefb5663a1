"""The lease of a conversation: who writes its reply now, how many messages wait for theirs, and the writer's mailbox.

One item a conversation. Its fence rises with every writer, and is the ``epoch`` of all that the writer says; whatever a
writer changes here is conditional on it. Twice a second the writer says that it lives, and finds in the answer what
others have left: connections that want to read along, and the wish to stop.

    free ──claim──► held by a writer ──end──► free
      └──take one that waits──►┘ ├──declare_dead──► held, fenced off ──end──► free
                                 └──fence_off──► free

A message that finds the lease held waits; the writer takes the next when it has ended its own. A lease that is free
while messages wait is taken by whoever sees it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chatrelay.domain.errors import Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.store.item_keys import LEASE, WORKER, WORKER_PK, conversation_pk
from chatrelay.store.table import IF_EXISTS, Item, Put, Returning, Table, Update, transient_as_unavailable

HEARTBEAT_S = 0.5
EXPIRES_S = 15.0
"""How long a worker may be silent before it counts as dead: many heartbeats, some of which DynamoDB may refuse."""

WORKER_KEPT_S = 24 * 60 * 60
"""Much longer than an invocation and the record of its failure take."""

FREE_AS_SEEN = "attribute_not_exists(reply) AND (attribute_not_exists(fence) OR fence = :seen)"
NOBODY_WAITS = "(attribute_not_exists(queued) OR queued = :none)"
HOLD = (
    "SET fence = :fence, reply = :reply, turn = :turn, worker = :worker, alive_until_ms = :until,"
    " subscribers = :nobody, queued = if_not_exists(queued, :none) - :taken REMOVE expires_at"
)
LET_GO = "REMOVE reply, turn, worker, alive_until_ms, cancel_asked"
"""The subscribers stay until the next writer: so an end that is repeated, because its answer was lost, finds them."""
REMEMBERED_S = 24 * 60 * 60
"""How long the fence of a deleted conversation is kept: much longer than a worker that could come back may live."""


@dataclass(frozen=True)
class Writer:
    """The invocation `worker`, writing `reply` at `turn`."""

    reply: str
    turn: str
    worker: str


@dataclass(frozen=True)
class Lease:
    """How things stood. `writer` is None if the lease is free; `expired` if it has been silent for too long.

    `cancelled` says that its user has had enough of what is being written.
    """

    fence: int = 0
    queued: int = 0
    writer: Writer | None = None
    expired: bool = False
    cancelled: bool = False


@dataclass(frozen=True)
class Signals:
    """What others have left for the worker: connections by id with the offset that each has, and whether to stop.

    `queued` is how many messages wait.
    """

    subscribers: Mapping[str, int]
    cancel: bool
    queued: int = 0


class Leases:
    """The leases of all conversations."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def get(self, key: ConversationKey) -> Lease:
        """The lease as it is now."""
        return self._lease(self._table.get(conversation_pk(key), LEASE) or {})

    # --- parts of transactions ---

    def claim(self, key: ConversationKey, seen: Lease, writer: Writer) -> Update:
        """`writer` has the lease from now on, if it is free as `seen` and nobody waits."""
        return self._hold(key, seen, writer, taken=0, condition=f"{FREE_AS_SEEN} AND {NOBODY_WAITS}")

    def take(self, key: ConversationKey, seen: Lease, writer: Writer) -> Update:
        """`writer`, whose message waited, has the lease from now on, if it is free as `seen`."""
        return self._hold(key, seen, writer, taken=1, condition=FREE_AS_SEEN)

    def wait(self, key: ConversationKey, change: int = 1) -> Update:
        """So many more wait."""
        return Update(conversation_pk(key), LEASE, "ADD queued :change REMOVE expires_at", {":change": change})

    def forget(self, key: ConversationKey, seen: Lease) -> Update:
        """The conversation is deleted, if nobody writes and nobody has come to wait since `seen`.

        The fence stays for a while: if it began again at 1, a worker of the deleted conversation could be taken for one
        of the next conversation of that name.
        """
        return Update(
            conversation_pk(key),
            LEASE,
            "SET queued = :none, expires_at = :expires_at",
            {":none": 0, ":expires_at": int(self._clock()) + REMEMBERED_S, ":queued": seen.queued},
            "attribute_not_exists(reply) AND queued = :queued",
        )

    def record_worker(self, key: ConversationKey, worker: str) -> Put:
        """`worker` can be found by its id, should it die."""
        kept = {"user_id": key.user, "conversation": key.conversation}
        expires_at = int(self._clock()) + WORKER_KEPT_S
        return Put({"pk": WORKER_PK + worker, "sk": WORKER, "expires_at": expires_at, **kept})

    def place_of(self, worker: str) -> ConversationKey | None:
        """Where the invocation `worker` wrote last; None if it never did."""
        item = self._table.get(WORKER_PK + worker, WORKER)
        return None if item is None else ConversationKey(item["user_id"], item["conversation"])

    def _hold(self, key: ConversationKey, seen: Lease, writer: Writer, *, taken: int, condition: str) -> Update:
        values = {
            ":seen": seen.fence,
            ":fence": seen.fence + 1,
            ":reply": writer.reply,
            ":turn": writer.turn,
            ":worker": writer.worker,
            ":until": self._until_ms(),
            ":nobody": {},
            ":none": 0,
            ":taken": taken,
        }
        return Update(conversation_pk(key), LEASE, HOLD, values, condition)

    # --- the writer's ---

    def heartbeat(self, key: ConversationKey, fence: int) -> Signals:
        """The writer is alive. Raises ``Superseded`` if it counts as dead, ``Unavailable`` for once."""
        return self._as_writer(key, fence, "SET alive_until_ms = :until", {":until": self._until_ms()}, "ALL_NEW")

    def end(self, key: ConversationKey, fence: int) -> Signals:
        """Nobody writes any more. The signals left until now. Raises ``Superseded`` and ``Unavailable``."""
        return self._as_writer(key, fence, LET_GO, {}, "ALL_OLD")

    def clear_resume_request(self, key: ConversationKey, fence: int, connection_id: str, offset: int) -> None:
        """The writer has taken a subscriber in; one that has asked again since stays. Raises ``Unavailable``."""
        with transient_as_unavailable():
            self._table.update(
                conversation_pk(key),
                LEASE,
                "REMOVE subscribers.#connection",
                {":fence": fence, ":offset": offset},
                condition="fence = :fence AND subscribers.#connection = :offset",
                names={"#connection": connection_id},
            )

    def _as_writer(
        self, key: ConversationKey, fence: int, expression: str, values: Item, returning: Returning
    ) -> Signals:
        values = {**values, ":fence": fence}
        with transient_as_unavailable():
            item = self._table.update_returning(
                conversation_pk(key), LEASE, expression, values, "fence = :fence", returning
            )
        if item is None:
            raise Superseded(f"{conversation_pk(key)} is not at {fence} any more")
        return _signals(item)

    # --- everybody's ---

    def subscribe(self, key: ConversationKey, reply: str, connection_id: str, offset: int) -> bool:
        """Lets a connection read along, from UTF-16 `offset` on. False if no live worker writes `reply`."""
        return self._table.update(
            conversation_pk(key),
            LEASE,
            "SET subscribers.#connection = :offset",
            {":reply": reply, ":now": self._now_ms(), ":offset": offset},
            condition="reply = :reply AND alive_until_ms >= :now",
            names={"#connection": connection_id},
        )

    def cancel(self, key: ConversationKey, reply: str) -> bool:
        """Asks the writer to stop, or whoever buries it. False if nobody writes `reply`."""
        values = {":reply": reply, ":asked": True}
        return self._table.update(
            conversation_pk(key), LEASE, "SET cancel_asked = :asked", values, condition="reply = :reply"
        )

    def declare_dead(self, key: ConversationKey, reply: str, worker: str | None = None) -> Lease | None:
        """Fences off the writer of `reply` after its silence, or at once if it is the `worker` known to be dead.

        From here on nothing counts that it does. How things stand then; None if it has been heard meanwhile, or has
        ended.
        """
        item = self._table.update_returning(
            conversation_pk(key),
            LEASE,
            "SET alive_until_ms = :never ADD fence :one",
            {":reply": reply, ":now": self._now_ms(), ":never": 0, ":one": 1, ":worker": worker or "nobody"},
            "reply = :reply AND (alive_until_ms < :now OR worker = :worker)",
            "ALL_NEW",
        )
        return None if item is None else self._lease(item)

    def nobody_waits(self, key: ConversationKey, seen: Lease) -> None:
        """None waits, whatever was counted, if the lease is free and unchanged since `seen`."""
        self._table.update(
            conversation_pk(key),
            LEASE,
            "SET queued = :none",
            {":none": 0, ":seen": seen.fence, ":queued": seen.queued},
            condition=f"{FREE_AS_SEEN} AND queued = :queued",
        )

    def fence_off(self, key: ConversationKey) -> Lease:
        """Whoever writes is superseded. How things stand then."""
        expression = f"SET queued = if_not_exists(queued, :none) {LET_GO} ADD fence :one"
        item = self._table.update_returning(
            conversation_pk(key), LEASE, expression, {":none": 0, ":one": 1}, IF_EXISTS, "ALL_NEW"
        )
        return Lease() if item is None else Lease(int(item["fence"]), int(item["queued"]))

    def _lease(self, item: Item) -> Lease:
        fence, queued = int(item.get("fence", 0)), int(item.get("queued", 0))
        if "reply" not in item:
            return Lease(fence, queued)
        writer = Writer(item["reply"], item["turn"], item["worker"])
        expired = int(item["alive_until_ms"]) < self._now_ms()
        return Lease(fence, queued, writer, expired, cancelled="cancel_asked" in item)

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _until_ms(self) -> int:
        return int((self._clock() + EXPIRES_S) * 1000)


def _signals(item: Item) -> Signals:
    subscribers = {connection: int(offset) for connection, offset in item.get("subscribers", {}).items()}
    return Signals(subscribers, bool(item.get("cancel_asked", False)), int(item.get("queued", 0)))
