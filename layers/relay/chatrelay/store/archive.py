"""A user's conversations page by page, and their deletion.

A cursor holds a position, never an owner; decoding adds the caller. So a forged cursor leads to another position in
the caller's own conversations, and nowhere else.
"""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Generic, TypeVar

from chatrelay.domain.attachments import Attachment
from chatrelay.domain.errors import Conflict, Forbidden, InvalidMessage
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.reply import Status
from chatrelay.domain.text import join_surrogates
from chatrelay.domain.usage import Used
from chatrelay.store.accounts import Accounts
from chatrelay.store.attribute_values import Item
from chatrelay.store.conversations import ENDED, StoredReply, stored_attachments, stored_reply
from chatrelay.store.item_keys import CONTENTS, HEADER, TURN, conversation_pk, received_ms, turn_in, turn_reply
from chatrelay.store.leases import Lease, Leases
from chatrelay.store.replies import Replies
from chatrelay.store.table import Delete, Table, Update
from chatrelay.store.usages import Usages
from chatrelay.wire.limits import CONVERSATION_LIMIT

PAGE = 50
PAGE_BYTES = 500_000
"""A Lambda answers with at most 6 MB; a byte of text may become six in JSON, and one turn alone may be longer."""
DELETE_TRIES = 5
LATEST_MS = 10**13 - 1
T = TypeVar("T")


@dataclass(frozen=True)
class Page(Generic[T]):
    """A part of a list. `next` is the cursor of the part after it, None on the last page."""

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
    """A message and its reply. `ended_at_ms` is None until the reply has ended.

    `is_replaced` says that another message, or another reply to this one, has taken its place or that of one before it.
    `used` is None as `ended_at_ms` is.
    """

    message_id: str
    content: str
    attachments: tuple[Attachment, ...]
    agent: str
    received_at_ms: int
    reply: StoredReply
    status: str
    ended_at_ms: int | None
    is_replaced: bool = False
    used: Used | None = None


