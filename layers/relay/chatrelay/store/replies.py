"""Replies that are being written: who may be dead, who wants to read along, who wants no more, what is written so far.

The worker that writes a reply looks here twice a second, and leaves what it has written meanwhile.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError

from chatrelay.errors import Superseded, Unavailable
from chatrelay.store.table import KNOWN, Item, Returning, Table
from chatrelay.text import utf16_length

HEARTBEAT_S = 0.5
PASSING = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
    "TransactionConflictException",
}
"""What DynamoDB answers when it has a bad moment."""
EXPIRES_S = 15.0
"""How long a worker may be silent before it counts as dead: many heartbeats, some of which DynamoDB may refuse."""
KEPT_S = 7 * 24 * 60 * 60
"""How long a reply can be found by its id, and its journal."""


@dataclass(frozen=True)
class Whereabouts:
    """Where a reply is kept. `live`: a worker writes it, or did a few seconds ago; `expired`: it is live no more."""

    reply: str
    user: str
    conversation: str
    turn: str
    live: bool
    expired: bool


@dataclass(frozen=True)
class Signals:
    """What others have left for the worker: connections by id with the offset that each has, and whether to stop."""

    subscribers: Mapping[str, int]
    cancel: bool


class Replies:
    """The replies of all users, by id."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def find(self, reply: str) -> Whereabouts | None:
        """Where `reply` is, or None if there is no such reply."""
        item = self._table.get(_pk(reply), "REPLY")
        if item is None:
            return None
        late = int(item["alive_until_ms"]) < self._clock() * 1000
        live = bool(item["live"])
        return Whereabouts(reply, item["user_id"], item["conversation"], item["turn"], live and not late, live and late)

    def heartbeat(self, reply: str) -> Signals:
        """The worker is alive. Raises ``Superseded`` if the reply has ended meanwhile, ``Unavailable`` for once."""
        with _refusals_as_ours():
            item = self._exchange(reply, "SET alive_until_ms = :until", {":until": self._until()}, "ALL_NEW")
        if item is None:
            raise Superseded(reply)
        return _signals(item)

    def journal(self, reply: str, offset: int, text: str) -> None:
        """Keeps what was written from UTF-16 `offset` on. Raises ``Unavailable``."""
        expires_at = int(self._clock()) + KEPT_S
        item = {"pk": _pk(reply), "sk": f"JOURNAL#{offset:010d}", "text": text, "expires_at": expires_at}
        with _refusals_as_ours():
            self._table.put(item)

    def journaled(self, reply: str) -> str:
        """What a worker had written by its last heartbeat, up to the first gap if there is one."""
        text = ""
        for item in self._table.query(_pk(reply), "JOURNAL#", "JOURNAL#~"):
            if int(item["sk"].removeprefix("JOURNAL#")) != utf16_length(text):
                break
            text += item["text"]
        return text

    def end(self, reply: str) -> Signals:
        """The reply is written no more. The signals that were left until now. Raises ``Unavailable``."""
        with _refusals_as_ours():
            item = self._table.exchange(_pk(reply), "REPLY", "SET live = :ended", {":ended": False}, KNOWN, "ALL_OLD")
        return Signals({}, cancel=False) if item is None else _signals(item)

    def declare_dead(self, reply: str) -> bool:
        """From here on no heartbeat of its worker counts. False if the worker has been heard meanwhile."""
        values = {":ended": False, ":now": int(self._clock() * 1000)}
        return self._table.update(_pk(reply), "REPLY", "SET live = :ended", values, condition="alive_until_ms < :now")

    def subscribe(self, reply: str, connection_id: str, offset: int) -> bool:
        """Lets a connection read along, from UTF-16 `offset` on. False if the reply is written no more."""
        values = {":offset": offset}
        return self._signal(reply, "SET subscribers.#connection = :offset", values, {"#connection": connection_id})

    def served(self, reply: str, connection_id: str, offset: int) -> None:
        """The worker has taken a subscriber in; one that has asked again since stays. Raises ``Unavailable``."""
        with _refusals_as_ours():
            self._table.update(
                _pk(reply),
                "REPLY",
                "REMOVE subscribers.#connection",
                {":offset": offset},
                condition="subscribers.#connection = :offset",
                names={"#connection": connection_id},
            )

    def cancel(self, reply: str) -> bool:
        """Asks the worker to stop. False if the reply is written no more."""
        return self._signal(reply, "SET cancel_asked = :asked", {":asked": True}, None)

    def _signal(self, reply: str, expression: str, values: Item, names: dict[str, str] | None) -> bool:
        live = {":live": True, ":now": int(self._clock() * 1000)}
        condition = "live = :live AND alive_until_ms >= :now"
        return self._table.update(_pk(reply), "REPLY", expression, {**values, **live}, condition=condition, names=names)

    def _exchange(self, reply: str, expression: str, values: Item, returning: Returning) -> Item | None:
        live = {":live": True}
        return self._table.exchange(_pk(reply), "REPLY", expression, {**values, **live}, "live = :live", returning)

    def _until(self) -> int:
        return int((self._clock() + EXPIRES_S) * 1000)


@contextmanager
def _refusals_as_ours() -> Iterator[None]:
    try:
        yield
    except BotoCoreError as failure:
        raise Unavailable(type(failure).__name__) from failure
    except ClientError as refusal:
        if refusal.response["Error"]["Code"] not in PASSING:
            raise
        raise Unavailable(refusal.response["Error"]["Code"]) from refusal


def beginning(reply: str, user: str, conversation: str, turn: str, now_s: float) -> Item:
    """The item of a reply that is owed from now on."""
    return {
        "pk": _pk(reply),
        "sk": "REPLY",
        "user_id": user,
        "conversation": conversation,
        "turn": turn,
        "live": True,
        "alive_until_ms": int((now_s + EXPIRES_S) * 1000),
        "subscribers": {},
        "expires_at": int(now_s) + KEPT_S,
    }


def _pk(reply: str) -> str:
    return f"REPLY#{reply}"


def _signals(item: Item) -> Signals:
    subscribers = {connection: int(offset) for connection, offset in item["subscribers"].items()}
    return Signals(subscribers, bool(item.get("cancel_asked", False)))
