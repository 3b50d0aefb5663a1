"""A message goes in, the reply streams out: what this project exists for."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from chatrelay.agents import Agent, refusals, text_stream
from chatrelay.aws.files import Files
from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.aws.management_api import CONCURRENT_POSTS, ManagementApi
from chatrelay.aws.telemetry import Telemetry
from chatrelay.delivery.broadcast import Broadcast
from chatrelay.delivery.pacing import Cursor
from chatrelay.domain.errors import (
    Interrupted,
    NoSuchAgent,
    NotDelivered,
    PostError,
    Reason,
    Refused,
    ReplyError,
    Said,
    Superseded,
    Unavailable,
    Upstream,
)
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.domain.reply import Aside, Ending, Reply, Status
from chatrelay.domain.turns import Amended, Turn
from chatrelay.relay.dispatch import Message
from chatrelay.relay.resume import Resumption
from chatrelay.store.connections import Connections
from chatrelay.store.conversations import Accepted, Conversations
from chatrelay.store.leases import EXPIRES_S, HEARTBEAT_S, Leases, Signals
from chatrelay.store.replies import Replies
from chatrelay.wire import endings, frames
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.frames import Outbound

ORDERLY_END_S = 30
"""How long before the function's deadline a reply is ended in order instead of being cut."""
LAST_S = 5
"""What a function needs to end by itself."""
GRACE_S = 1.0
"""How long readers may be behind at the end of a reply, before the conversation goes on without them."""
APP_GRACE_S = 20.0
"""The same for the BuilderOS app, which cannot tell one reply's text from the next one's."""
FRESH_WORKER_S = 300
"""A message that waited gets a new worker if this one has less time left."""

LONGEST = 600_000
"""Characters of a reply: far beyond what a model may write, and what one transaction of DynamoDB (4 MB) can store."""
PATIENT_TRIES = int(EXPIRES_S / HEARTBEAT_S)
JOURNAL_PIECE_BYTES = 300_000
"""An item of DynamoDB has at most 400 KB."""


@dataclass(frozen=True)
class Invocation:
    """One invocation: its id, and when it has to be over, by the monotonic clock."""

    worker: str
    deadline_s: float

    @classmethod
    def of(cls, worker: str, time_left_s: float) -> "Invocation":
        return cls(worker, time.monotonic() + time_left_s)

    @property
    def left_s(self) -> float:
        return self.deadline_s - time.monotonic()


@dataclass
class Liveness:
    """When this worker was last heard, by the monotonic clock, which runs on while a function is frozen."""

    last_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Outcome:
    """How a reply went, to all who read along.

    `first_text_s` is from the beginning of its writing to the first delivery of text, if there was any.
    """

    status: Status
    length: int
    posts: int
    readers_left: int
    first_text_s: float | None


