"""Recovery of a conversation whose worker is dead: its reply is ended, and whoever waits gets a worker."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial

from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.domain.errors import Interrupted, Superseded, Unavailable
from chatrelay.domain.keys import ConversationKey, ReplyLocation, StreamId
from chatrelay.domain.log import Log
from chatrelay.domain.reply import Reply
from chatrelay.domain.usage import Used
from chatrelay.relay.replay import Replay
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.leases import Lease
from chatrelay.store.store import Store
from chatrelay.wire import endings
from chatrelay.wire.outbound import Outbound

DIED = "The answer broke off. Send the message again."
NOBODY = "Nobody could answer this. Send the message again later."
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Before each call after the first that has failed. Lambda stops functions that call each other 16 times in a row."""


class Recovery:
    """The end of replies whose workers are dead, and new workers for messages that wait. Readers of leases call it."""

    def __init__(
        self,
        store: Store,
        replay: Replay,
        workers: WorkerInvoker,
        pushes: PushInvoker,
        telemetry: Telemetry,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._replay = replay
        self._workers = workers
        self._pushes = pushes
        self._telemetry = telemetry
        self._pause = pause

    def ensure_progress(self, key: ConversationKey, dead_worker: str | None = None, attempt: int = 0) -> Lease:
        """Recover a dead writer, call a worker if messages wait and nobody writes, and return the lease as it is then.

        A writer counts as dead after a long silence; at once if it is the invocation `dead_worker`. `attempt` counts
        the calls in a row that have failed. Raise ``Unavailable`` if no worker could be called: whoever looks next
        calls again.
        """
        with self._recovered(key, dead_worker) as lease:
            if lease.queued and lease.writer is None:
                self._workers.continue_queue(key, attempt)
        return lease

    def recover(self, key: ConversationKey, dead_worker: str | None = None) -> None:
        """End the conversation's reply with what its worker has left, if the worker is dead.

        A recovery that breaks off is repeated by the next one who looks.
        """
        with self._recovered(key, dead_worker):
            pass

    def after_failure(self, key: ConversationKey, worker: str, attempt: int) -> None:
        """Recover the failed invocation `worker` and call another one, later after each call that has failed.

        `attempt` counts the calls in a row that had failed before. After the last one, tell those who wait that nobody
        answers. Raise ``Unavailable``.
        """
        if attempt == 0:
            self.ensure_progress(key, worker, 1)
            return
        self.recover(key, worker)  # before the pause: who reads along shall not wait for it
        if attempt <= len(PAUSES_S):
            self._pause(PAUSES_S[attempt - 1])
            self.ensure_progress(key, attempt=attempt + 1)
            return
        for location in self._store.conversations.waiting(key):
            problem = Interrupted(NOBODY)
            if not self.withdraw(location, partial(endings.break_off, problem=problem)):
                return  # somebody has come to answer after all
            self._telemetry.reply_failed(location.reply, problem)

    def end_dead(self, user: str, replies: Collection[str]) -> bool:
        """End those of the user's replies whose workers are dead. Return whether one of them is owed no more."""
        ended = {reply for reply in replies if not self._is_owed(reply)}
        if ended:
            self._store.accounts.forget(user, ended)
        return bool(ended)

    def _is_owed(self, reply: str) -> bool:
        location = self._store.replies.find(reply)
        if location is None:
            return False
        self.ensure_progress(location.key)
        stored = self._store.conversations.stored(location)
        return stored is not None and stored.stream.reply == reply and stored.last is None

    def withdraw(self, location: ReplyLocation, end: Callable[[StreamId, Reply], Outbound] = endings.cancel) -> bool:
        """End a reply that waits. Return False if its turn has come meanwhile."""
        stored = self._store.conversations.stored(location)
        if stored is None or stored.stream.reply != location.reply or not stored.waits:
            return True
        reply = Reply(location.reply)
        last = end(stored.stream, reply)
        withdrawn = self._store.conversations.withdraw(location, reply, last)
        if withdrawn:
            self._replay.send_end(location.key, stored, last, {})
        return withdrawn

    @contextmanager
    def _recovered(self, key: ConversationKey, dead_worker: str | None) -> Iterator[Lease]:
        """Give the lease once a dead writer is fenced off and its reply is stored. Tell its viewers after the block."""
        lease = self._store.leases.get(key)
        if lease.writer is None or not (lease.expired or lease.writer.worker == dead_worker):
            yield lease
            return
        dead = self._store.leases.declare_dead(key, lease.writer.reply, dead_worker)
        if dead is None:  # the writer was heard meanwhile
            yield self._store.leases.get(key)
            return
        location = ReplyLocation(lease.writer.reply, key, lease.writer.turn)
        interrupted = self._interrupt(location, dead)
        stored = self._store.conversations.stored(location)
        if not interrupted and stored is not None and stored.is_complete:
            with suppress(Unavailable):  # the worker may have died before it could call for the push
                self._pushes.enqueue(location)
        waiting: Mapping[str, int] = {}
        # After the push: until the lease is free, a recovery that breaks off is repeated by whoever looks next.
        with suppress(Superseded):  # another recovery has released the lease, and answers those who wait
            waiting = self._store.leases.end(key, dead.fence).subscribers
        try:
            yield self._store.leases.get(key)
        finally:  # after the block, which calls the next worker: a viewer that cannot be reached takes long
            if stored is not None and stored.last is not None:
                self._replay.send_end(key, stored, stored.last, waiting)

    def _interrupt(self, location: ReplyLocation, dead: Lease) -> bool:
        """End the reply as broken off, or as cancelled if its user had asked for that. Return False if it had ended."""
        stored = self._store.conversations.stored(location)
        if stored is None or stored.last is not None:
            return False
        reply = Reply(location.reply, Log(self._store.replies.journaled(location.reply)))
        reply.asked = dead.used or Used(stored.agent, {})
        problem = Interrupted(DIED)
        if dead.cancelled:
            return self._store.conversations.interrupt(location, reply, endings.cancel(stored.stream, reply))
        last = endings.break_off(stored.stream, reply, problem)
        interrupted = self._store.conversations.interrupt(location, reply, last)
        if interrupted:
            self._telemetry.reply_failed(location.reply, problem)
        return interrupted
