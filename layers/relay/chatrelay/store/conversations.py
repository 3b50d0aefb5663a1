"""Conversations: turns in the order in which API Gateway received them, each a message and its reply."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from uuid import uuid4

from chatrelay.errors import Conflict, Duplicate, Interrupted, Superseded
from chatrelay.history import Turn, estimate_tokens, window
from chatrelay.protocol import Origin, Outbound, Send
from chatrelay.reply import Ending, Reply, Status
from chatrelay.store.replies import Whereabouts, beginning
from chatrelay.store.table import Item, Table, conversation_pk

FIRST_EPOCH = 1
TITLE_LENGTH = 80
WRITE_END = (
    "SET reply_status = :status, blocks = :blocks, ending = :ending, tokens = :tokens, sha256 = :sha256,"
    " last_frame = :last"
)
UNENDED = "(reply_status = :streaming OR (last_frame = :last AND sha256 = :sha256))"
"""Or this very end is stored already, and comes again because its answer was lost."""
BROKEN = (Status.FAILED.value, Status.INTERRUPTED.value)


@dataclass(frozen=True)
class Accepted:
    """A message that is stored, and the reply that is now owed for it. `turn` is its place in the conversation."""

    user: str
    turn: str
    origin: Origin


@dataclass(frozen=True)
class StoredReply:
    """A reply as it is kept: its text, and the frame that ended it, or None while it is being written."""

    origin: Origin
    text: str
    last: Outbound | None


class Conversations:
    """The conversations of all users. A user reaches their own only: the user is part of every key."""

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def accept(self, user: str, send: Send, received_ms: int, worker: str) -> Accepted:
        """Stores a message and the reply owed for it, all or nothing.

        `worker` is the invocation that will write the reply. An id that was there is owed a new reply, of the next
        epoch, if the last one broke off; what it had stays until the new one has ended. Raises ``Duplicate`` if the
        last one is being written or complete.
        """
        pk = conversation_pk(user, send.conversation)
        origin = Origin(send.conversation, uuid4().hex, FIRST_EPOCH)
        turn = f"{received_ms:013d}#{origin.reply}"
        stored = self._table.put_together(
            {"pk": pk, "sk": f"ID#{send.id}", "turn": turn},
            {"pk": pk, "sk": f"TURN#{turn}#1", "id": send.id, "content": send.content, "agent": send.agent},
            {"pk": pk, "sk": f"TURN#{turn}#2", "reply": origin.reply, "epoch": FIRST_EPOCH, **_unwritten(worker)},
            beginning(origin.reply, user, send.conversation, turn, self._clock()),
        )
        if not stored:
            return self._accept_again(user, send, worker)
        self._touch(user, send)
        return Accepted(user, turn, origin)

    def _accept_again(self, user: str, send: Send, worker: str) -> Accepted:
        pk = conversation_pk(user, send.conversation)
        turn = self._turn_of(user, send)
        answered = turn and self._table.get(pk, f"TURN#{turn}#2")
        if not turn or not answered:
            raise Conflict(f"{send.id} was deleted while it was accepted again")
        if answered["reply_status"] not in BROKEN:
            raise Duplicate(answered["reply"])
        epoch = int(answered["epoch"])
        origin = Origin(send.conversation, uuid4().hex, epoch + 1)
        # First, so that a reply that is being written can always be found; nobody knows it if nothing comes of it.
        self._table.put(beginning(origin.reply, user, send.conversation, turn, self._clock()))
        renewed = self._table.update(
            pk,
            f"TURN#{turn}#2",
            "SET reply = :reply, epoch = :epoch, worker = :worker, reply_status = :streaming",
            {
                ":worker": worker,
                ":reply": origin.reply,
                ":epoch": origin.epoch,
                ":was": epoch,
                ":streaming": Status.STREAMING.value,
                ":failed": BROKEN[0],
                ":interrupted": BROKEN[1],
            },
            condition="(epoch = :was AND reply_status IN (:failed, :interrupted)) OR reply = :reply",
        )
        if not renewed:
            raise Duplicate(answered["reply"])
        return Accepted(user, turn, origin)

    def history(self, accepted: Accepted, budget_tokens: int) -> list[Turn]:
        """The turns up to and with the accepted one, within the budget. A cut is remembered: see ``window``.

        The last one's reply is the one to be written: what an earlier try left of it is no part of the history.
        """
        pk = conversation_pk(accepted.user, accepted.origin.conversation)
        header = self._table.get(pk, "CONVERSATION") or {}
        begin = min(header.get("window_from", ""), accepted.turn)  # a later turn may have cut the window already
        items = self._table.query(pk, f"TURN#{begin}", f"TURN#{accepted.turn}#2")
        *earlier, last = _turns(items)
        turns = [*earlier, replace(last, blocks=[])]
        kept = window(turns, budget_tokens)
        if len(kept) < len(turns):
            self._table.update(pk, "CONVERSATION", "SET window_from = :turn", {":turn": kept[0].key})
        return list(kept)

    def finish(self, accepted: Accepted, reply: Reply, last: Outbound) -> None:
        """Stores the reply as it ended, once, with the frame that says so.

        Raises ``Superseded`` if it has ended already, or is another's by now.
        """
        pk = conversation_pk(accepted.user, accepted.origin.conversation)
        finished = self._table.update(
            pk,
            f"TURN#{accepted.turn}#2",
            WRITE_END,
            {
                ":streaming": Status.STREAMING.value,
                ":epoch": accepted.origin.epoch,
                **_written(reply, last),
            },
            condition=f"epoch = :epoch AND {UNENDED}",
        )
        if not finished:
            raise Superseded(accepted.origin.reply)

    def stored(self, where: Whereabouts) -> StoredReply | None:
        """A reply as it is kept, or None if its turn has a newer one by now."""
        item = self._table.get(conversation_pk(where.user, where.conversation), f"TURN#{where.turn}#2")
        return None if item is None or item["reply"] != where.reply else _stored(where.conversation, item)

    def latest_reply(self, user: str, conversation: str) -> str | None:
        """The id of the conversation's last reply, or None if there is none."""
        item = self._table.last(conversation_pk(user, conversation), "TURN#")
        return None if item is None else item.get("reply")

    def reply_of(self, user: str, send: Send, worker: str) -> str | None:
        """The reply that the invocation `worker` was writing for a message. None if it was never accepted.

        Raises ``Superseded`` if the reply is another's.
        """
        turn = self._turn_of(user, send)
        if turn is None:
            return None
        item = self._table.get(conversation_pk(user, send.conversation), f"TURN#{turn}#2") or {}
        if item.get("worker") != worker:
            raise Superseded(turn)
        return str(item["reply"])

    def interrupt(self, where: Whereabouts, text: str, last: Outbound) -> bool:
        """The worker of a reply is dead: keeps the `text` that it left. False if the reply had ended before."""
        reply = Reply(where.reply)
        reply.append(text)
        reply.break_off(Interrupted(""))
        return self._table.update(
            conversation_pk(where.user, where.conversation),
            f"TURN#{where.turn}#2",
            WRITE_END,
            {
                ":reply": where.reply,
                ":streaming": Status.STREAMING.value,
                **_written(reply, last),
            },
            condition=f"reply = :reply AND {UNENDED}",
        )

    def _turn_of(self, user: str, send: Send) -> str | None:
        """The turn of a message that was accepted; None if it never was."""
        known = self._table.get(conversation_pk(user, send.conversation), f"ID#{send.id}")
        return None if known is None else str(known["turn"])

    def _touch(self, user: str, send: Send) -> None:
        self._table.update(
            conversation_pk(user, send.conversation),
            "CONVERSATION",
            "SET owner_id = :user, updated_at = :now, title = if_not_exists(title, :title)",
            {
                ":user": user,
                ":now": int(self._clock() * 1000),
                ":title": send.content.strip()[:TITLE_LENGTH],
            },
        )


