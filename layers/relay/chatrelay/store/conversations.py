"""Conversations: turns in the order in which API Gateway received them, each a message and its reply."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from uuid import uuid4

from chatrelay.domain.attachments import Attachment
from chatrelay.domain.errors import Conflict, Duplicate, Refused, Superseded, TooLong
from chatrelay.domain.keys import ConversationKey, ReplyLocation, StreamId
from chatrelay.domain.reply import Ending, Reply, Status
from chatrelay.domain.text import beginning
from chatrelay.domain.turns import Amended, Turn, estimate_tokens, window
from chatrelay.store.item_keys import (
    HEADER,
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
from chatrelay.store.table import (
    IF_ABSENT,
    IF_EXISTS,
    Delete,
    Item,
    Put,
    Table,
    Update,
    Write,
    transient_as_unavailable,
)
from chatrelay.wire.frames import Outbound
from chatrelay.wire.inbound import Send

WAITING = 0
"""The epoch of a reply that nobody writes yet: the first fence is 1."""
TITLE_LENGTH = 80
PIECE_LENGTH = 90_000
"""An item of DynamoDB has at most 400 KB; a character has at most 4 bytes."""
WRITE_END = (
    "SET reply_status = :status, blocks = :blocks, blocks_of = :reply, ending = :ending, tokens = :tokens,"
    " sha256 = :sha256, last_frame = :last, ended_at_ms = :now"
)
UNENDED = "(reply_status = :streaming OR (last_frame = :last AND sha256 = :sha256))"
"""Or this very end is stored already, and comes again because its answer was lost."""
UNWRITTEN = {"blocks": "[]", "blocks_of": "", "tokens": 0}
NOT_TAKEN = (Refused.code, TooLong.code)
"""How a reply has ended whose message no model is told again."""
BROKEN = (Status.FAILED.value, Status.INTERRUPTED.value)


@dataclass(frozen=True)
class Accepted:
    """A message that is stored, and the reply that is now owed for it. `turn` is its place in the conversation.

    `sender` is the connection that it came by, if it came by one.
    """

    key: ConversationKey
    turn: str
    stream: StreamId
    send: Send
    sender: str | None

    @property
    def waits(self) -> bool:
        """Another reply of the conversation is to be ended first."""
        return self.stream.epoch == WAITING


@dataclass(frozen=True)
class StoredReply:
    """A reply as it is kept: its text, and the frame that ended it, or None if it has not ended."""

    stream: StreamId
    message_id: str
    agent: str
    text: str
    last: Outbound | None

    @property
    def is_complete(self) -> bool:
        """The model said all it had to say."""
        return self.last is not None and self.last.fields.get("stop_reason", "cancelled") != "cancelled"

    @property
    def waits(self) -> bool:
        """Another reply of the conversation is to be ended first."""
        return self.stream.epoch == WAITING and self.last is None


class Conversations:
    """The conversations of all users."""

    def __init__(self, table: Table, leases: Leases, replies: Replies, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._leases = leases
        self._replies = replies
        self._clock = clock

    # --- in ---

    def accept(
        self, user: str, send: Send, received_ms: int, *, sender: str | None = None, worker: str | None = None
    ) -> Accepted:
        """Stores a message and the reply owed for it, all or nothing.

        The invocation `worker` writes the reply if it can have the conversation's lease; otherwise, and without a
        worker, the message waits. An id that was there is owed a new reply if the last one broke off; what it had stays
        until the new one has ended. Raises ``Duplicate`` if the last one is waiting, being written or complete.
        """
        stream = StreamId(send.conversation, uuid4().hex, WAITING)
        turn = turn_name(received_ms, stream.reply)
        accepted = Accepted(ConversationKey(user, send.conversation), turn, stream, send, sender)
        if (owed := self._owe(accepted, worker, self._first_try)) is not None:
            return owed
        turn, answered = self._answered(accepted)
        if answered["reply_status"] not in BROKEN:
            raise Duplicate(answered["reply"])
        again = replace(accepted, turn=turn)
        owed = self._owe(again, worker, lambda owed: [_renewal(owed, answered), *self._registration(owed)])
        if owed is None:
            raise Duplicate(answered["reply"])
        return owed

    def _owe(
        self, accepted: Accepted, worker: str | None, writes: Callable[[Accepted], list[Write]]
    ) -> Accepted | None:
        """Writes `writes` together with the lease, or with a place in the queue. None if the first of them may not be.

        A message whose claim is refused has lost a race against another one, and waits.
        """
        seen = self._leases.get(accepted.key)
        if worker is not None and seen.writer is None and not seen.queued:
            begun = replace(accepted, stream=replace(accepted.stream, epoch=seen.fence + 1))
            claim = self._leases.claim(begun.key, seen, _writer(begun, worker))
            owed = writes(begun)
            refused = self._table.transact(*owed, claim, self._leases.record_worker(begun.key, worker))
            if not refused:
                return begun
            if owed[0] in refused:
                return None
        queued: list[Write] = [Put({"pk": conversation_pk(accepted.key), "sk": QUEUE + accepted.turn})]
        queued.append(self._leases.wait(accepted.key))
        if worker is not None:  # it may die before it has looked whether anybody writes
            queued.append(self._leases.record_worker(accepted.key, worker))
        return None if self._table.transact(*writes(accepted), *queued) else accepted

    def _first_try(self, owed: Accepted) -> list[Write]:
        pk, send = conversation_pk(owed.key), owed.send
        said: Item = {"id": send.id, "content": send.content, "agent": send.agent, "sender": owed.sender}
        if send.attachments:
            said["attachments"] = [asdict(attachment) for attachment in send.attachments]
        return [
            Put({"pk": pk, "sk": MESSAGE_ID + send.id, "turn": owed.turn}, IF_ABSENT),
            Put({"pk": pk, "sk": turn_message(owed.turn), **said}),
            Put(
                {"pk": pk, "sk": turn_reply(owed.turn), "id": send.id, "agent": send.agent, **UNWRITTEN, **_owed(owed)}
            ),
            *self._registration(owed),
        ]

    def _registration(self, owed: Accepted) -> list[Write]:
        """The reply can be found by its id, and the conversation among its user's."""
        location = ReplyLocation(owed.stream.reply, owed.key, owed.turn)
        header = Update(
            conversation_pk(owed.key),
            HEADER,
            "SET owner_id = :user, updated_at = :now, title = if_not_exists(title, :title)",
            {
                ":user": owed.key.user,
                ":now": int(self._clock() * 1000),
                ":title": _title(owed.send),
            },
        )
        return [self._replies.register(location), header]

    def _answered(self, accepted: Accepted) -> tuple[str, Item]:
        """The turn of a message that was accepted before, and what is kept of its reply.

        Raises ``Conflict`` if the conversation was deleted since. Next time, nothing is known of the message.
        """
        pk, message_id = conversation_pk(accepted.key), accepted.send.id
        known = self._table.get(pk, MESSAGE_ID + message_id)
        answered = known and self._table.get(pk, turn_reply(known["turn"]))
        if known and answered:
            return known["turn"], answered
        if known:
            same = Delete(pk, known["sk"], "turn = :turn", {":turn": known["turn"]})
            self._table.transact(same, Delete(pk, turn_reply(known["turn"]), IF_ABSENT))
        raise Conflict(f"{message_id} was deleted while it was accepted again")

    def has(self, key: ConversationKey, message_id: str) -> bool:
        """Whether the message was accepted."""
        return self._table.get(conversation_pk(key), MESSAGE_ID + message_id) is not None

    def take_next(self, key: ConversationKey, worker: str) -> Accepted | None:
        """The message that has waited longest, for `worker` to answer. None if none waits, or another one writes."""
        while True:
            seen = self._leases.get(key)
            if seen.writer:
                return None
            head = self._table.first(conversation_pk(key), QUEUE)
            if head is None:
                if seen.queued:  # a deletion broke off
                    self._leases.nobody_waits(key, seen)
                return None
            begun = self._waiting(key, name_in(head["sk"]), seen)
            if begun is None:
                self._strike(key, head)
                continue
            status = {":streaming": Status.STREAMING.value, ":queued": Status.QUEUED.value}
            refused = self._table.transact(
                self._leases.take(key, seen, _writer(begun, worker)),
                self._leases.record_worker(key, worker),
                Delete(conversation_pk(key), head["sk"], IF_EXISTS),
                Update(
                    conversation_pk(key),
                    turn_reply(begun.turn),
                    "SET reply_status = :streaming, epoch = :epoch",
                    {":epoch": begun.stream.epoch, **status},
                    "reply_status = :queued",
                ),
            )
            if not refused:
                return begun

    def waiting(self, key: ConversationKey) -> list[ReplyLocation]:
        """The replies that wait, in their order."""
        turns = [name_in(item["sk"]) for item in self._table.query(conversation_pk(key), *beginning_with(QUEUE))]
        owed = ((turn, self._table.get(conversation_pk(key), turn_reply(turn))) for turn in turns)
        return [ReplyLocation(item["reply"], key, turn) for turn, item in owed if item is not None]

    def _waiting(self, key: ConversationKey, turn: str, seen: Lease) -> Accepted | None:
        items = list(self._table.query(conversation_pk(key), turn_message(turn), turn_reply(turn)))
        if len(items) != len(("said", "owed")):
            return None
        said, owed = items
        send = Send(said["id"], key.conversation, said["content"], said["agent"], stored_attachments(said))
        stream = StreamId(key.conversation, owed["reply"], seen.fence + 1)
        return Accepted(key, turn, stream, send, said["sender"])

    def _strike(self, key: ConversationKey, head: Item) -> None:
        """A message whose turn is not whole was deleted, all but its place in the queue."""
        turn = name_in(head["sk"])
        parts = {turn_message(turn), turn_reply(turn)}
        missing = parts - {item["sk"] for item in self._table.query(conversation_pk(key), min(parts), max(parts))}
        if missing:  # or it was only half stored when we looked before
            proof = [Delete(conversation_pk(key), part, IF_ABSENT) for part in missing]
            self._table.transact(
                Delete(conversation_pk(key), head["sk"], IF_EXISTS), self._leases.wait(key, -1), *proof
            )

    def history(self, accepted: Accepted, budget_tokens: int) -> list[Turn]:
        """The turns up to and with the accepted one, within the budget. A cut is remembered: see ``window``.

        The last one's reply is the one to be written: what an earlier try left of it is no part of the history.
        Raises ``Superseded`` if the conversation was deleted meanwhile.
        """
        pk = conversation_pk(accepted.key)
        header = self._table.get(pk, HEADER) or {}
        begin = min(header.get("window_from", ""), accepted.turn)  # a later turn may have cut the window already
        turns = _turns(
            self._table.query(pk, TURN + begin, turn_message(accepted.turn)), header.get("plain_through", "")
        )
        if not turns or turns[-1].key != accepted.turn:
            raise Superseded(accepted.stream.reply)
        kept = window(turns, budget_tokens)
        if len(kept) < len(turns):
            cut = {":turn": kept[0].key}
            self._table.update(pk, HEADER, "SET window_from = :turn", cut, condition=IF_EXISTS)
        return list(kept)

    def amend(self, key: ConversationKey, amended: Amended) -> None:
        """The history is told so from now on. Raises ``Unavailable``."""
        changes = {":first": amended.first, ":through": amended.plain_through}
        with transient_as_unavailable():
            self._table.update(
                conversation_pk(key),
                HEADER,
                "SET window_from = :first, plain_through = :through",
                changes,
                condition=IF_EXISTS,
            )

    # --- out ---

    def finish(self, accepted: Accepted, reply: Reply, last: Outbound) -> None:
        """Stores the reply as it ended, once, with the frame that says so.

        Raises ``Superseded`` if it has ended already, or is another's by now; ``Unavailable``.
        """
        location = ReplyLocation(reply.id, accepted.key, accepted.turn)
        mine = {":epoch": accepted.stream.epoch, ":streaming": Status.STREAMING.value}
        with transient_as_unavailable():
            ended = self._end(location, reply, last, f"epoch = :epoch AND {UNENDED}", mine)
        if not ended:
            raise Superseded(reply.id)

    def interrupt(self, location: ReplyLocation, reply: Reply, last: Outbound) -> bool:
        """The worker of a reply is dead: keeps what it left, in `reply`. False if it had ended before."""
        return self._end(location, reply, last, f"reply = :reply AND {UNENDED}", {":streaming": Status.STREAMING.value})

    def withdraw(self, location: ReplyLocation, reply: Reply, last: Outbound) -> bool:
        """A message waits no more, because its user wants it so. False if its reply has begun, or has ended."""
        values, _ = self._written(reply, last)
        refused = self._table.transact(
            Update(
                conversation_pk(location.key),
                turn_reply(location.turn),
                WRITE_END,
                {**values, ":queued": Status.QUEUED.value},
                "reply = :reply AND reply_status = :queued",
            ),
            Delete(conversation_pk(location.key), QUEUE + location.turn, IF_EXISTS),
            self._leases.wait(location.key, -1),
        )
        return not refused

    def _end(self, location: ReplyLocation, reply: Reply, last: Outbound, condition: str, known: Item) -> bool:
        """What does not fit into the reply's item goes into items of its own, together with it or not at all."""
        pk, sk = conversation_pk(location.key), turn_reply(location.turn)
        values, more = self._written(reply, last)
        if not more:
            return self._table.update(pk, sk, WRITE_END, {**values, **known}, condition=condition)
        pieces = [
            Put(
                {
                    "pk": pk,
                    "sk": reply_piece(location.turn, location.reply, number),
                    "reply": reply.id,
                    "blocks": piece,
                }
            )
            for number, piece in enumerate(more)
        ]
        return not self._table.transact(Update(pk, sk, WRITE_END, {**values, **known}, condition), *pieces)

    def _written(self, reply: Reply, last: Outbound) -> tuple[Item, list[str]]:
        values, more = _written(reply, last)
        return {**values, ":now": int(self._clock() * 1000)}, more

    def stored(self, location: ReplyLocation) -> StoredReply | None:
        """What is kept of the reply at that turn: of a newer one, if that is another try. None if there is none."""
        parts = reply_parts(location.turn)
        items = list(self._table.query(conversation_pk(location.key), *parts))
        return stored_reply(location.key.conversation, items) if items else None

    def latest(self, key: ConversationKey) -> ReplyLocation | None:
        """The conversation's last reply, or None if there is none."""
        last = self._table.last(conversation_pk(key), TURN)
        if last is None:
            return None
        turn = turn_in(last["sk"])
        head = self._table.get(conversation_pk(key), turn_reply(turn))
        return None if head is None else ReplyLocation(head["reply"], key, turn)


