"""The way of a message into the store, whether over a socket or by HTTP."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from chatrelay.domain.errors import Duplicate, Ended, TooManyReplies
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.agent_registry import AgentRegistry
from chatrelay.relay.recovery import Recovery
from chatrelay.store.connections import Connection
from chatrelay.store.conversations import Accepted
from chatrelay.store.store import Store
from chatrelay.store.table import Write
from chatrelay.wire.inbound import Asked, Regenerate, Send

if TYPE_CHECKING:
    from chatrelay.aws.files import Files


class Acceptance:
    """The checks and the storage of messages. `files` gives the bucket, whose client is built for the first file."""

    def __init__(
        self,
        store: Store,
        recovery: Recovery,
        agents: AgentRegistry,
        files: "Callable[[], Files]",
    ) -> None:
        self._store = store
        self._recovery = recovery
        self._agents = agents
        self._files = files

    def accept(
        self, user: str, asked: Asked, received_ms: int, *, sender: Connection | None = None, worker: str | None = None
    ) -> Accepted:
        """Store a message and the reply owed for it, which `sender` reads along.

        `worker` writes the reply, if it is the conversation's turn.

        Raise ``NoSuchAgent``, ``Duplicate``, what ``Files.checked`` does, where something cannot be replaced
        ``Forbidden`` and ``InvalidMessage``, and ``RateLimited`` and ``QuotaExceeded``.
        """
        send = self._store.conversations.asked_again(user, asked.reply) if isinstance(asked, Regenerate) else asked
        self._agents.check(send.agent)
        # Before the message is stored: a file that no model reads would make every later request fail.
        if send.attachments and send.regenerates is None:
            if sender is not None:  # not after the checks, which take long enough for it to name something else
                self._store.connections.subscribe(sender, send.conversation)
                sender = replace(sender, viewing=send.conversation)
            send = self._files().checked(user, send)
        subscription: Sequence[Write] = ()
        if sender is not None:  # with the message: whoever writes its reply finds its sender among the viewers
            subscription = self._store.connections.subscription(sender, send.conversation)
        accept = partial(
            self._store.conversations.accept,
            user,
            send,
            received_ms,
            sender=None if sender is None else sender.id,
            subscription=subscription,
            worker=worker,
        )
        try:
            return accept()
        except TooManyReplies as problem:
            if self._store.accounts.get(user).is_blocked:  # since the message was on its way
                raise Ended("blocked") from problem
            if not self._recovery.end_dead(user, problem.replies):
                raise
            return accept()

    def enqueue(self, user: str, send: Send, received_ms: int) -> str:
        """Store a message that came by HTTP, and call a worker for it. Return the id of its reply.

        Idempotent: a repeated id only ensures that a worker is running. Raise as ``accept`` does, and ``Unavailable``
        if no worker could be called: the message is kept all the same.
        """
        try:
            reply = self.accept(user, send, received_ms).stream.reply
        except Duplicate as known:
            reply = known.reply
        # For a repeated id as well: the first call may have died before it could call a worker.
        self._recovery.ensure_progress(ConversationKey(user, send.conversation))
        return reply