def _unwritten(worker: str) -> Item:
    return {"worker": worker, "reply_status": Status.STREAMING.value, "blocks": "[]", "tokens": 0}


def _written(reply: Reply, last: Outbound) -> Item:
    """The values of ``WRITE_END``. Blocks go in as JSON text: DynamoDB has no floats, and they stay verbatim."""
    ending = reply.ending or _estimated(reply)
    return {
        ":status": reply.status.value,
        ":blocks": json.dumps(ending.blocks, ensure_ascii=False),
        ":ending": {"stop_reason": ending.stop_reason, "model": ending.model, "usage": ending.usage},
        ":tokens": ending.usage["output_tokens"],
        ":sha256": reply.sha256,
        ":last": last.to_json(),
    }


def _estimated(reply: Reply) -> Ending:
    """The ending of a reply that broke off: its service never said what it used."""
    blocks = [{"type": "text", "text": reply.text}] if reply.text else []
    return Ending("estimated", "", {"output_tokens": estimate_tokens(reply.text)}, blocks)


def _stored(conversation: str, item: Item) -> StoredReply:
    text = "".join(block["text"] for block in json.loads(item["blocks"]) if block["type"] == "text")
    last = Outbound.from_json(item["last_frame"]) if "last_frame" in item else None
    streaming = item["reply_status"] == Status.STREAMING.value
    return StoredReply(Origin(conversation, item["reply"], int(item["epoch"])), text, None if streaming else last)


def _turns(items: Iterator[Item]) -> list[Turn]:
    """Turns from their items: the message, then its reply.

    A query may see half of a turn that is being stored at the same moment. A message without a reply is not answered
    yet; a reply without its message is left out.
    """
    turns: list[Turn] = []
    for item in items:
        key, part = item["sk"].removeprefix("TURN#").rsplit("#", 1)
        if part == "1":
            turns.append(Turn(key, item["content"], [], estimate_tokens(item["content"])))
        elif turns and turns[-1].key == key:
            tokens = turns[-1].tokens + int(item["tokens"])
            turns[-1] = replace(turns[-1], blocks=json.loads(item["blocks"]), tokens=tokens)
    return turns