class Relay:
    """Takes messages to their agents, and the replies back while they are being written."""

    def __init__(
        self,
        connections: Connections,
        conversations: Conversations,
        leases: Leases,
        replies: Replies,
        resumption: Resumption,
        gateway: ManagementApi,
        workers: WorkerInvoker,
        bell: PushInvoker,
        telemetry: Telemetry,
        files: Callable[[], Files],
        agents: Mapping[str, Callable[[], Agent]],
    ) -> None:
        # The client of S3 is built for the first file: most messages have none. An agent is built for its first
        # message: one that is not set up right takes no other down.
        # Threads of their own, so that posts that hang cannot keep a heartbeat waiting.
        self._posting = ThreadPoolExecutor(CONCURRENT_POSTS, "post")
        self._connections = connections
        self._conversations = conversations
        self._leases = leases
        self._replies = replies
        self._resumption = resumption
        self._gateway = gateway
        self._workers = workers
        self._bell = bell
        self._telemetry = telemetry
        self._files = files
        self._agents = agents

    async def answer(self, message: Message, shift: Invocation) -> AsyncIterator[Outcome]:
        """Accepts `message` and writes its reply, or whatever comes before it and after it in the conversation.

        Raises ``NoSuchAgent``, ``Duplicate`` and what ``Files.checked`` does; ``Superseded`` when a reply turns out to
        be another's, and then the client hears nothing more from here.
        """
        if message.send.agent not in self._agents:
            raise NoSuchAgent(message.send.agent)
        send = message.send
        if send.attachments:
            send = await asyncio.to_thread(self._files().checked, message.user, send)
        accepted = await asyncio.to_thread(
            self._conversations.accept,
            message.user,
            send,
            message.received_ms,
            sender=message.connection.id,
            worker=shift.worker,
        )
        if accepted.waits:
            typing = _typing(accepted).encode(datetime.now(UTC))
            with suppress(PostError):  # who has not heard it sends it again
                await asyncio.to_thread(self._gateway.deliver, message.connection.id, typing)
        else:
            yield await self._write_reply(accepted, shift)
        async for outcome in self.continue_queue(accepted.key, shift):
            yield outcome

    async def continue_queue(
        self, key: ConversationKey, shift: Invocation, *, is_fresh: bool = False
    ) -> AsyncIterator[Outcome]:
        """Writes the replies to the messages that wait in a conversation, one by one. Raises ``Superseded``.

        A worker that `is_fresh`, called for just this, takes the first one however little time it has.
        """
        while (accepted := await asyncio.to_thread(self._next, key, shift, is_fresh=is_fresh)) is not None:
            is_fresh = False
            yield await self._write_reply(accepted, shift)

    def _next(self, key: ConversationKey, shift: Invocation, *, is_fresh: bool) -> Accepted | None:
        """The message whose turn it is. None if none waits, another worker has it, or a new one should."""
        self._resumption.bury(key)
        if is_fresh or shift.left_s > FRESH_WORKER_S:
            return self._conversations.take_next(key, shift.worker)
        self._resumption.settle(key)
        return None

    async def _write_reply(self, accepted: Accepted, shift: Invocation) -> Outcome:
        """Raises ``Superseded``: by another worker, or because the conversation was deleted."""
        try:
            return await self._write_to_the_end(accepted, shift)
        except Superseded:
            await asyncio.to_thread(self._replies.delete_orphans, accepted.stream.reply)
            raise

    async def _write_to_the_end(self, accepted: Accepted, shift: Invocation) -> Outcome:
        reply = Reply(accepted.stream.reply)
        pulse = Liveness()
        async with Broadcast(reply, accepted.stream, partial(self._post_alive, pulse)) as audience:
            apps = await self._seat(audience, accepted)
            async with self._listening(accepted, reply, audience, pulse) as stop:
                writing = self._copy(accepted, reply, audience)
                last = await self._write(writing, stop, accepted, reply, shift.left_s - ORDERLY_END_S)
                audience.wake()
                await _patiently(partial(self._conversations.finish, accepted, reply, last))
                audience.end(last)
                if reply.status is Status.COMPLETE:  # if we die before this, whoever buries us does it
                    await _patiently(partial(self._bell.enqueue, _whereabouts(accepted)))
                await audience.served(GRACE_S)  # if we die before that, whoever buries us tells them
                await audience.served(APP_GRACE_S, among=apps)
            pulse.last_s = math.inf  # what is stored may be said, however long it takes
            signals = await self._let_go(accepted)
            await self._admit(audience, accepted, signals, {})
            if not await audience.served(0):
                await self._serve_slow_readers(audience, accepted, signals, shift)
        await self._forget_gone(audience, accepted)
        return _outcome(reply, audience)

    async def _serve_slow_readers(
        self, audience: Broadcast, accepted: Accepted, signals: Signals, shift: Invocation
    ) -> None:
        """Another worker takes what waits behind the reply meanwhile. Those who have no end of it must ask again."""
        if signals.queued:
            with suppress(Unavailable):  # then it is our own turn afterwards
                await asyncio.to_thread(self._workers.continue_queue, accepted.key)
        if not await audience.served(shift.left_s - LAST_S):
            audience.give_up()

    async def _seat(self, audience: Broadcast, accepted: Accepted) -> set[str]:
        """All the user's connections that show the conversation; gives those of the BuilderOS app.

        The sender's knows what the message was.
        """
        typing = _typing(accepted)
        send = accepted.send
        said = frames.user(accepted.stream, send.id, send.content, send.attachments)
        viewers = await asyncio.to_thread(self._connections.viewers, accepted.key)
        for viewer in viewers:
            first = [typing] if viewer.connection_id == accepted.sender else [said, typing]
            await audience.join(viewer.connection_id, first, viewer.dialect.pacing, dialect=viewer.dialect)
        return {viewer.connection_id for viewer in viewers if not viewer.dialect.tells_replies_apart}

    async def _forget_gone(self, audience: Broadcast, accepted: Accepted) -> None:
        """Whoever is said to be gone and is not hears a close, and connects again."""
        for connection_id, outbox in audience.outboxes.items():
            if outbox.closed:
                await asyncio.to_thread(self._connections.gone, accepted.key, connection_id)
                with suppress(PostError):
                    await asyncio.to_thread(self._gateway.close, connection_id)

    async def _post(self, connection_id: str, frame: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._posting, self._gateway.post, connection_id, frame)

    async def _post_alive(self, pulse: Liveness, connection_id: str, frame: bytes) -> None:
        """A worker that was frozen for longer than its lease may have been buried: it says nothing more."""
        if time.monotonic() - pulse.last_s > EXPIRES_S:
            raise NotDelivered("until we are heard again")
        await self._post(connection_id, frame)

    async def _write(
        self,
        writing: Coroutine[None, None, Ending],
        stop: "asyncio.Future[None]",
        accepted: Accepted,
        reply: Reply,
        time_s: float,
    ) -> Outbound:
        """Lets the model write until it has ended, somebody says stop or the time is over; says how: the last frame."""
        copying = asyncio.create_task(writing)
        try:
            awaited: set[asyncio.Future[Any]] = {copying, stop}
            await asyncio.wait(awaited, timeout=time_s, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                stop.result()
                return endings.cancel(accepted.stream, reply)
            if not copying.done():
                out_of_time = Interrupted("The answer took longer than it may.", reason=Reason.TIME)
                return self._break_off(accepted, reply, out_of_time)
            return endings.complete(accepted.stream, reply, copying.result())
        except ReplyError as problem:
            return self._break_off(accepted, reply, problem)
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)

    def _break_off(self, accepted: Accepted, reply: Reply, problem: ReplyError) -> Outbound:
        self._telemetry.reply_failed(reply.id, problem, accepted.send.agent)
        return endings.break_off(accepted.stream, reply, problem)

    async def _copy(self, accepted: Accepted, reply: Reply, audience: Broadcast) -> Ending:
        agent = self._agent(accepted.send.agent)
        turns: Sequence[Turn]
        turns = await asyncio.to_thread(self._conversations.history, accepted, agent.room.tokens)
        if any(turn.attachments for turn in turns):
            turns = await asyncio.to_thread(self._files().load, accepted.key.user, turns, agent.room)
        async with aclosing(agent.answer(accepted.key.session, turns)) as events:
            async for event in events:
                if isinstance(event, Ending):
                    return event
                if isinstance(event, Amended):
                    await self._amend(accepted, event)
                elif isinstance(event, Aside):
                    audience.tell(event)
                else:
                    reply.append(event[: LONGEST - len(reply.text)])
                    audience.wake()
                    if len(reply.text) == LONGEST:
                        return text_stream.ending(reply.text, text_stream.End("max_tokens", "", {}))
        raise Upstream("The model's answer has no end.")

    def _agent(self, name: str) -> Agent:
        """Raises ``Refused`` if this deployment has lost the agent since a message was accepted, ``Denied``.

        Agents are built of their settings alone, so whatever goes wrong over it is a setting that cannot work.
        """
        if name not in self._agents:
            raise Refused(str(NoSuchAgent(name)))
        try:
            return self._agents[name]()
        except Exception as problem:
            said = Said(type=type(problem).__name__, sentence=str(problem))
            raise refusals.denied(name.capitalize(), Reason.SETTINGS, said) from problem

    async def _amend(self, accepted: Accepted, amended: Amended) -> None:
        with suppress(Unavailable):  # then the next message is asked for as this one was
            await asyncio.to_thread(self._conversations.amend, accepted.key, amended)

    @asynccontextmanager
    async def _listening(
        self, accepted: Accepted, reply: Reply, audience: Broadcast, pulse: Liveness
    ) -> AsyncIterator["asyncio.Future[None]"]:
        """We live, and hear, as long as the block runs.

        What it gives is done when we are told to stop; it raises ``Superseded`` if somebody has declared us dead.
        """
        stop = asyncio.get_running_loop().create_future()
        listening = asyncio.create_task(self._listen(accepted, reply, audience, pulse, stop))
        listening.add_done_callback(partial(_pass_on, stop))
        try:
            yield stop
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            stop.cancel()

    async def _listen(
        self, accepted: Accepted, reply: Reply, audience: Broadcast, pulse: Liveness, stop: "asyncio.Future[None]"
    ) -> None:
        """Twice a second: keeps what is written, says that we live, lets in whoever asks, passes on when to stop."""
        kept = Cursor()
        admitted: dict[str, int] = {}
        now_s = asyncio.get_running_loop().time
        due_s = now_s()
        while True:
            due_s = max(due_s + HEARTBEAT_S, now_s())
            await asyncio.sleep(due_s - now_s())
            with suppress(Unavailable):  # the next one may get through, long before we count as dead
                asked_s = time.monotonic()
                signals = await asyncio.to_thread(self._leases.heartbeat, accepted.key, accepted.stream.epoch)
                pulse.last_s = asked_s
                if signals.cancel and not stop.done():
                    stop.set_result(None)
                await self._admit(audience, accepted, signals, admitted)
            with suppress(Unavailable):
                await self._journal(reply, kept)
            with suppress(Unavailable):
                await self._served(accepted, admitted)

    async def _admit(self, audience: Broadcast, accepted: Accepted, signals: Signals, admitted: dict[str, int]) -> None:
        """Lets in whoever has asked, but not twice for the same question: `admitted` has the offsets by connection."""
        for connection_id, offset in signals.subscribers.items():
            if admitted.get(connection_id) != offset:
                resumed = frames.resumed(accepted.stream, accepted.send.id, offset)
                await audience.join(connection_id, [resumed], VERSION_1.pacing, offset)
                admitted[connection_id] = offset

    async def _journal(self, reply: Reply, kept: Cursor) -> None:
        piece = kept.next_piece(reply.text, JOURNAL_PIECE_BYTES)
        if piece.content:
            await asyncio.to_thread(self._replies.journal, reply.id, piece.offset, piece.content)
            kept.advance(piece)

    async def _served(self, accepted: Accepted, admitted: dict[str, int]) -> None:
        """Strikes the questions that were answered, so that the same one may be asked again."""

        async def strike(connection_id: str, offset: int) -> None:
            await asyncio.to_thread(
                self._leases.clear_resume_request, accepted.key, accepted.stream.epoch, connection_id, offset
            )
            del admitted[connection_id]

        await asyncio.gather(*(strike(*question) for question in list(admitted.items())))

    async def _let_go(self, accepted: Accepted) -> Signals:
        """The reply is stored; the conversation is free for the next. Those who have asked until now.

        Once the lease has run out, it is no longer ours to give, and whoever buries us tells those who have asked.
        """
        for _ in range(PATIENT_TRIES):
            try:
                return await asyncio.to_thread(self._leases.end, accepted.key, accepted.stream.epoch)
            except Unavailable:
                await asyncio.sleep(HEARTBEAT_S)
            except Superseded:
                break
        return Signals({}, cancel=False)


