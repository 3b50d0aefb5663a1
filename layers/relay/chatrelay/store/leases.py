"""The lease of a conversation: who writes its reply now, how many messages wait for theirs, and the writer's mailbox.

One item a conversation. Its fence rises with every writer, and is the ``epoch`` of every frame that the writer sends;
every write of the writer here is conditional on the fence. Twice a second the writer sends a heartbeat, and the answer
has what others have left in the mailbox: connections that want to read along, and the request to stop.

    free ──claim──► held by a writer ──end──► free
      └──take from the queue──►┘ ├──declare_dead──► held, fenced off ──end──► free
                                 └──fence_off──► free

A message that finds the lease held waits; the writer takes the next message when it has ended its own reply. Whoever
finds a free lease while messages wait takes it.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from chatrelay.domain.errors import Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.usage import Used
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import LEASE, WORKER, WORKER_PK, conversation_pk
from chatrelay.store.table import IF_EXISTS, Put, Returning, Table, Update, transient_as_unavailable

HEARTBEAT_S = 0.5
EXPIRES_S = 15.0
"""How long a worker may be silent before it counts as dead: many heartbeats, some of which DynamoDB may refuse."""

WORKER_KEPT_S = 24 * 60 * 60
"""Much longer than an invocation and the record of its failure take."""

FREE_AS_SEEN = "attribute_not_exists(reply) AND (attribute_not_exists(fence) OR fence = :seen)"
NOBODY_WAITS = "(attribute_not_exists(queued) OR queued = :none)"
HOLD = (
    "SET fence = :fence, reply = :reply, turn = :turn, worker = :worker, alive_until_ms = :until,"
    " subscribers = :nobody, queued = if_not_exists(queued, :none) - :taken REMOVE expires_at, used"
)  # `expires_at` is of a conversation that was deleted, and begins anew
LET_GO = "REMOVE reply, turn, worker, alive_until_ms, cancel_asked"
"""The subscribers stay until the next writer: an ``end`` that is repeated, because its answer was lost, finds them."""
REMEMBERED_S = 24 * 60 * 60
"""How long the fence of a deleted conversation is kept: much longer than a worker that might come back can live."""


@dataclass(frozen=True)
class Writer:
    """The invocation `worker`, writing `reply` at `turn`."""

    reply: str
    turn: str
    worker: str


@dataclass(frozen=True)
class Lease:
    """A lease as it was read.

    `writer` is None if the lease is free, `expired` says that the writer has been silent for too long, `cancelled` that
    its user wants it to stop. `queued` messages wait; `arrivals` have ever waited. `used` is what the writer's reply
    had used at its last heartbeat, by an estimate; None before the first. The writer counts as dead from
    `alive_until_ms` on, in milliseconds since 1970; 0 if there is none.
    """

    fence: int = 0
    queued: int = 0
    writer: Writer | None = None
    expired: bool = False
    cancelled: bool = False
    arrivals: int = 0
    alive_until_ms: int = 0
    used: Used | None = None


@dataclass(frozen=True)
class Signals:
    """The writer's mailbox: the offset that each connection wants to read on from, and whether to stop.

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
        """Return the lease as it is now."""
        return self.read(self._table.get(conversation_pk(key), LEASE))

    def read(self, item: Item | None) -> Lease:
        """Return the lease that `item` is; one that was never held for None."""
        if item is None:
            return Lease()
        fence, queued, arrivals = (int(item.get(name, 0)) for name in ("fence", "queued", "arrivals"))
        if "reply" not in item:
            return Lease(fence, queued, arrivals=arrivals)
        writer = Writer(item["reply"], item["turn"], item["worker"])
        until_ms, spent = int(item["alive_until_ms"]), item.get("used")
        used = None if spent is None else Used(**spent)
        is_cancelled = "cancel_asked" in item
        return Lease(fence, queued, writer, until_ms < self._now_ms(), is_cancelled, arrivals, until_ms, used)

    # --- parts of transactions ---

    def claim(self, key: ConversationKey, seen: Lease, writer: Writer) -> Update:
        """Give `writer` the lease, if it is still free as `seen` and no message waits."""
        return self._hold(key, seen, writer, taken=0, condition=f"{FREE_AS_SEEN} AND {NOBODY_WAITS}")

    def take(self, key: ConversationKey, seen: Lease, writer: Writer) -> Update:
        """Give `writer`, whose message leaves the queue, the lease, if it is still free as `seen`."""
        return self._hold(key, seen, writer, taken=1, condition=FREE_AS_SEEN)

    def wait(self, key: ConversationKey, change: int = 1) -> Update:
        """Count `change` more messages that wait."""
        values = {":change": change, ":arrived": max(change, 0)}
        return Update(conversation_pk(key), LEASE, "ADD queued :change, arrivals :arrived REMOVE expires_at", values)

    def forget(self, key: ConversationKey, seen: Lease) -> Update:
        """Let the lease of a deleted conversation expire, if nobody writes and no message has come since `seen`."""
        # A fence that began again at 1 would let a worker of the deleted conversation write in the next of that name.
        return Update(
            conversation_pk(key),
            LEASE,
            "SET queued = :none, expires_at = :expires_at",
            {":none": 0, ":expires_at": int(self._clock()) + REMEMBERED_S, ":queued": seen.queued},
            "attribute_not_exists(reply) AND queued = :queued",
        )

    def record_worker(self, key: ConversationKey, worker: str) -> Put:
        """Record where `worker` writes, so that its conversation can be found if it dies."""
        item = {"user_id": key.user, "conversation": key.conversation}
        expires_at = int(self._clock()) + WORKER_KEPT_S
        return Put({"pk": WORKER_PK + worker, "sk": WORKER, "expires_at": expires_at, **item})

    def place_of(self, worker: str) -> ConversationKey | None:
        """Return the conversation in which the invocation `worker` wrote last; None if it never wrote."""
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

    # --- for the writer ---

    def heartbeat(self, key: ConversationKey, fence: int, used: Used | None = None) -> Signals:
        """Extend the writer's lease, keep what its reply has used, and return its mailbox.

        Raise ``Superseded`` if the writer counts as dead, and ``Unavailable`` if the next heartbeat may succeed.
        """
        spent = None if used is None else {"model": used.model, "tokens": used.tokens, "cost": used.cost}
        values = {":until": self._until_ms(), ":used": spent}
        return self._as_writer(key, fence, "SET alive_until_ms = :until, used = :used", values, "ALL_NEW")

    def end(self, key: ConversationKey, fence: int) -> Signals:
        """Release the lease, and return the mailbox as it was. Raise ``Superseded`` and ``Unavailable``."""
        return self._as_writer(key, fence, LET_GO, {}, "ALL_OLD")

    def clear_resume_request(self, key: ConversationKey, fence: int, connection_id: str, offset: int) -> None:
        """Remove a connection from the mailbox, unless it has asked for another offset since. Raise ``Unavailable``."""
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
        pk, values = conversation_pk(key), {**values, ":fence": fence}
        with transient_as_unavailable():
            item = self._table.update_returning(pk, LEASE, expression, values, "fence = :fence", returning)
        if item is None:
            raise Superseded(f"the fence of {pk} has moved on from {fence}")
        subscribers = {connection: int(offset) for connection, offset in item.get("subscribers", {}).items()}
        return Signals(subscribers, bool(item.get("cancel_asked", False)), int(item.get("queued", 0)))

    # --- for everybody ---

    def subscribe(self, key: ConversationKey, reply: str, connection_id: str, offset: int) -> bool:
        """Ask the writer of `reply` to send its text from UTF-16 `offset` on to a connection.

        Return False if no live worker writes `reply`.
        """
        return self._table.update(
            conversation_pk(key),
            LEASE,
            "SET subscribers.#connection = :offset",
            {":reply": reply, ":now": self._now_ms(), ":offset": offset},
            condition="reply = :reply AND alive_until_ms >= :now",
            names={"#connection": connection_id},
        )

    def cancel(self, key: ConversationKey, reply: str) -> bool:
        """Ask the writer of `reply`, or whoever recovers it, to stop. Return False if nobody writes `reply`."""
        pk, values = conversation_pk(key), {":reply": reply, ":asked": True}
        return self._table.update(pk, LEASE, "SET cancel_asked = :asked", values, condition="reply = :reply")

    def declare_dead(self, key: ConversationKey, reply: str, worker: str | None = None) -> Lease | None:
        """Fence off the writer of `reply` if it has been silent for too long, or if it is `worker`, known to be dead.

        From now on the old writer's conditional writes fail. Return the lease as it is then; None if the writer has
        sent a heartbeat meanwhile, or has ended.
        """
        # No invocation has the id "nobody". At 0 the lease stays run out, so a recovery that dies here is repeated.
        item = self._table.update_returning(
            conversation_pk(key),
            LEASE,
            "SET alive_until_ms = :never ADD fence :one",
            {":reply": reply, ":now": self._now_ms(), ":never": 0, ":one": 1, ":worker": worker or "nobody"},
            "reply = :reply AND (alive_until_ms < :now OR worker = :worker)",
            "ALL_NEW",
        )
        return None if item is None else self.read(item)

    def nobody_waits(self, key: ConversationKey, seen: Lease) -> None:
        """Correct the count of messages that wait to zero, if the lease is free and unchanged since `seen`."""
        self._table.update(
            conversation_pk(key),
            LEASE,
            "SET queued = :none",
            {":none": 0, ":seen": seen.fence, ":queued": seen.queued, ":arrivals": seen.arrivals},
            # By the count alone, a message that goes and another one that comes would pass for nothing.
            condition=f"{FREE_AS_SEEN} AND queued = :queued AND arrivals = :arrivals",
        )

    def fence_off(self, key: ConversationKey) -> Lease:
        """Free the lease, and supersede its writer if there is one. Return the lease as it was."""
        pk, values = conversation_pk(key), {":none": 0, ":one": 1}
        expression = f"SET queued = if_not_exists(queued, :none) {LET_GO} ADD fence :one"
        return self.read(self._table.update_returning(pk, LEASE, expression, values, IF_EXISTS, "ALL_OLD"))

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)

    def _until_ms(self) -> int:
        return int((self._clock() + EXPIRES_S) * 1000)
