"""Takes up a reply again that a client has lost sight of, stops one, and buries one whose worker is dead."""

from datetime import UTC, datetime

from chatrelay import protocol
from chatrelay.coalesce import Cursor
from chatrelay.errors import Forbidden, Interrupted
from chatrelay.gateway import Gateway
from chatrelay.protocol import Cancel, Outbound, Resume
from chatrelay.store.conversations import Conversations, StoredReply
from chatrelay.store.replies import Replies, Whereabouts

DIED = "The answer broke off. Send the message again."


class Resumption:
    """What happens to replies apart from their workers. A live worker is asked; an ended reply is sent from here."""

    def __init__(self, conversations: Conversations, replies: Replies, gateway: Gateway) -> None:
        self._conversations = conversations
        self._replies = replies
        self._gateway = gateway

    def resume(self, user: str, connection_id: str, asked: Resume) -> str:
        """Everything from the offset on goes to the connection, by the worker or from here; gives the conversation.

        Raises ``Forbidden`` if the reply is not the user's or there is none, ``Gone`` if the connection is.
        """
        where = self._find(user, asked.reply or self._latest(user, asked.conversation))
        if where.live and self._replies.subscribe(where.reply, connection_id, asked.offset):
            return where.conversation
        if where.expired or where.live:
            self.bury(where)
        stored = self._conversations.stored(where)
        if stored is None or stored.last is None:
            raise Forbidden("There is no such reply.")
        self._send(connection_id, stored, asked.offset)
        return where.conversation

    def active(self, user: str, conversation: str) -> str | None:
        """The reply that is being written in a conversation, or None."""
        reply = self._latest(user, conversation)
        where = reply and self._replies.find(reply)
        return where.reply if where and where.live else None

    def cancel(self, user: str, asked: Cancel) -> None:
        """The worker is asked to stop. A reply that has ended stays as it is. Raises ``Forbidden``."""
        where = self._find(user, asked.reply)
        if where.expired:
            self.bury(where)
        elif where.live:
            self._replies.cancel(where.reply)

    def bury(self, where: Whereabouts) -> Outbound | None:
        """Ends a reply whose worker is dead, with what the worker left. The last frame, or None if it had ended."""
        stored = self._conversations.stored(where)
        if stored is None or stored.last is not None:
            return None
        last = protocol.error(Interrupted(DIED), origin=stored.origin)
        buried = self._conversations.interrupt(where, self._replies.journaled(where.reply), last)
        self._replies.end(where.reply)
        return last if buried else None

    def _latest(self, user: str, conversation: str | None) -> str | None:
        return None if conversation is None else self._conversations.latest_reply(user, conversation)

    def _find(self, user: str, reply: str | None) -> Whereabouts:
        where = None if reply is None else self._replies.find(reply)
        if where is None or where.user != user:
            raise Forbidden("There is no such reply.")
        return where

    def _send(self, connection_id: str, stored: StoredReply, offset: int) -> None:
        self._post(connection_id, protocol.resumed(stored.origin, offset))
        cursor, room_bytes = Cursor.at(stored.text, offset), protocol.message_room_bytes(stored.origin)
        while (piece := cursor.next_piece(stored.text, room_bytes)).content:
            self._post(connection_id, protocol.message(stored.origin, piece.offset, piece.content))
            cursor.advance(piece)
        if stored.last is not None:
            self._post(connection_id, stored.last)

    def _post(self, connection_id: str, frame: Outbound) -> None:
        self._gateway.post(connection_id, frame.encode(datetime.now(UTC)))