def _writer(accepted: Accepted, worker: str) -> Writer:
    return Writer(accepted.stream.reply, accepted.turn, worker)


def _owed(owed: Accepted) -> Item:
    status = Status.QUEUED if owed.waits else Status.STREAMING
    return {"reply": owed.stream.reply, "epoch": owed.stream.epoch, "reply_status": status.value}


def _renewal(owed: Accepted, answered: Item) -> Update:
    """A new reply in the place of one that broke off, unless it has one already."""
    new = {f":{name}": value for name, value in _owed(owed).items()}
    return Update(
        conversation_pk(owed.key),
        turn_reply(owed.turn),
        "SET reply = :reply, epoch = :epoch, reply_status = :reply_status ADD earlier_replies :earlier",
        {
            **new,
            ":earlier": {answered["reply"]},
            ":was": answered["reply"],
            ":failed": BROKEN[0],
            ":interrupted": BROKEN[1],
        },
        "reply = :was AND reply_status IN (:failed, :interrupted)",
    )


def _written(reply: Reply, last: Outbound) -> tuple[Item, list[str]]:
    """The values of ``WRITE_END``, and the blocks' pieces that need items of their own.

    Blocks go in as JSON text: DynamoDB has no floats, and they stay verbatim.
    """
    ending = reply.ending or _estimated(reply)
    blocks = json.dumps(ending.blocks, ensure_ascii=False)
    piece, *more = (blocks[at : at + PIECE_LENGTH] for at in range(0, len(blocks), PIECE_LENGTH))
    values = {
        ":reply": reply.id,
        ":status": reply.status.value,
        ":blocks": piece,
        ":ending": {"stop_reason": ending.stop_reason, "model": ending.model, "usage": ending.usage},
        ":tokens": ending.usage["output_tokens"],
        ":sha256": reply.sha256,
        ":last": last.to_json(),
    }
    return values, more


