"""One reply: from the model to the store, and to everybody who reads along."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any, TypeVar

from chatrelay.agents import text_stream
from chatrelay.aws.files import Files
from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.aws.management_api import ManagementApi
from chatrelay.delivery.broadcast import Broadcast
from chatrelay.delivery.liveness import Liveness
from chatrelay.domain.errors import Interrupted, PostError, Reason, ReplyError, Superseded, Unavailable, Upstream
from chatrelay.domain.keys import ReplyLocation
from chatrelay.domain.outcome import ReplyOutcome
from chatrelay.domain.prices import Prices
from chatrelay.domain.reply import Ending, Reply, Status
from chatrelay.domain.turns import Amended, Turn
from chatrelay.domain.usage import Used
from chatrelay.relay.agent_registry import AgentRegistry
from chatrelay.relay.heartbeat import Heartbeat
from chatrelay.relay.invocation import Invocation
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.connections import Viewer
from chatrelay.store.conversations import Accepted
from chatrelay.store.leases import EXPIRES_S, HEARTBEAT_S, Signals
from chatrelay.store.store import Store
from chatrelay.wire import endings, outbound
from chatrelay.wire.outbound import Outbound

T = TypeVar("T")
ORDERLY_END_S = 30
"""How long before the function's deadline a reply is ended in order instead of being cut."""
LAST_S = 5
"""What a function needs to end by itself."""
PATIENT_PAUSES_S = tuple(repeat(HEARTBEAT_S, int(EXPIRES_S / HEARTBEAT_S)))
"""Before each further try of a write that must succeed: as long as it does not, the heartbeat keeps the lease."""


@dataclass(frozen=True)
class Grace:
    """How long readers may be behind at the end of a reply, before the conversation goes on without them.

    Clients that cannot tell one reply's text from the next one's have longer.
    """

    readers_s: float = 1.0
    old_clients_s: float = 20.0