async def _patiently(call: Callable[[], None]) -> None:
    """Again and again if need be: as long as it is not done, we are heard and keep the lease."""
    for _ in range(PATIENT_TRIES):
        with suppress(Unavailable):
            return await asyncio.to_thread(call)
        await asyncio.sleep(HEARTBEAT_S)
    return await asyncio.to_thread(call)


def _whereabouts(accepted: Accepted) -> ReplyLocation:
    return ReplyLocation(accepted.stream.reply, accepted.key, accepted.turn)


def _pass_on(stop: "asyncio.Future[None]", listening: "asyncio.Task[None]") -> None:
    """A listener that fails is heard by whoever waits for its word, if anybody still does."""
    if not listening.cancelled() and (problem := listening.exception()) is not None and not stop.done():
        stop.set_exception(problem)
        stop.exception()


def _typing(accepted: Accepted) -> Outbound:
    return frames.typing(accepted.stream, accepted.send.id)


def _outcome(reply: Reply, audience: Broadcast) -> Outcome:
    outboxes = audience.outboxes.values()
    return Outcome(
        reply.status,
        reply.length,
        posts=sum(outbox.posts for outbox in outboxes),
        readers_left=sum(outbox.reader_left for outbox in outboxes),
        first_text_s=min((outbox.first_text_s for outbox in outboxes if outbox.first_text_s is not None), default=None),
    )