def _estimated(reply: Reply) -> Ending:
    """The ending of a reply that broke off: its service never said what it used."""
    blocks = [{"type": "text", "text": reply.text}] if reply.text else []
    return Ending("estimated", "", {"output_tokens": estimate_tokens(reply.text)}, blocks)


def stored_reply(conversation: str, items: list[Item]) -> StoredReply:
    """The reply of one turn from its items."""
    head, *_ = items
    text = "".join(block["text"] for block in _blocks(items) if block["type"] == "text")
    unended = head["reply_status"] in (Status.QUEUED.value, Status.STREAMING.value)
    last = None if unended else Outbound.from_json(head["last_frame"])
    return StoredReply(StreamId(conversation, head["reply"], int(head["epoch"])), head["id"], head["agent"], text, last)


def _blocks(items: Iterable[Item]) -> list[dict[str, str]]:
    """Content blocks from the items of one turn's reply. Other tries may have left pieces there."""
    head, *more = items
    own = [item["blocks"] for item in more if item["reply"] == head["blocks_of"]]
    blocks: list[dict[str, str]] = json.loads("".join([head["blocks"], *own]))
    return blocks


def _turns(items: Iterable[Item], plain_through: str) -> list[Turn]:
    """Turns from their items: the message, then its reply in one item or more.

    A query may see half of a turn that is being stored at the same moment. A message without a reply is not answered
    yet; a reply without its message is left out. So is a turn that the model or its service did not take: it would not
    take the next request with it, either.
    """
    parts = ((key, list(of_turn)) for key, of_turn in groupby(items, lambda item: turn_in(item["sk"])))
    answerable = ((key, of_turn) for key, of_turn in parts if not any(map(_was_not_taken, of_turn)))
    turns = (_turn(key, *of_turn) for key, of_turn in answerable if "content" in of_turn[0])
    return [replace(turn, plain=turn.key <= plain_through) for turn in turns]


def _was_not_taken(item: Item) -> bool:
    return "last_frame" in item and Outbound.from_json(item["last_frame"]).fields.get("code") in NOT_TAKEN


def _turn(key: str, said: Item, *answered: Item) -> Turn:
    content, attachments = str(said["content"]), stored_attachments(said)
    tokens = estimate_tokens(content) + sum(attachment.tokens for attachment in attachments)
    if not answered:
        return Turn(key, content, [], tokens, attachments)
    return Turn(key, content, _blocks(answered), tokens + int(answered[0]["tokens"]), attachments)


def stored_attachments(said: Item) -> tuple[Attachment, ...]:
    """What the message of a turn has with it."""
    return tuple(Attachment(**{**kept, "size": int(kept["size"])}) for kept in said.get("attachments", ()))


def _title(send: Send) -> str:
    """Of a conversation that begins with this message."""
    names = ", ".join(attachment.filename for attachment in send.attachments)
    return beginning(send.content.strip() or names, TITLE_LENGTH)
