"""Takes up a reply again that a client has lost sight of, stops one, and buries one whose worker is dead."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial

from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.aws.management_api import CONCURRENT_POSTS, ManagementApi
from chatrelay.aws.telemetry import Telemetry
from chatrelay.delivery.pacing import Cursor
from chatrelay.domain.errors import Conflict, Forbidden, Interrupted, PostError, Superseded, Unavailable
from chatrelay.domain.keys import ConversationKey, ReplyLocation, StreamId
from chatrelay.domain.reply import Reply
from chatrelay.store.connections import Connection, Connections
from chatrelay.store.conversations import Conversations, StoredReply
from chatrelay.store.leases import Lease, Leases
from chatrelay.store.replies import Replies
from chatrelay.wire import endings, frames
from chatrelay.wire.frames import Outbound
from chatrelay.wire.inbound import Acknowledge, Cancel, Resume

CANCEL_TRIES = 5
TELL_S = 3.0
"""How long a farewell to all is waited for. Who cannot be reached by then has to ask again."""
DIED = "The answer broke off. Send the message again."
NOBODY = "Nobody could answer this. Send the message again later."
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Before each call after the first that has failed. Lambda stops functions that call each other 16 times in a row."""


class Resumption:
    """What happens to replies apart from their workers. A live worker is asked; an ended reply is sent from here."""

    def __init__(
        self,
        connections: Connections,
        conversations: Conversations,
        leases: Leases,
        replies: Replies,
        gateway: ManagementApi,
        workers: WorkerInvoker,
        bell: PushInvoker,
        telemetry: Telemetry,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._telemetry = telemetry
        self._pause = pause
        self._connections = connections
        self._conversations = conversations
        self._leases = leases
        self._replies = replies
        self._gateway = gateway
        self._workers = workers
        self._bell = bell
        self._posting = ThreadPoolExecutor(CONCURRENT_POSTS, "farewell")

    # --- asked by clients ---

    def resume(self, user: str, connection: Connection, asked: Resume) -> None:
        """Everything from the offset on goes to the connection, by the worker or from here.

        A reply that waits is announced, and comes when its turn has come. One that broke off and was asked for again
        has a successor, which comes from its beginning. Raises ``Forbidden`` if the reply is not the user's or there
        is none, ``Gone`` if the connection is.
        """
        location = self._asked(user, asked)
        self.settle(location.key)
        self._connections.subscribe(connection, location.key.conversation)
        writer = self._leases.get(location.key).writer  # after that: a worker that begins later sees the viewer
        if writer and writer.turn == location.turn:
            offset = asked.offset if writer.reply == location.reply else 0
            if self._leases.subscribe(location.key, writer.reply, connection.id, offset):
                return
        stored = self._conversations.stored(location)
        if stored is None:
            raise Forbidden("There is no such reply.")
        self._send(connection.id, stored, asked.offset if stored.stream.reply == location.reply else 0)

    def active(self, key: ConversationKey) -> str | None:
        """The reply that is being written in a conversation, or None."""
        writer = self.settle(key).writer
        return None if writer is None else writer.reply

    def cancel(self, user: str, asked: Cancel) -> None:
        """The worker is asked to stop. A reply that has ended stays as it is. Raises ``Forbidden``, ``Conflict``."""
        location = self._find(user, asked.reply)
        for _ in range(CANCEL_TRIES):
            if self._leases.cancel(location.key, location.reply) or self._withdraw(location):
                self.settle(location.key)  # a worker that is dead hears nothing
                return
        raise Conflict(location.reply)

    def acknowledge(self, user: str, device: str | None, asked: Acknowledge) -> None:
        """The device has shown the reply so far. One without a name gets no pushes to spare. Raises ``Forbidden``."""
        location = self._find(user, asked.reply)
        if device is not None:
            self._replies.acknowledge(location.reply, device, asked.offset)

    # --- after deaths ---

    def settle(self, key: ConversationKey, dead_worker: str | None = None, attempt: int = 0) -> Lease:
        """The conversation's lease, after the dead are buried and somebody is called for those who wait.

        A writer counts as dead after a long silence; at once if it is the invocation `dead_worker`. Raises
        ``Unavailable``: nobody could be called, and whoever looks next will call again. `attempt` counts the calls in a
        row that have failed.
        """
        with self._burying(key, dead_worker) as lease:
            if lease.queued and lease.writer is None:
                self._workers.continue_queue(key, attempt)
        return lease

    def after_failure(self, key: ConversationKey, worker: str, attempt: int) -> None:
        """The invocation `worker` has failed, after `attempt` calls in a row that had failed: another one is called.

        Later each time, and not for ever: then those who wait are told that nobody answers. Raises ``Unavailable``.
        """
        if attempt == 0:
            self.settle(key, worker, 1)
            return
        self.bury(key, worker)
        if attempt > len(PAUSES_S):
            self._give_up(key)
            return
        self._pause(PAUSES_S[attempt - 1])
        self.settle(key, attempt=attempt + 1)

    def bury(self, key: ConversationKey, dead_worker: str | None = None) -> None:
        """Ends the conversation's reply with what its worker has left, if that is dead.

        A burial that breaks off is repeated by the next one who looks.
        """
        with self._burying(key, dead_worker):
            pass

    def _give_up(self, key: ConversationKey) -> None:
        """All that wait are ended, as long as nobody has come to answer them."""
        for location in self._conversations.waiting(key):
            problem = Interrupted(NOBODY)
            if not self._withdraw(location, partial(endings.break_off, problem=problem)):
                return
            self._telemetry.reply_failed(location.reply, problem)

    @contextmanager
    def _burying(self, key: ConversationKey, dead_worker: str | None = None) -> Iterator[Lease]:
        """Those who see the reply are told when the block is over: one that cannot be reached may take long."""
        lease = self._leases.get(key)
        if lease.writer is None or not (lease.expired or lease.writer.worker == dead_worker):
            yield lease
            return
        dead = self._leases.declare_dead(key, lease.writer.reply, dead_worker)
        if dead is None:  # it has been heard meanwhile
            yield self._leases.get(key)
            return
        location = ReplyLocation(lease.writer.reply, key, lease.writer.turn)
        interrupted = self._interrupt(location, cancelled=dead.cancelled)
        stored = self._conversations.stored(location)
        if not interrupted and stored is not None and stored.is_complete:
            self._announce(location)  # the worker may have died before it could
        waiting = self._let_go(key, dead.fence)
        try:
            yield self._leases.get(key)
        finally:
            if stored is not None and stored.last is not None:
                self._tell_all(key, stored, stored.last, waiting)

    def _tell_all(self, key: ConversationKey, stored: StoredReply, last: Outbound, waiting: Mapping[str, int]) -> None:
        """What those who wait miss; the end to all others: the worker, or another burial, may not have come to it."""
        viewers = self._connections.viewers(key)
        posting = [partial(self._send, each, stored, offset) for each, offset in waiting.items()]
        others = [viewer for viewer in viewers if viewer.connection_id not in waiting]
        posting += [partial(self._post, each.connection_id, each.dialect.adapt(last)) for each in others]
        done, _ = wait([self._posting.submit(_try, post) for post in posting], TELL_S)
        for each in done:
            each.result()

    def _let_go(self, key: ConversationKey, fence: int) -> Mapping[str, int]:
        """Those who have asked. None if another burial has overtaken this one, which tells them."""
        try:
            return self._leases.end(key, fence).subscribers
        except Superseded:
            return {}

    def _announce(self, location: ReplyLocation) -> None:
        with suppress(Unavailable):
            self._bell.enqueue(location)

    def _interrupt(self, location: ReplyLocation, *, cancelled: bool) -> bool:
        """False if it had ended before its worker died. Its user may have had enough of it by then."""
        stored = self._conversations.stored(location)
        if stored is None or stored.last is not None:
            return False
        reply, problem = Reply(location.reply), Interrupted(DIED)
        reply.append(self._replies.journaled(location.reply))
        died = partial(endings.break_off, problem=problem)
        last = (endings.cancel if cancelled else died)(stored.stream, reply)
        interrupted = self._conversations.interrupt(location, reply, last)
        if interrupted and not cancelled:
            self._telemetry.reply_failed(location.reply, problem)
        return interrupted

    def _withdraw(self, location: ReplyLocation, end: Callable[[StreamId, Reply], Outbound] = endings.cancel) -> bool:
        """A reply that waits is ended. False if its turn has come meanwhile."""
        stored = self._conversations.stored(location)
        if stored is None or stored.stream.reply != location.reply or not stored.waits:
            return True
        reply = Reply(location.reply)
        last = end(stored.stream, reply)
        withdrawn = self._conversations.withdraw(location, reply, last)
        if withdrawn:
            self._tell_all(location.key, stored, last, {})
        return withdrawn

    # --- both ---

    def _asked(self, user: str, asked: Resume) -> ReplyLocation:
        if asked.reply is not None:
            return self._find(user, asked.reply)
        key = ConversationKey(user, str(asked.conversation))
        writer = self._leases.get(key).writer
        found = ReplyLocation(writer.reply, key, writer.turn) if writer else self._conversations.latest(key)
        if found is None:
            raise Forbidden("There is no such reply.")
        return found

    def _find(self, user: str, reply: str) -> ReplyLocation:
        location = self._replies.find(reply)
        if location is None or location.key.user != user:
            raise Forbidden("There is no such reply.")
        return location

    def _send(self, connection_id: str, stored: StoredReply, offset: int) -> None:
        """What is kept. A reply that has begun since we looked comes from its worker."""
        if stored.waits:
            self._post(connection_id, frames.typing(stored.stream, stored.message_id))
        if stored.last is None:
            return
        self._post(connection_id, frames.resumed(stored.stream, stored.message_id, offset))
        cursor, room_bytes = Cursor.at(stored.text, offset), frames.message_room_bytes(stored.stream)
        while (piece := cursor.next_piece(stored.text, room_bytes)).content:
            self._post(connection_id, frames.message(stored.stream, piece.offset, piece.content))
            cursor.advance(piece)
        self._post(connection_id, stored.last)

    def _post(self, connection_id: str, frame: Outbound) -> None:
        self._gateway.deliver(connection_id, frame.encode(datetime.now(UTC)))


def _try(post: Callable[[], None]) -> None:
    with suppress(PostError):  # who cannot be reached will ask again
        post()