class ReplyWriter:
    """The writer of the reply to one message: made for that reply, and done after ``write``.

    `may_be_followed` says after that whether messages may wait behind the reply. One that comes after the reply's end
    finds the lease free, and brings a worker of its own.
    """

    def __init__(
        self,
        accepted: Accepted,
        invocation: Invocation,
        *,
        store: Store,
        api: ManagementApi,
        threads: Executor,
        workers: WorkerInvoker,
        pushes: PushInvoker,
        telemetry: Telemetry,
        agents: AgentRegistry,
        prices: Callable[[], Prices],
        files: Callable[[], Files],
        grace: Grace = Grace(),
    ) -> None:
        self._accepted = accepted
        self._invocation = invocation
        self._store = store
        self._api = api
        self._workers = workers
        self._pushes = pushes
        self._telemetry = telemetry
        self._agents = agents
        self._prices = prices
        self._files = files
        self._grace = grace
        self.may_be_followed = True
        self._reply = Reply(accepted.stream.reply)
        self._liveness = Liveness(EXPIRES_S)
        self._broadcast = Broadcast(self._reply, accepted.stream, api.post, threads, self._liveness)
        self._heartbeat = Heartbeat(accepted, self._reply, self._broadcast, self._liveness, store, self._price_so_far)

    async def write(self, sender: Viewer | None = None) -> ReplyOutcome:
        """Write the reply to its end, and return how it went. `sender` is the viewer who has just sent the message.

        Raise ``Superseded`` if the reply turns out to be another worker's, or its conversation was deleted. Then nobody
        hears anything more from here.
        """
        try:
            async with self._broadcast:
                await self._write_to_the_end(sender)
        except Superseded:
            await asyncio.to_thread(self._store.replies.delete_orphans, self._reply.id)
            raise
        for connection_id in self._broadcast.gone:
            await asyncio.to_thread(self._store.connections.gone, self._accepted.key, connection_id)
            with suppress(PostError):  # a 410 may lie: a socket that lives hears a close, and connects again
                await asyncio.to_thread(self._api.close, connection_id)
        return self._broadcast.outcome

    async def _write_to_the_end(self, sender: Viewer | None) -> None:
        accepted = self._accepted
        if sender is not None:  # who waits for a sign of life waits for no read
            await self._join(sender)
        async with self._heartbeat:
            joining = asyncio.create_task(self._subscribe_viewers())
            try:
                last = await self._stream_until_the_end(joining)
                old_clients = await joining
            finally:
                joining.cancel()
            self._broadcast.wake()  # the last text waits for no interval
            self._price_so_far()
            # Stored before it is sent: what a client has seen to end stays ended.
            await self._patiently(partial(self._store.conversations.finish, accepted, self._reply, last))
            self._broadcast.end(last)
            # What a worker that dies here has left undone, whoever recovers it does.
            if self._reply.status is Status.COMPLETE:
                location = ReplyLocation(self._reply.id, accepted.key, accepted.turn)
                await self._patiently(partial(self._pushes.enqueue, location))
            await self._broadcast.drained(self._grace.readers_s)
            await self._broadcast.drained(self._grace.old_clients_s, among=old_clients)
        self._liveness.release()
        signals = Signals({}, cancel=False)
        with suppress(Superseded, Unavailable):  # then the lease runs out, and whoever recovers it answers its mail
            signals = await self._patiently(partial(self._store.leases.end, accepted.key, accepted.stream.epoch))
            self.may_be_followed = signals.queued != 0  # whoever looks corrects a count that is wrong
        await self._heartbeat.attach_resumers(signals)
        if await self._broadcast.drained(0):
            return
        if signals.queued:
            with suppress(Unavailable):  # then this worker answers it afterwards
                await asyncio.to_thread(self._workers.continue_queue, accepted.key)
        if not await self._broadcast.drained(self._invocation.left_s - LAST_S):
            self._broadcast.give_up()  # who is still behind must resume

    async def _subscribe_viewers(self) -> set[str]:
        """Let in all the user's connections that show the conversation. Return those that cannot tell replies apart."""
        viewers = await self._patiently(partial(self._store.connections.viewers, self._accepted.key))
        for viewer in viewers:
            if not self._broadcast.has(viewer.connection_id):
                await self._join(viewer)
        return {viewer.connection_id for viewer in viewers if not viewer.dialect.tells_replies_apart}

    async def _join(self, viewer: Viewer) -> None:
        """Let a viewer read along. The message's sender knows the message; the others hear of it first."""
        accepted, send = self._accepted, self._accepted.send
        first = [outbound.typing(accepted.stream, send.id)]
        if viewer.connection_id != accepted.sender:
            first.insert(0, outbound.user(accepted.stream, send.id, send.content, send.attachments, send.replaces))
        await self._broadcast.join(viewer.connection_id, viewer.dialect, first)

    async def _stream_until_the_end(self, joining: asyncio.Future[Any]) -> Outbound:
        """Let the model write until it ends, somebody asks to stop or the time is over. Return the last frame."""
        streaming, stop = asyncio.create_task(self._stream(joining)), self._heartbeat.stop
        try:
            awaited: set[asyncio.Future[Any]] = {streaming, stop}
            time_s = self._invocation.left_s - ORDERLY_END_S
            await asyncio.wait(awaited, timeout=time_s, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                stop.result()  # raises what the heartbeat has met: Superseded, or a fault of ours
                return endings.cancel(self._accepted.stream, self._reply)
            if not streaming.done():
                raise Interrupted("The answer took longer than it may.", reason=Reason.TIME)
            return endings.complete(self._accepted.stream, self._reply, self._priced(streaming.result()))
        except ReplyError as problem:
            self._telemetry.reply_failed(self._reply.id, problem, self._accepted.send.agent)
            return endings.break_off(self._accepted.stream, self._reply, problem)
        finally:
            streaming.cancel()  # closes the connection, so the model stops at once
            await asyncio.gather(streaming, return_exceptions=True)

    async def _stream(self, joining: asyncio.Future[Any]) -> Ending:
        """Take what the model writes into the reply, and wake the outboxes. Raise ``ReplyError``, ``Superseded``."""
        key = self._accepted.key
        agent = self._agents.build(self._accepted.send.agent)
        turns: Sequence[Turn]
        turns = await asyncio.to_thread(self._store.conversations.history, self._accepted, agent.room.tokens)
        if any(turn.attachments for turn in turns):
            turns = await asyncio.to_thread(self._files().load, key.user, turns, agent.room)
        self._reply.asked = Used(agent.model, {"input_tokens": sum(turn.tokens for turn in turns)})
        # A generator that is left open is closed by the garbage collector, which may be long after a cancellation.
        async with aclosing(agent.answer(key.session, turns)) as events:
            async for event in events:
                # Whoever joins has the first piece with all others. Stopping the model stops no joining.
                await asyncio.shield(joining)
                match event:
                    case Ending():
                        return event
                    case Amended():
                        with suppress(Unavailable):  # then the next message is asked for as this one was
                            await asyncio.to_thread(self._store.conversations.amend, key, event)
                    case _:
                        self._reply.append(event)
                        self._broadcast.wake()
                        if self._reply.log.is_full:
                            return text_stream.ending(self._reply.log.text, text_stream.End("max_tokens", "", {}))
        raise Upstream("The model's answer has no end.")

    def _priced(self, ending: Ending) -> Ending:
        """Return the ending with its price. What the log has no room for ends it before its service says anything."""
        if not ending.model:
            asked = self._reply.asked
            ending = replace(ending, model=asked.model, usage={**asked.tokens, **ending.usage})
        return replace(ending, cost=self._prices().cost(ending.model, ending.usage))

    def _price_so_far(self) -> Used:
        """Price what the reply has used by an estimate, as long as its service has not said it, and return that."""
        used = self._reply.used
        cost = self._prices().cost(used.model, used.tokens)
        self._reply.asked = replace(self._reply.asked, cost=cost)
        return replace(used, cost=cost)

    async def _patiently(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, tried again for as long as a lease lasts. Raise ``Unavailable``."""
        for pause_s in PATIENT_PAUSES_S:
            try:
                return await asyncio.to_thread(call)
            except Unavailable:
                await asyncio.sleep(pause_s)  # on no thread: the heartbeat needs them
        return await asyncio.to_thread(call)