class Archive:
    """The stored conversations of all users."""

    def __init__(self, table: Table, leases: Leases, replies: Replies, accounts: Accounts, usages: Usages) -> None:
        self._table = table
        self._leases = leases
        self._replies = replies
        self._accounts = accounts
        self._usages = usages

    def conversations(self, user: str, cursor: str | None) -> Page[Summary]:
        """Return a page of the user's conversations, latest first. Raise ``InvalidMessage`` for a malformed cursor."""
        after: Item | None = None
        if cursor is not None:
            match _position(cursor):
                case [int(updated_at), str(conversation)] if (
                    0 <= updated_at <= LATEST_MS and len(conversation) <= CONVERSATION_LIMIT
                ):
                    # Only a position is read: the user is the caller, so a forged cursor reaches nobody else's.
                    pk = conversation_pk(ConversationKey(user, join_surrogates(conversation)))
                    after = {"pk": pk, "sk": HEADER, "updated_at": int(updated_at)}
                case _:
                    raise _malformed()
        prefix = conversation_pk(ConversationKey(user, ""))
        found = [
            Summary(item["pk"].removeprefix(prefix), item["title"], int(item["updated_at"]))
            for item in self._table.owned_by(user, PAGE + 1, after)  # one more says whether there is a next page
        ]
        if len(found) <= PAGE:
            return Page(found, None)
        last = found[PAGE - 1]
        return Page(found[:PAGE], _cursor(last.updated_at_ms, last.conversation))

    def exchanges(self, key: ConversationKey, cursor: str | None, *, replaced: bool = False) -> Page[Exchange]:
        """Return a page of the conversation's turns in their order: the latest, or those before the cursor.

        Without `replaced`, leave out those whose place others have taken. Raise ``Forbidden`` if there is no such
        conversation, and ``InvalidMessage`` for a malformed cursor.
        """
        end, follows = ("~", None) if cursor is None else _before(cursor)  # after every turn: turns begin with a digit
        if self._table.get(conversation_pk(key), HEADER) is None:
            raise Forbidden("There is no such conversation.")
        latest_first: list[Exchange] = []
        room_bytes, turn = PAGE_BYTES, ""
        for earlier, parent, exchange in self._exchanges(key, end):
            is_replaced = follows is not None and follows != earlier
            if is_replaced and not replaced:
                continue
            told = (exchange.content, exchange.reply.log.text, *(part.content for part in exchange.reply.log.parts))
            room_bytes -= sum(len(text.encode()) for text in told)
            if latest_first and (len(latest_first) == PAGE or room_bytes < 0):
                return Page(latest_first[::-1], _cursor(turn, *([] if follows is None else [follows])))
            latest_first.append(replace(exchange, is_replaced=is_replaced))
            turn, follows = earlier, follows if is_replaced else parent
        return Page(latest_first[::-1], None)

    def _exchanges(self, key: ConversationKey, end: str) -> Iterator[tuple[str, str | None, Exchange]]:
        """Yield each turn before `end`, latest first, what it follows if not the one before, and its exchange."""
        items = self._table.query(conversation_pk(key), TURN, TURN + end, forward=False)
        for turn, parts in groupby(items, lambda item: turn_in(item["sk"])):
            *pieces, message = parts
            if "content" not in message or not pieces:
                continue  # half of a turn that is being stored or deleted at this moment
            head, *_ = answered = pieces[::-1]
            reply = stored_reply(key.conversation, answered)
            yield (
                turn,
                message.get("parent"),
                Exchange(
                    message_id=message["id"],
                    content=message["content"],
                    attachments=stored_attachments(message),
                    agent=message["agent"],
                    received_at_ms=received_ms(turn),
                    reply=reply,
                    status=head["reply_status"],
                    ended_at_ms=None if reply.last is None else int(head["ended_at_ms"]),
                    used=None if reply.last is None else _used(head["ending"]),
                ),
            )

    def delete(self, key: ConversationKey) -> None:
        """Delete the conversation and its replies. Raise ``Forbidden`` if there is none, and ``Conflict``.

        A later message begins the conversation anew. Viewers stay: their connections are open, and see what is sent to
        the new conversation.
        """
        pk = conversation_pk(key)
        header = self._table.get(pk, HEADER)
        if header is None:
            raise Forbidden("There is no such conversation.")
        for _ in range(DELETE_TRIES):
            if header is None:  # another deletion has finished
                return
            seen = self._leases.fence_off(key)  # first: from now on the writer's conditional writes fail
            self._count_unended(key, seen)
            owed: set[str] = set()
            self._table.delete_all(self._contents(key, owed))
            if owed:
                self._accounts.forget(key.user, owed)
            # The header goes last, so that a deletion that breaks off can be repeated.
            unchanged = {":seen": header["updated_at"]}
            delete_header = Delete(pk, HEADER, "updated_at = :seen", unchanged)
            if not self._table.transact(delete_header, self._leases.forget(key, seen)):
                return
            header = self._table.get(pk, HEADER)  # written since
        raise Conflict(pk)

    def _count_unended(self, key: ConversationKey, seen: Lease) -> None:
        """Count what the reply has used that was being written: it ends no more, and is counted by nobody else."""
        if seen.writer is None or seen.used is None:  # nobody writes, or has just begun
            return
        marked = Update(
            conversation_pk(key),
            turn_reply(seen.writer.turn),
            "SET deleted = :true",
            {":true": True, ":reply": seen.writer.reply, ":streaming": Status.STREAMING.value},
            "reply = :reply AND reply_status = :streaming AND attribute_not_exists(deleted)",
        )
        self._table.transact(marked, *self._usages.add(key.user, seen.used))

    def _contents(self, key: ConversationKey, owed: set[str]) -> Iterator[tuple[str, str]]:
        """Yield the keys of all items but header, lease and viewers, and note the replies that have not ended.

        The items of a reply come before the turn that names the reply, so a deletion that breaks off loses no reply.
        """
        for item in self._table.query(conversation_pk(key), *CONTENTS):
            if "reply_status" in item:
                if item["reply_status"] not in ENDED:
                    owed.add(item["reply"])
                for reply in {item["reply"], *item.get("earlier_replies", ())}:
                    yield from self._replies.keys(reply)
            yield item["pk"], item["sk"]


def _used(ending: Item) -> Used:
    """Return what a reply has used that has ended so."""
    return Used(ending["model"], ending["usage"], ending["cost"])


def _cursor(*position: int | str) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def _position(cursor: str) -> list[int | str]:
    try:
        position = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        raise _malformed() from None
    return position if isinstance(position, list) else []


def _before(cursor: str) -> tuple[str, str | None]:
    """Return the turn before which the page ends, and the one that it follows if that is not the one before."""
    match _position(cursor):
        case [str(turn), *more] if len(turn) <= CONVERSATION_LIMIT:
            match more:
                case []:
                    return join_surrogates(turn), None
                case [str(follows)] if len(follows) <= CONVERSATION_LIMIT:
                    return join_surrogates(turn), join_surrogates(follows)
    raise _malformed()


def _malformed() -> InvalidMessage:
    return InvalidMessage("cursor", "is none of ours")
