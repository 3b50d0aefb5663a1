"""The answers to what clients ask of replies: to resume, to cancel, to say how much is shown."""

from chatrelay.domain.errors import Conflict, Forbidden
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.replay import Replay
from chatrelay.store.connections import Connection
from chatrelay.store.store import Store
from chatrelay.wire.inbound import Acknowledge, Cancel, Resume

CANCEL_TRIES = 5


class ResumeService:
    """Resumes, cancels and acknowledgements: by the lease of a live worker, or from the store after the end."""

    def __init__(self, store: Store, replay: Replay, recovery: Recovery) -> None:
        self._store = store
        self._replay = replay
        self._recovery = recovery

    def resume(self, user: str, connection: Connection, asked: Resume) -> None:
        """Send the connection everything from the offset on, by the worker or from the store.

        Announce a reply that waits: its text comes when its turn has come. Of a reply that broke off and was asked for
        again, send the successor from the beginning. Raise ``Forbidden`` if there is no such reply or it is another
        user's, ``Gone`` if the connection is.
        """
        if asked.reply is None:  # the latest of the conversation that the client names
            key = ConversationKey(user, str(asked.conversation))
            writer = self._store.leases.get(key).writer
            latest = ReplyLocation(writer.reply, key, writer.turn) if writer else self._store.conversations.latest(key)
            if latest is None:
                raise Forbidden("There is no such reply.")
            location = latest
        else:
            location = self._find(user, asked.reply)
        self._recovery.ensure_progress(location.key)
        self._store.connections.subscribe(connection, location.key.conversation)
        writer = self._store.leases.get(location.key).writer  # after that: a worker that begins later sees the viewer
        if writer and writer.turn == location.turn:
            offset = asked.offset if writer.reply == location.reply else 0
            if self._store.leases.subscribe(location.key, writer.reply, connection.id, offset):
                return
        stored = self._store.conversations.stored(location)
        if stored is None:
            raise Forbidden("There is no such reply.")
        self._replay.send(connection.id, stored, asked.offset if stored.stream.reply == location.reply else 0)

    def active(self, key: ConversationKey) -> str | None:
        """Return the reply that is being written in a conversation, or None."""
        writer = self._recovery.ensure_progress(key).writer
        return None if writer is None else writer.reply

    def cancel(self, user: str, asked: Cancel) -> None:
        """Ask the worker to stop. Leave a reply that has ended as it is. Raise ``Forbidden``, ``Conflict``."""
        location = self._find(user, asked.reply)
        for _ in range(CANCEL_TRIES):
            # The turn of a reply that waits may come between the two: then its worker is asked.
            if self._store.leases.cancel(location.key, location.reply) or self._recovery.withdraw(location):
                self._recovery.ensure_progress(location.key)  # a worker that is dead hears nothing
                return
        raise Conflict(location.reply)

    def acknowledge(self, user: str, device: str | None, asked: Acknowledge) -> None:
        """Record how much of the reply the device has shown. A device without a name gets no pushes to spare.

        Raise ``Forbidden``.
        """
        location = self._find(user, asked.reply)
        if device is not None:
            self._store.replies.acknowledge(location.reply, device, asked.offset)

    def _find(self, user: str, reply: str) -> ReplyLocation:
        location = self._store.replies.find(reply)
        if location is None or location.key.user != user:
            raise Forbidden("There is no such reply.")
        return location
