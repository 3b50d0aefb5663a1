"""The work of an invocation of ``message``: to answer a message, and the messages that wait behind it."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.errors import ClientError, Duplicate, PostError, Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.acceptance import Acceptance
from chatrelay.relay.dispatch import Dispatcher, Frame, Message
from chatrelay.relay.invocation import Invocation
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.reply_writer import ReplyWriter
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.connections import Viewer
from chatrelay.store.conversations import Accepted
from chatrelay.store.store import Store
from chatrelay.wire import outbound

FRESH_WORKER_S = 300
"""A message that waited gets a new worker if this one has less time left."""


class ConversationWorker:
    """A worker on one conversation at a time. `writer` makes the writer of one reply."""

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        acceptance: Acceptance,
        recovery: Recovery,
        api: ManagementApi,
        telemetry: Telemetry,
        writer: Callable[[Accepted, Invocation], ReplyWriter],
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._acceptance = acceptance
        self._recovery = recovery
        self._api = api
        self._telemetry = telemetry
        self._writer = writer

    async def handle(self, event: dict[str, Any], invocation: Invocation) -> None:
        """Do what an event of ``message`` asks for. A wake-up call asks for nothing."""
        try:
            if "continue" in event:
                await self.continue_queue(ConversationKey(**event["continue"]), invocation, is_fresh=True)
            elif "warm" not in event:
                await self.answer(Frame.from_event(event), invocation)
        except Superseded:
            self._telemetry.superseded()

    async def answer(self, frame: Frame, invocation: Invocation) -> None:
        """Answer one frame; send its sender what is wrong with it. Raise ``Superseded``."""
        message = await asyncio.to_thread(self._dispatcher.receive, frame)
        if message is None:
            return
        try:
            await self.reply(message, invocation)
        except Duplicate as known:
            await asyncio.to_thread(self._dispatcher.attach, frame, message, known.reply)
        except ClientError as problem:
            await asyncio.to_thread(self._dispatcher.send_error, frame, problem, message.connection)

    async def reply(self, message: Message, invocation: Invocation) -> None:
        """Accept a message and write its reply, or whatever comes before it and after it in the conversation.

        Raise as ``Acceptance.accept`` does, and ``Superseded`` when a reply turns out to be another worker's.
        """
        sender = message.connection
        accept = partial(self._acceptance.accept, sender=sender, worker=invocation.worker)
        accepted = await asyncio.to_thread(accept, message.user, message.asked, message.received_ms)
        if accepted.waits:
            typing = outbound.typing(accepted.stream, accepted.send.id)
            with suppress(PostError):  # a client that has not heard it sends the message again
                await asyncio.to_thread(self._api.deliver_frame, sender.id, typing)
        elif not await self._write(accepted, invocation, Viewer(sender.id, sender.dialect)):
            return
        await self.continue_queue(accepted.key, invocation)

    async def continue_queue(self, key: ConversationKey, invocation: Invocation, *, is_fresh: bool = False) -> None:
        """Answer the messages that wait in a conversation, one by one. Raise ``Superseded``.

        A worker that `is_fresh`, called for just this, takes the first message however little time is left.
        """
        # If it declined what it was called for, workers with little time would call each other for ever.
        while (accepted := await asyncio.to_thread(self._take_next, key, invocation, is_fresh=is_fresh)) is not None:
            is_fresh = False
            if not await self._write(accepted, invocation):
                return

    def _take_next(self, key: ConversationKey, invocation: Invocation, *, is_fresh: bool) -> Accepted | None:
        """Return the next queued message, leased to this worker.

        None if the queue is empty, another worker holds the lease, or too little time is left. In the last case, call a
        new worker if messages wait and nobody writes.
        """
        self._recovery.recover(key)
        if is_fresh or invocation.left_s > FRESH_WORKER_S:
            return self._store.conversations.take_next(key, invocation.worker)
        self._recovery.ensure_progress(key)
        return None

    async def _write(self, accepted: Accepted, invocation: Invocation, sender: Viewer | None = None) -> bool:
        """Write a reply. Return whether messages may wait behind it."""
        writer = self._writer(accepted, invocation)
        self._telemetry.reply_ended(await writer.write(sender))
        return writer.may_be_followed
