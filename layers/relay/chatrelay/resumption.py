"""Takes up a reply again that a client has lost sight of, stops one, and buries one whose worker is dead."""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from chatrelay import protocol
from chatrelay.coalesce import Cursor
from chatrelay.errors import Forbidden, Interrupted, NotDelivered, PostError, Throttled
from chatrelay.gateway import Gateway
from chatrelay.protocol import Cancel, Outbound, Resume
from chatrelay.store.connections import Connections
from chatrelay.store.conversations import Conversations, StoredReply
from chatrelay.store.replies import Replies, Whereabouts

PAUSES_S = (0.1, 0.3)
DIED = "The answer broke off. Send the message again."


class Resumption:
    """What happens to replies apart from their workers. A live worker is asked; an ended reply is sent from here."""

    def __init__(
        self, connections: Connections, conversations: Conversations, replies: Replies, gateway: Gateway
    ) -> None:
        self._connections = connections
        self._conversations = conversations
        self._replies = replies
        self._gateway = gateway

    def resume(self, user: str, connection_id: str, asked: Resume) -> str:
        """Everything from the offset on goes to the connection, by the worker or from here; gives the conversation.

        Raises ``Forbidden`` if the reply is not the user's or there is none, ``Gone`` if the connection is.
        """
        where = self._find(user, asked.reply or self._latest(user, asked.conversation))
        if where.live and self._replies.subscribe(where.reply, connection_id, asked.offset):
            stored = self._conversations.stored(where)
            if stored is not None and stored.last is None:
                return where.conversation
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
        if not (where.live and self._replies.cancel(where.reply)):
            self.bury(where)

    def bury(self, where: Whereabouts, *, is_dead: bool = False) -> bool:
        """Ends a reply whose worker is dead, with what the worker left, and tells everybody who shows it.

        The worker counts as dead after a long silence; `is_dead` if that is known. False if it lives, or the reply had
        ended before.
        """
        if not is_dead and where.expired and not self._replies.declare_dead(where.reply):
            return False
        if not is_dead and where.live:
            return False
        waiting = self._replies.end(where.reply).subscribers  # no heartbeat counts now: the journal is whole
        stored = self._conversations.stored(where)
        if stored is None or stored.last is not None:
            return False
        last = protocol.error(Interrupted(DIED), origin=stored.origin)
        text = self._replies.journaled(where.reply)
        buried = self._conversations.interrupt(where, text, last)
        if buried:
            self._tell_viewers(where, last, waiting)
            self._tell_waiting(StoredReply(stored.origin, text, last), waiting)
        return buried

    def _tell_waiting(self, ended: StoredReply, waiting: Mapping[str, int]) -> None:
        """Whoever waited to read along gets the text too. Who cannot be reached will ask again."""
        for connection_id, offset in waiting.items():
            with suppress(PostError):
                self._send(connection_id, ended, offset)

    def _tell_viewers(self, where: Whereabouts, last: Outbound, waiting: Mapping[str, int]) -> None:
        for viewer in self._connections.viewers(where.user, where.conversation):
            if viewer.connection_id not in waiting:
                with suppress(PostError):
                    self._post(viewer.connection_id, last)

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
        """Sends one frame, with a few tries. Raises ``Gone``, or what the last try raised."""
        encoded = frame.encode(datetime.now(UTC))
        for pause_s in PAUSES_S:
            with suppress(Throttled, NotDelivered):
                return self._gateway.post(connection_id, encoded)
            time.sleep(pause_s)
        return self._gateway.post(connection_id, encoded)
