"""Conversations: turns in the order in which API Gateway received them, each a message and its reply."""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, field, replace
from itertools import groupby, pairwise
from uuid import uuid4

from chatrelay.domain.attachments import Attachment, Block
from chatrelay.domain.blocks import log_of
from chatrelay.domain.errors import Conflict, Duplicate, Forbidden, InvalidMessage, Refused, Superseded, TooLong
from chatrelay.domain.keys import ConversationKey, ReplyLocation, StreamId
from chatrelay.domain.log import Log, Part
from chatrelay.domain.reply import Reply, Status
from chatrelay.domain.text import beginning
from chatrelay.domain.turns import Amended, Turn, estimate_tokens, window
from chatrelay.domain.usage import Spent
from chatrelay.store.accounts import Account, Accounts, Allowance
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import (
    HEADER,
    LEASE,
    MESSAGE_ID,
    QUEUE,
    TURN,
    beginning_with,
    conversation_pk,
    name_in,
    reply_parts,
    reply_piece,
    turn_in,
    turn_message,
    turn_name,
    turn_reply,
)
from chatrelay.store.leases import Lease, Leases, Writer
from chatrelay.store.replies import Replies
from chatrelay.store.table import IF_ABSENT, IF_EXISTS, Delete, Put, Table, Update, Write, transient_as_unavailable
from chatrelay.store.usages import Usages
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound

WAITING = 0
"""The epoch of a reply that nobody writes yet: the first fence is 1."""
TITLE_LENGTH = 80
PIECE_LENGTH = 90_000
"""An item of DynamoDB has at most 400 KB; a character has at most 4 bytes."""
WRITE_END = (
    "SET reply_status = :status, written = :written, written_of = :reply, ending = :ending, tokens = :tokens,"
    " sha256 = :sha256, last_frame = :last, ended_at_ms = :now"
)
UNWRITTEN = {"written": '{"parts":[],"blocks":[]}', "written_of": "", "tokens": 0}
WRITTEN_BYTES = 3_000_000
"""One transaction of DynamoDB has at most 4 MB."""
NOT_TAKEN = (Refused.code, TooLong.code)
"""How a reply ended whose message goes to no model again."""
BROKEN = (Status.FAILED.value, Status.INTERRUPTED.value)
ENDED = (*BROKEN, Status.COMPLETE.value, Status.CANCELLED.value)


@dataclass(frozen=True)
class Accepted:
    """A stored message and its registered reply. `turn` is its position in the conversation.

    `sender` is the connection that the message came by; None if it came by HTTP. `amended` is what earlier requests to
    the model have taught. `parent` is the turn that this one follows, empty for a first one; None if that is the turn
    before it in the order of the keys.
    """

    key: ConversationKey
    turn: str
    stream: StreamId
    send: Send
    sender: str | None
    amended: Amended = field(default_factory=Amended)
    parent: str | None = None

    @property
    def waits(self) -> bool:
        """Whether another reply of the conversation has to end first."""
        return self.stream.epoch == WAITING


@dataclass(frozen=True)
class StoredReply:
    """A reply as it is stored: its log, and the frame that ended it, None if the reply has not ended."""

    stream: StreamId
    message_id: str
    agent: str
    log: Log
    last: Outbound | None

    @property
    def is_complete(self) -> bool:
        """Whether the model said all it had to say."""
        # An error has no stop reason.
        return self.last is not None and self.last.fields.get("stop_reason", "cancelled") != "cancelled"

    @property
    def waits(self) -> bool:
        """Whether another reply of the conversation has to end first."""
        return self.stream.epoch == WAITING and self.last is None


