"""What users see of their conversations, page by page; and how they get rid of them.

A cursor says where a page begins. Whose conversations it means is no part of it: the user is put in here, so a forged
one leads nowhere but to another place in one's own.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, TypeVar

from chatrelay.domain.attachments import Attachment
from chatrelay.domain.errors import Conflict, Forbidden, InvalidMessage
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.retry import retry
from chatrelay.domain.text import join_surrogates
from chatrelay.store.conversations import StoredReply, stored_attachments, stored_reply
from chatrelay.store.item_keys import CONTENTS, HEADER, LEASE, TURN, conversation_pk, received_ms, turn_in
from chatrelay.store.leases import Leases
from chatrelay.store.replies import Replies
from chatrelay.store.table import Delete, Item, Table
from chatrelay.wire.limits import CONVERSATION_LIMIT

PAGE = 50
PAGE_BYTES = 500_000
"""A Lambda answers with at most 6 MB; a byte of text may become six in JSON, and one turn alone may be longer."""
DELETE_PAUSES_S = (0.0, 0.0, 0.0, 0.0)
"""Each try deletes what was written since the last, which takes long enough by itself."""
LATEST_MS = 10**13 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list, and the cursor of the part behind it, or None if it is the last."""

    items: list[T]
    next: str | None


@dataclass(frozen=True)
class Summary:
    """A conversation in its user's list. `updated_at_ms` is when its last message was accepted, since 1970."""

    conversation: str
    title: str
    updated_at_ms: int


@dataclass(frozen=True)
class Exchange:
    """A message and its reply. `ended_at_ms` is None as long as the reply has not ended."""

    message_id: str
    content: str
    attachments: tuple[Attachment, ...]
    agent: str
    received_at_ms: int
    reply: StoredReply
    status: str
    ended_at_ms: int | None

    @property
    def size_bytes(self) -> int:
        return len(self.content.encode()) + len(self.reply.text.encode())


class Archive:
    """The conversations of all users, as they are kept."""

    def __init__(self, table: Table, leases: Leases, replies: Replies) -> None:
        self._table = table
        self._leases = leases
        self._replies = replies

    def conversations(self, user: str, cursor: str | None) -> Page[Summary]:
        """The user's conversations, latest first. Raises ``InvalidMessage`` for a cursor that is none."""
        after = None if cursor is None else _after(user, cursor)
        found = [_summary(user, item) for item in self._table.owned_by(user, PAGE + 1, after)]
        last = found[PAGE - 1] if len(found) > PAGE else None
        return Page(found[:PAGE], _cursor(last.updated_at_ms, last.conversation) if last else None)

    def exchanges(self, key: ConversationKey, cursor: str | None) -> Page[Exchange]:
        """The conversation's turns in their order: the latest ones, or those before the cursor.

        Raises ``Forbidden`` if there is no such conversation, ``InvalidMessage`` for a cursor that is none.
        """
        end = "~" if cursor is None else _before(cursor)
        if self._table.get(conversation_pk(key), HEADER) is None:
            raise Forbidden("There is no such conversation.")
        latest_first = self._exchanges(key, end)
        kept: list[tuple[str, Exchange]] = []
        room_bytes = PAGE_BYTES
        for turn, exchange in latest_first:
            room_bytes -= exchange.size_bytes
            if kept and (len(kept) == PAGE or room_bytes < 0):
                return Page([each for _, each in reversed(kept)], _cursor(kept[-1][0]))
            kept.append((turn, exchange))
        return Page([each for _, each in reversed(kept)], None)

    def _exchanges(self, key: ConversationKey, end: str) -> Iterator[tuple[str, Exchange]]:
        items = self._table.query(conversation_pk(key), TURN, TURN + end, forward=False)
        for turn, parts in groupby(items, lambda item: turn_in(item["sk"])):
            *more, said = parts
            if "content" in said and more:  # not half of a turn that is being stored or deleted
                yield turn, _exchange(key, turn, said, more[::-1])

    def delete(self, key: ConversationKey) -> None:
        """Forgets the conversation and its replies. Raises ``Forbidden`` if there is none, ``Conflict``.

        Whoever writes in it is superseded first, and its header goes last, together with the proof that nothing was
        accepted meanwhile: a deletion that breaks off can be repeated, and a message that comes later begins anew.
        Connections that show it stay: they are open, and what they are sent next belongs to them.
        """
        if self._table.get(conversation_pk(key), HEADER) is None:
            raise Forbidden("There is no such conversation.")

        def attempt() -> None:
            header = self._table.get(conversation_pk(key), HEADER)
            if header is None:  # another deletion came first
                return
            seen = self._leases.fence_off(key)
            self._table.delete_all(self._doomed(key))
            unchanged = {":seen": header["updated_at"]}
            gone = Delete(conversation_pk(key), HEADER, "updated_at = :seen", unchanged)
            if self._table.transact(gone, self._leases.forget(key, seen)):
                raise Conflict(conversation_pk(key))

        retry(attempt, DELETE_PAUSES_S, on=Conflict)

    def _doomed(self, key: ConversationKey) -> Iterator[tuple[str, str]]:
        """The keys of all but header, lease and viewers; those of a reply before the turn that leads to them."""
        for item in self._table.query(conversation_pk(key), *CONTENTS):
            for reply in _replies(item):
                yield from self._replies.keys(reply)
            if item["sk"] != LEASE:
                yield item["pk"], item["sk"]


def _replies(item: Item) -> set[str]:
    """All that have ever answered a turn, if `item` is the one that knows them."""
    return {item["reply"], *item.get("earlier_replies", ())} if "reply_status" in item else set()


def _summary(user: str, item: Item) -> Summary:
    conversation = item["pk"].removeprefix(conversation_pk(ConversationKey(user, "")))
    return Summary(conversation, item["title"], int(item["updated_at"]))


def _exchange(key: ConversationKey, turn: str, said: Item, answered: list[Item]) -> Exchange:
    reply = stored_reply(key.conversation, answered)
    head = answered[0]
    ended = None if reply.last is None else int(head["ended_at_ms"])
    return Exchange(
        message_id=said["id"],
        content=said["content"],
        attachments=stored_attachments(said),
        agent=said["agent"],
        received_at_ms=received_ms(turn),
        reply=reply,
        status=head["reply_status"],
        ended_at_ms=ended,
    )


def _cursor(*position: int | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _position(cursor: str) -> list[int | str]:
    try:
        position = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise _unknown() from None
    return position if isinstance(position, list) else []


def _after(user: str, cursor: str) -> Item:
    match _position(cursor):
        case [int(updated_at), str(conversation)] if (
            0 <= updated_at <= LATEST_MS and len(conversation) <= CONVERSATION_LIMIT
        ):
            return {
                "pk": conversation_pk(ConversationKey(user, join_surrogates(conversation))),
                "sk": HEADER,
                "updated_at": int(updated_at),
            }
    raise _unknown()


def _before(cursor: str) -> str:
    match _position(cursor):
        case [str(turn)] if len(turn) <= CONVERSATION_LIMIT:
            return join_surrogates(turn)
    raise _unknown()


def _unknown() -> InvalidMessage:
    return InvalidMessage("cursor", "is none of ours")
