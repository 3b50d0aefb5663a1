"""Replies from the store: to a connection that asks, and to everybody when a reply has ended without its worker."""

from collections.abc import Mapping
from concurrent.futures import Executor, wait
from contextlib import suppress
from functools import partial

from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.cursor import Cursor
from chatrelay.domain.errors import PostError
from chatrelay.domain.keys import ConversationKey
from chatrelay.store.conversations import StoredReply
from chatrelay.store.store import Store
from chatrelay.wire import outbound
from chatrelay.wire.outbound import Outbound

LAST_FRAME_S = 3.0
"""How long the last frame may take to reach everybody. Connections that it does not reach must resume."""


class Replay:
    """The posts of what is stored of replies."""

    def __init__(self, store: Store, api: ManagementApi, threads: Executor) -> None:
        self._store = store
        self._api = api
        self._threads = threads

    def send(self, connection_id: str, stored: StoredReply, offset: int) -> None:
        """Send a connection what it has not seen of an ended reply; only announce a reply that waits.

        Send nothing of a reply that has begun meanwhile: its worker does. Raise ``Gone`` if the connection is.
        """
        if stored.waits:
            self._api.deliver_frame(connection_id, outbound.typing(stored.stream, stored.message_id))
        if stored.last is None:  # it waits, or its worker has found the viewer
            return
        self._api.deliver_frame(connection_id, outbound.resumed(stored.stream, stored.message_id, offset))
        cursor, room_bytes = Cursor.at(stored.log, offset), partial(outbound.room_bytes, stored.stream)
        while stretch := cursor.next_stretch(stored.log, room_bytes):
            self._api.deliver_frame(connection_id, outbound.part(stored.stream, stretch))
            cursor.advance(stretch)
        self._api.deliver_frame(connection_id, stored.last)

    def send_end(self, key: ConversationKey, stored: StoredReply, last: Outbound, waiting: Mapping[str, int]) -> None:
        """Send waiting readers what they miss, and every other viewer the last frame.

        `waiting` has the offset of each connection that waits. The last frame may come twice: neither the worker nor
        another recovery is known to have sent it.
        """
        posts = [partial(self.send, each, stored, offset) for each, offset in waiting.items()]
        others = [viewer for viewer in self._store.connections.viewers(key) if viewer.connection_id not in waiting]
        posts += [
            partial(self._api.deliver_frame, viewer.connection_id, viewer.dialect.ending(last, stored.log))
            for viewer in others
        ]
        # At once, because one connection that cannot be reached must not keep the others waiting.
        done, _ = wait([self._threads.submit(post) for post in posts], LAST_FRAME_S)
        for each in done:
            with suppress(PostError):  # a connection that cannot be reached resumes
                each.result()