class Conversations:
    """The conversations of all users."""

    def __init__(
        self,
        table: Table,
        leases: Leases,
        replies: Replies,
        accounts: Accounts,
        usages: Usages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table = table
        self._leases = leases
        self._replies = replies
        self._accounts = accounts
        self._usages = usages
        self._clock = clock

    # --- accepting a message ---

    def accept(
        self,
        user: str,
        send: Send,
        received_ms: int,
        *,
        sender: str | None = None,
        subscription: Sequence[Write] = (),
        worker: str | None = None,
    ) -> Accepted:
        """Store a message and register its reply, all or nothing, with the `subscription` of its sender if it holds.

        The invocation `worker` writes the reply if it can have the conversation's lease. Otherwise, and without a
        worker, the message waits. A known message id gets a new reply if its last reply broke off; the stored text of
        the last stays until the new reply has ended. Raise ``Duplicate`` if the last reply waits, streams or is
        complete, ``Forbidden`` if there is no message that this one could replace, and ``RateLimited`` or
        ``QuotaExceeded`` if the user may not have another message answered now.
        """
        key = ConversationKey(user, send.conversation)
        stream = StreamId(send.conversation, uuid4().hex, WAITING)
        first = Accepted(
            key, turn_name(received_ms, stream.reply), stream, send, sender, parent=self._parent(key, send)
        )
        if send.regenerates is not None:
            accepted = self._place(first, worker, subscription, self._anew)
            if accepted is None:
                self.asked_again(user, send.regenerates)  # raises: somebody else was quicker
                raise Conflict(send.regenerates)
            return accepted
        if (accepted := self._place(first, worker, subscription, self._first_try)) is not None:
            return accepted
        # The message id is known.
        turn, earlier = self._earlier_reply(first)
        if earlier["reply_status"] in BROKEN:
            again = replace(first, turn=turn)
            accepted = self._place(again, worker, subscription, lambda placed: self._next_try(placed, earlier["reply"]))
            if accepted is not None:
                return accepted
            _, earlier = self._earlier_reply(first)  # somebody else was quicker
        raise Duplicate(earlier["reply"])

    def _place(
        self,
        accepted: Accepted,
        worker: str | None,
        subscription: Sequence[Write],
        writes: Callable[[Accepted], list[Write]],
    ) -> Accepted | None:
        """Write `writes` together with the lease or a queue entry. Return None if the first of them is refused.

        Raise ``RateLimited`` and ``QuotaExceeded``.
        """
        seen, amended, account, spent = self._state(accepted.key)
        allowance = self._accounts.allowance(account, spent, accepted.stream.reply)
        counted = [*(part for part, _ in allowance), *self._accounts.introduction(account)]
        if worker is not None and seen.writer is None and not seen.queued:
            if accepted.parent is not None:
                amended = replace(amended, first="")
            begun = replace(accepted, stream=replace(accepted.stream, epoch=seen.fence + 1), amended=amended)
            first, *more = writes(begun)
            claim = self._leases.claim(begun.key, seen, Writer(begun.stream.reply, begun.turn, worker))
            record = self._leases.record_worker(begun.key, worker)
            refused = self._subscribed([first, *more, *counted, claim, record], subscription)
            if not refused:
                return begun
            if first in refused:
                return None
            _raise_refused(allowance, refused)
            # The claim has lost a race against another message: this one waits.
        entry = Put({"pk": conversation_pk(accepted.key), "sk": QUEUE + accepted.turn})
        queued: list[Write] = [entry, self._leases.wait(accepted.key)]
        if worker is not None:  # it may die before it has looked whether anybody writes
            queued.append(self._leases.record_worker(accepted.key, worker))
        first, *more = writes(accepted)
        refused = self._subscribed([first, *more, *counted, *queued], subscription)
        if refused and first not in refused:
            _raise_refused(allowance, refused)
        return None if refused else accepted

    def _subscribed(self, writes: Sequence[Write], subscription: Sequence[Write]) -> list[Write]:
        """Write `writes` with the `subscription`, or without it if that is what is refused. Return what is refused."""
        refused = self._table.transact(*writes, *subscription)
        if refused and all(write in subscription for write in refused):  # the sender has left, or shows something else
            return self._table.transact(*writes)
        return refused

    def _state(self, key: ConversationKey) -> tuple[Lease, Amended, Account, tuple[Spent, Spent]]:
        """Return what every message needs to know, in one read.

        The conversation's lease, what earlier requests to the model have taught, the user's account, and what the user
        has spent today and this month.
        """
        pk, user = conversation_pk(key), key.user
        items = self._table.get_all((pk, HEADER), (pk, LEASE), self._accounts.key(user), *self._usages.keys(user))
        header = items.get((pk, HEADER), {})
        amended = Amended(header.get("window_from", ""), header.get("plain_through", ""))
        account = self._accounts.read(user, items.get(self._accounts.key(user)))
        return self._leases.read(items.get((pk, LEASE))), amended, account, self._usages.spent(user, items)

    def _first_try(self, accepted: Accepted) -> list[Write]:
        """Return the writes that store a new message. The first is refused if the message id is known."""
        pk, send = conversation_pk(accepted.key), accepted.send
        message: Item = {"id": send.id, "content": send.content, "agent": send.agent, "sender": accepted.sender}
        if send.attachments:
            message["attachments"] = [asdict(attachment) for attachment in send.attachments]
        if accepted.parent is not None:
            message |= {"replaces": send.replaces, "parent": accepted.parent}
        reply = {"id": send.id, "agent": send.agent, **UNWRITTEN, **_begun(accepted)}
        return [
            Put({"pk": pk, "sk": MESSAGE_ID + send.id, "turn": accepted.turn}, IF_ABSENT),
            Put({"pk": pk, "sk": turn_message(accepted.turn), **message}),
            Put({"pk": pk, "sk": turn_reply(accepted.turn), **reply}),
            *self._registration(accepted),
        ]

    def _anew(self, accepted: Accepted) -> list[Write]:
        """Return the writes that answer a message anew, at a turn of its own. The first is refused if that was done."""
        _, *turn = self._first_try(accepted)
        pk, send = conversation_pk(accepted.key), accepted.send
        replaced = self._replies.find(str(send.regenerates))
        if replaced is None:
            raise Forbidden("There is no such reply.")
        values = {":old": send.regenerates, ":new": accepted.stream.reply}
        return [
            Update(
                pk,
                turn_reply(replaced.turn),
                "SET replaced_by = :new",
                values,
                "reply = :old AND attribute_not_exists(replaced_by)",
            ),
            # So that the same message, sent once more, is answered by the reply that there is now.
            Update(pk, MESSAGE_ID + send.id, "SET turn = :turn", {":turn": accepted.turn}, IF_EXISTS),
            *turn,
        ]

    def asked_again(self, user: str, reply: str) -> Send:
        """Return the message of a reply, to be answered anew in its own place.

        Raise ``Forbidden`` if there is no such reply, ``InvalidMessage`` if it has not ended, and ``Duplicate`` if
        another one has taken its place.
        """
        location, message, item = self._turn_of(user, reply)
        if (successor := _successor(item, reply)) is not None:
            raise Duplicate(successor)
        if item["reply_status"] not in ENDED:
            raise InvalidMessage("reply", "is still being written: cancel it, or wait for its end")
        conversation, attachments = location.key.conversation, stored_attachments(message)
        send = Send(message["id"], conversation, message["content"], message["agent"], attachments)
        return replace(send, replaces=send.id, regenerates=reply)

    def owed_instead(self, user: str, reply: str) -> ConversationKey | None:
        """Return where a reply that has not ended has taken the place of `reply`; None if none has."""
        try:
            _, _, item = self._turn_of(user, reply)
        except Forbidden:
            return None
        successor = _successor(item, reply)
        location = None if successor is None else self._replies.find(successor)
        stored = None if location is None else self.stored(location)
        return location.key if location is not None and stored is not None and stored.last is None else None

    def _turn_of(self, user: str, reply: str) -> tuple[ReplyLocation, Item, Item]:
        """Return where a reply of the user's is, its message, and what is there of it or of a newer reply.

        Raise ``Forbidden`` if there is no such reply.
        """
        location = self._replies.find(reply)
        if location is not None and location.key.user == user:
            bounds = turn_message(location.turn), turn_reply(location.turn)
            found = list(self._table.query(conversation_pk(location.key), *bounds))
            if len(found) == 2:
                message, item = found
                return location, message, item
        raise Forbidden("There is no such reply.")

    def _parent(self, key: ConversationKey, send: Send) -> str | None:
        """Return the turn that a message follows which comes in the place of another; None for any other message."""
        if send.replaces is None:
            return None
        pk = conversation_pk(key)
        known = self._table.get(pk, MESSAGE_ID + send.replaces)
        replaced = known and self._table.get(pk, turn_message(known["turn"]))
        if not known or not replaced:
            raise Forbidden("There is no such message in this conversation.")
        if "parent" in replaced:
            return str(replaced["parent"])
        before = self._table.query(pk, TURN, TURN + known["turn"], forward=False)
        return next((turn_in(item["sk"]) for item in before), "")

    def _next_try(self, accepted: Accepted, broken: str) -> list[Write]:
        """Return the writes that put a new reply in the place of the `broken` one.

        The first is refused if another new reply has taken its place already.
        """
        begun = {f":{name}": value for name, value in _begun(accepted).items()}
        new_reply = Update(
            conversation_pk(accepted.key),
            turn_reply(accepted.turn),
            # The earlier replies are kept by name, because a deletion finds replies by their turns.
            "SET reply = :reply, epoch = :epoch, reply_status = :reply_status ADD earlier_replies :earlier",
            {**begun, ":earlier": {broken}, ":was": broken, ":failed": BROKEN[0], ":interrupted": BROKEN[1]},
            "reply = :was AND reply_status IN (:failed, :interrupted) AND attribute_not_exists(replaced_by)",
        )
        return [new_reply, *self._registration(accepted)]

    def _registration(self, accepted: Accepted) -> list[Write]:
        """Return the writes that let the reply be found by its id, and the conversation in its user's list."""
        location = ReplyLocation(accepted.stream.reply, accepted.key, accepted.turn)
        send, now_ms = accepted.send, int(self._clock() * 1000)
        filenames = ", ".join(attachment.filename for attachment in send.attachments)
        title = beginning(send.content.strip() or filenames, TITLE_LENGTH)
        # What a cut of the history has left out may be what a replaced message followed.
        uncut = "" if accepted.parent is None else " REMOVE window_from"
        header = Update(
            conversation_pk(accepted.key),
            HEADER,
            f"SET owner_id = :user, updated_at = :now, title = if_not_exists(title, :title){uncut}",
            {":user": accepted.key.user, ":now": now_ms, ":title": title},
        )
        return [self._replies.register(location), header]

    def _earlier_reply(self, accepted: Accepted) -> tuple[str, Item]:
        """Return the turn of a message that was accepted before, and the item of its reply.

        Raise ``Conflict`` if the conversation was deleted since. The next call finds nothing of the message.
        """
        pk, message_id = conversation_pk(accepted.key), accepted.send.id
        known, reply = self._reply_to(pk, message_id)
        if known and reply:
            return known["turn"], reply
        if known:  # a deletion has come between: the id goes, if both are still as they were seen
            unchanged = Delete(pk, known["sk"], "turn = :turn", {":turn": known["turn"]})
            self._table.transact(unchanged, Delete(pk, turn_reply(known["turn"]), IF_ABSENT))
        raise Conflict(f"{message_id} was deleted while it was accepted again")

    def _reply_to(self, pk: str, message_id: str) -> tuple[Item | None, Item | None]:
        """Return the item of a message id, and that of the message's reply, as far as they are there."""
        known = self._table.get(pk, MESSAGE_ID + message_id)
        return known, known and self._table.get(pk, turn_reply(known["turn"]))

    def owes(self, key: ConversationKey, message_id: str) -> bool:
        """Return whether the message was accepted, and its reply has not ended."""
        _, reply = self._reply_to(conversation_pk(key), message_id)
        return reply is not None and reply["reply_status"] not in ENDED

    # --- the queue ---

    def take_next(self, key: ConversationKey, worker: str) -> Accepted | None:
        """Return the next queued message, leased to `worker`.

        None if the queue is empty, another worker writes, or the user is blocked: then it waits.
        """
        pk = conversation_pk(key)
        while True:
            seen, amended, account, _ = self._state(key)
            if seen.writer or account.is_blocked:
                return None
            head = self._table.first(pk, QUEUE)
            if head is None:
                if seen.queued:  # a deletion broke off
                    self._leases.nobody_waits(key, seen)
                return None
            begun = self._queued(key, name_in(head["sk"]), seen)
            if begun is None:
                self._drop(key, head)
                continue
            status = {":streaming": Status.STREAMING.value, ":queued": Status.QUEUED.value}
            refused = self._table.transact(
                self._leases.take(key, seen, Writer(begun.stream.reply, begun.turn, worker)),
                self._leases.record_worker(key, worker),
                Delete(pk, head["sk"], IF_EXISTS),
                Update(
                    pk,
                    turn_reply(begun.turn),
                    "SET reply_status = :streaming, epoch = :epoch",
                    {":epoch": begun.stream.epoch, **status},
                    "reply_status = :queued",
                ),
            )
            if not refused:
                return replace(begun, amended=amended)
            # Another worker was quicker, or the message was withdrawn: look again.

    def waiting(self, key: ConversationKey) -> list[ReplyLocation]:
        """Return the replies in the queue, in their order."""
        pk = conversation_pk(key)
        turns = [name_in(item["sk"]) for item in self._table.query(pk, *beginning_with(QUEUE))]
        replies = ((turn, self._table.get(pk, turn_reply(turn))) for turn in turns)
        return [ReplyLocation(item["reply"], key, turn) for turn, item in replies if item is not None]

    def _queued(self, key: ConversationKey, turn: str, seen: Lease) -> Accepted | None:
        """Return the message of `turn` as it would be under the next fence; None if a part of its turn is missing."""
        items = list(self._table.query(conversation_pk(key), turn_message(turn), turn_reply(turn)))
        if len(items) < 2:
            return None
        message, reply = items
        attachments = stored_attachments(message)
        send = Send(message["id"], key.conversation, message["content"], message["agent"], attachments)
        send = replace(send, replaces=message.get("replaces"))
        return Accepted(key, turn, StreamId(key.conversation, reply["reply"], seen.fence + 1), send, message["sender"])

    def _drop(self, key: ConversationKey, head: Item) -> None:
        """Drop a queue entry whose turn was deleted."""
        pk, turn = conversation_pk(key), name_in(head["sk"])
        parts = (turn_message(turn), turn_reply(turn))
        missing = set(parts) - {item["sk"] for item in self._table.query(pk, *parts)}
        if missing:  # else the first look has met a turn that was half stored
            proof = [Delete(pk, part, IF_ABSENT) for part in missing]
            self._table.transact(Delete(pk, head["sk"], IF_EXISTS), self._leases.wait(key, -1), *proof)

    # --- the history ---

    def history(self, accepted: Accepted, budget_tokens: int) -> list[Turn]:
        """Return the turns up to the accepted message, within the budget. A cut is remembered: see ``window``.

        The last turn has no reply: what an earlier try left of it is no part of the history. Raise ``Superseded`` if
        the conversation was deleted meanwhile.
        """
        pk, amended = conversation_pk(accepted.key), accepted.amended
        begin = min(amended.first, accepted.turn)  # a later turn may have cut the window already
        end = turn_message(accepted.turn)
        items = list(self._table.query(pk, TURN + begin, end))
        if begin and _follows_earlier(items, accepted.turn):  # the cut is of what was replaced
            items = list(self._table.query(pk, TURN, end))
            self._table.update(pk, HEADER, "SET window_from = :turn", {":turn": ""}, condition=IF_EXISTS)
        turns = _turns(items, amended.plain_through, accepted.turn)
        if not turns or turns[-1].key != accepted.turn:
            raise Superseded(accepted.stream.reply)
        kept = window(turns, budget_tokens)
        if len(kept) < len(turns):  # stored, so that the next history begins as this one: its beginning is cached
            cut = {":turn": kept[0].key}
            self._table.update(pk, HEADER, "SET window_from = :turn", cut, condition=IF_EXISTS)
        return list(kept)

    def amend(self, key: ConversationKey, amended: Amended) -> None:
        """Let later histories begin and be plain as `amended` says. Raise ``Unavailable``."""
        changes = {":first": amended.first, ":through": amended.plain_through}
        expression = "SET window_from = :first, plain_through = :through"
        with transient_as_unavailable():
            self._table.update(conversation_pk(key), HEADER, expression, changes, condition=IF_EXISTS)

    # --- the end of a reply ---

    def finish(self, accepted: Accepted, reply: Reply, last: Outbound) -> None:
        """Store the reply as it ended, once, with the frame that says so and what it has used.

        Raise ``Superseded`` if the reply has ended already or another worker writes it by now, and ``Unavailable``.
        """
        location = ReplyLocation(reply.id, accepted.key, accepted.turn)
        with transient_as_unavailable():
            ended = self._end(location, reply, last, "epoch = :epoch", {":epoch": accepted.stream.epoch})
        if not ended:
            raise Superseded(reply.id)

    def interrupt(self, location: ReplyLocation, reply: Reply, last: Outbound) -> bool:
        """Store what the dead worker of a reply left, in `reply`. Return False if the reply had ended before."""
        return self._end(location, reply, last, "reply = :reply", {})

    def withdraw(self, location: ReplyLocation, reply: Reply, last: Outbound) -> bool:
        """End a reply that waits. Return False if it has begun, or has ended."""
        pk, (values, _) = conversation_pk(location.key), self._written(reply, last)  # a reply that waits has no text
        refused = self._table.transact(
            Update(
                pk,
                turn_reply(location.turn),
                WRITE_END,
                {**values, ":queued": Status.QUEUED.value},
                "reply = :reply AND reply_status = :queued",
            ),
            Delete(pk, QUEUE + location.turn, IF_EXISTS),
            self._leases.wait(location.key, -1),
            self._accounts.ended(location.key.user, reply.id),
        )
        return not refused

    def _end(self, location: ReplyLocation, reply: Reply, last: Outbound, condition: str, values: Item) -> bool:
        """Store an end, if `condition` holds and the reply has not ended.

        Return whether it is stored: by this call, or by one before whose answer was lost.
        """
        pk, sk = conversation_pk(location.key), turn_reply(location.turn)
        written, more = self._written(reply, last)
        values = {**values, **written, ":streaming": Status.STREAMING.value}
        unended = "reply_status = :streaming AND attribute_not_exists(deleted)"
        end = Update(pk, sk, WRITE_END, values, f"{condition} AND {unended}")
        # With the end or not at all: pieces before it could be left in a conversation that is deleted meanwhile, and
        # what is counted apart from it could be counted twice.
        pieces = [
            Put({"pk": pk, "sk": reply_piece(location.turn, reply.id, number), "reply": reply.id, "written": piece})
            for number, piece in enumerate(more)
        ]
        user = location.key.user
        counted = [self._accounts.ended(user, reply.id), *self._usages.add(user, reply.used)]
        if not self._table.transact(end, *pieces, *counted):
            return True
        stored = self._table.get(pk, sk) or {}
        return (stored.get("last_frame"), stored.get("sha256")) == (last.to_json(), reply.log.sha256)

    def _written(self, reply: Reply, last: Outbound) -> tuple[Item, list[str]]:
        """Return the values of ``WRITE_END``, and the pieces of what is written that need items of their own."""
        used, ending = reply.used, reply.ending
        text = _kept(reply.log, [] if ending is None else ending.blocks)
        piece, *more = (text[at : at + PIECE_LENGTH] for at in range(0, len(text), PIECE_LENGTH))
        stop_reason = "estimated" if ending is None else ending.stop_reason
        values = {
            ":reply": reply.id,
            ":status": reply.status.value,
            ":written": piece,
            ":ending": {"stop_reason": stop_reason, "model": used.model, "usage": used.tokens, "cost": used.cost},
            ":tokens": used.tokens["output_tokens"],
            ":sha256": reply.log.sha256,
            ":last": last.to_json(),
            ":now": int(self._clock() * 1000),
        }
        return values, more

    def stored(self, location: ReplyLocation) -> StoredReply | None:
        """Return the reply at that turn: a newer one, if there was another try. None if there is no such turn."""
        items = list(self._table.query(conversation_pk(location.key), *reply_parts(location.turn)))
        return stored_reply(location.key.conversation, items) if items else None

    def latest(self, key: ConversationKey) -> ReplyLocation | None:
        """Return the conversation's last reply; None if there is none."""
        pk = conversation_pk(key)
        last = self._table.last(pk, TURN)
        if last is None:
            return None
        turn = turn_in(last["sk"])
        reply = self._table.get(pk, turn_reply(turn))
        return None if reply is None else ReplyLocation(reply["reply"], key, turn)


def _raise_refused(allowance: Allowance, refused: Sequence[Write]) -> None:
    """Raise what the user hears if a part of the allowance is among what is refused."""
    for part, problem in allowance:
        if part in refused:
            raise problem


def _begun(accepted: Accepted) -> Item:
    """Return the attributes of a reply that waits, or that a worker begins."""
    status = Status.QUEUED if accepted.waits else Status.STREAMING
    return {"reply": accepted.stream.reply, "epoch": accepted.stream.epoch, "reply_status": status.value}


def _successor(item: Item, reply: str) -> str | None:
    """Return what has taken the place of `reply`, from its turn's item: another try, or the reply asked for anew."""
    return item.get("replaced_by") if item["reply"] == reply else str(item["reply"])


def stored_reply(conversation: str, items: list[Item]) -> StoredReply:
    """Return the reply of one turn from its items."""
    head, *_ = items
    parts, blocks = _written(items)
    unended = head["reply_status"] in (Status.QUEUED.value, Status.STREAMING.value)
    last = None if unended else Outbound.from_json(head["last_frame"])
    stream = StreamId(conversation, head["reply"], int(head["epoch"]))
    return StoredReply(stream, head["id"], head["agent"], log_of(blocks, parts), last)


def stored_attachments(message: Item) -> tuple[Attachment, ...]:
    """Return the attachments of a turn's message."""
    return tuple(Attachment(**{**stored, "size": int(stored["size"])}) for stored in message.get("attachments", ()))


def _kept(log: Log, blocks: list[Block]) -> str:
    """Return what keeps a log: its content blocks, which models are told, and the parts before that no block holds.

    If the blocks do not give the log to the character, or take too much room, all of its parts and no blocks.
    """
    before = log.parts[: len(log.parts) - len(log_of(blocks).parts)]
    for parts, kept in ((before, blocks), (log.parts, [])):
        # As JSON text, because DynamoDB has no floats, and the blocks have to stay verbatim.
        text = json.dumps({"parts": [astuple(part) for part in parts], "blocks": kept}, ensure_ascii=False)
        if log_of(kept, parts).parts == log.parts and len(text.encode()) <= WRITTEN_BYTES:
            break
    return text


def _written(items: Iterable[Item]) -> tuple[list[Part], list[Block]]:
    """Return what ``_kept`` has kept, from the items of one turn's reply."""
    head, *more = items
    own = [item["written"] for item in more if item["reply"] == head["written_of"]]  # other tries may have left pieces
    written = json.loads("".join([head["written"], *own]))
    return [Part(*part) for part in written["parts"]], written["blocks"]


def _turns(items: Iterable[Item], plain_through: str, last: str) -> list[Turn]:
    """Return the turns that lead to `last`, from the items of all: a message, then its reply in one item or more.

    A message without a reply is not answered yet.
    """
    stored = {key: list(parts) for key, parts in groupby(items, lambda item: turn_in(item["sk"]))}
    # Otherwise the query has met a turn that is being stored at this moment.
    stored = {key: parts for key, parts in stored.items() if "content" in parts[0]}
    path = set(_path({key: parts[0] for key, parts in stored.items()}, last))
    turns = []
    for key, (message, *reply) in stored.items():
        if key not in path:
            continue
        last_frames = (Outbound.from_json(item["last_frame"]) for item in reply if "last_frame" in item)
        if any(frame.fields.get("code") in NOT_TAKEN for frame in last_frames):
            continue  # the next request would not be taken with a turn that was not taken, either
        attachments = stored_attachments(message)
        tokens = estimate_tokens(message["content"]) + sum(attachment.tokens for attachment in attachments)
        turn = Turn(key, message["content"], [], tokens, attachments, plain=key <= plain_through)
        if reply:
            written, blocks = _written(reply)
            if not blocks and (text := Log(written).text):  # kept without any: a model is told the text
                blocks = [{"type": "text", "text": text}]
            turn = replace(turn, blocks=blocks, tokens=tokens + int(reply[0]["tokens"]))
        turns.append(turn)
    return turns


def _path(messages: Mapping[str, Item], last: str) -> Iterator[str]:
    """Yield the turns from `last` back to the first: each follows its parent, or else the turn before it."""
    before = dict(pairwise(reversed(list(messages))))
    turn = last
    while turn in messages:
        yield turn
        turn = messages[turn].get("parent", before.get(turn, ""))


def _follows_earlier(items: Iterable[Item], last: str) -> bool:
    """Return whether the path to `last` begins before these items, at a parent that is not among them."""
    messages = {turn_in(item["sk"]): item for item in items if "content" in item}
    parents = [messages[turn].get("parent", "") for turn in _path(messages, last)]
    return bool(parents and parents[-1])
