"""A message goes in, the reply streams out: what this project exists for."""

import asyncio
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from dataclasses import dataclass

from chatrelay import protocol
from chatrelay.agents import Agent
from chatrelay.audience import Audience
from chatrelay.coalesce import BUILDEROS_PACING, RELAY_PACING, Cursor
from chatrelay.errors import Interrupted, NoSuchAgent, ReplyError, Unavailable, Upstream
from chatrelay.gateway import CONCURRENT_POSTS, Gateway
from chatrelay.outbox import Outbox
from chatrelay.protocol import Dialect, Origin, Outbound
from chatrelay.reception import Message
from chatrelay.reply import Ending, Reply, Status
from chatrelay.store.connections import Connections
from chatrelay.store.conversations import Accepted, Conversations
from chatrelay.store.replies import HEARTBEAT_S, Replies, Signals

PACING = {Dialect.RELAY: RELAY_PACING, Dialect.BUILDEROS: BUILDEROS_PACING}
ORDERLY_END_S = 30
"""How long before the function's deadline a reply is ended in order instead of being cut."""

JOURNAL_PIECE_BYTES = 300_000
"""An item of DynamoDB has at most 400 KB."""


@dataclass(frozen=True)
class Outcome:
    """How a reply went. `first_text_s` is from the message's acceptance to the delivery of the first text, if any."""

    status: Status
    length: int
    posts: int
    reader_left: bool
    first_text_s: float | None


class Relay:
    """Takes messages to their agents, and the replies back while they are being written."""

    def __init__(
        self,
        connections: Connections,
        conversations: Conversations,
        replies: Replies,
        gateway: Gateway,
        agents: Mapping[str, Agent],
        history_tokens: int,
    ) -> None:
        # Threads of their own, so that posts that hang cannot keep a heartbeat waiting.
        self._posting = ThreadPoolExecutor(CONCURRENT_POSTS, "post")
        self._connections = connections
        self._conversations = conversations
        self._replies = replies
        self._gateway = gateway
        self._agents = agents
        self._history_tokens = history_tokens

    async def answer(self, message: Message, worker: str, time_left_s: float) -> Outcome:
        """Accepts `message`, streams its reply and stores it, within `time_left_s`. `worker` is this invocation's id.

        Raises ``NoSuchAgent`` and ``Duplicate``; ``Superseded`` when the reply turns out to be another's, and then the
        client hears nothing more from here.
        """
        agent = self._agents.get(message.send.agent)
        if agent is None:
            raise NoSuchAgent(message.send.agent)
        accepted = await asyncio.to_thread(
            self._conversations.accept, message.user, message.send, message.received_ms, worker
        )
        reply = Reply(accepted.origin.reply)
        async with Audience(reply, accepted.origin, self._post) as audience:
            await self._seat(audience, accepted, message)
            writing = self._copy(agent, accepted, reply, audience)
            last = await self._write(writing, accepted.origin, reply, audience, time_left_s - ORDERLY_END_S)
            audience.wake()
            await asyncio.to_thread(self._conversations.finish, accepted, reply, last)
            with suppress(Unavailable):  # then those who have just come will find the end in the table
                await self._admit(audience, accepted.origin, await asyncio.to_thread(self._replies.end, reply.id), {})
            audience.end(last)
        await self._forget_gone(audience, accepted)
        return _outcome(reply, audience.outboxes[message.connection.id])

    async def _seat(self, audience: Audience, accepted: Accepted, message: Message) -> None:
        """The sender first, then all the user's other connections that show the conversation."""
        typing = protocol.typing(accepted.origin, message.send.id)
        await audience.join(message.connection.id, [typing], PACING[message.connection.dialect])
        said = protocol.user(accepted.origin, message.send.id, message.send.content)
        for viewer in await asyncio.to_thread(self._connections.viewers, message.user, message.send.conversation):
            if viewer.connection_id != message.connection.id:
                await audience.join(viewer.connection_id, [said, typing], PACING[viewer.dialect])

    async def _forget_gone(self, audience: Audience, accepted: Accepted) -> None:
        place = accepted.user, accepted.origin.conversation
        for connection_id, outbox in audience.outboxes.items():
            if outbox.closed:
                await asyncio.to_thread(self._connections.gone, *place, connection_id)

    async def _post(self, connection_id: str, frame: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(self._posting, self._gateway.post, connection_id, frame)

    async def _write(
        self, writing: Coroutine[None, None, Ending], origin: Origin, reply: Reply, audience: Audience, time_s: float
    ) -> Outbound:
        """Lets the model write until it has ended, its user cancels or the time is over; says how: the last frame."""
        copying = asyncio.create_task(writing)
        listening = asyncio.create_task(self._listen(origin, reply, audience))
        try:
            await asyncio.wait({copying, listening}, timeout=time_s, return_when=asyncio.FIRST_COMPLETED)
            if listening.done():
                listening.result()
                return _cancel(origin, reply)
            if not copying.done():
                return _break_off(origin, reply, Interrupted("The answer took longer than it may."))
            return _complete(origin, reply, copying.result())
        except ReplyError as problem:
            return _break_off(origin, reply, problem)
        finally:
            copying.cancel()
            listening.cancel()
            await asyncio.gather(copying, listening, return_exceptions=True)

    async def _copy(self, agent: Agent, accepted: Accepted, reply: Reply, audience: Audience) -> Ending:
        turns = await asyncio.to_thread(self._conversations.history, accepted, self._history_tokens)
        async with aclosing(agent.answer(turns)) as events:
            async for event in events:
                if isinstance(event, Ending):
                    return event
                reply.append(event)
                audience.wake()
        raise Upstream("The model's answer has no end.")

    async def _listen(self, origin: Origin, reply: Reply, audience: Audience) -> None:
        """Twice a second: keeps what is written, says that we live, lets in whoever asks. Returns when told to stop.

        Raises ``Superseded`` if somebody has declared us dead.
        """
        kept = Cursor()
        admitted: dict[str, int] = {}
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            with suppress(Unavailable):  # the next one may get through, long before we count as dead
                signals = await asyncio.to_thread(self._replies.heartbeat, reply.id)
                if signals.cancel:
                    return
                await self._admit(audience, origin, signals, admitted)
            with suppress(Unavailable):
                await self._journal(reply, kept)
            with suppress(Unavailable):
                await self._served(reply, admitted)

    async def _admit(self, audience: Audience, origin: Origin, signals: Signals, admitted: dict[str, int]) -> None:
        """Lets in whoever has asked, but not twice for the same question: `admitted` has the offsets by connection."""
        for connection_id, offset in signals.subscribers.items():
            if admitted.get(connection_id) != offset:
                await audience.join(connection_id, [protocol.resumed(origin, offset)], RELAY_PACING, offset)
                admitted[connection_id] = offset

    async def _journal(self, reply: Reply, kept: Cursor) -> None:
        piece = kept.next_piece(reply.text, JOURNAL_PIECE_BYTES)
        if piece.content:
            await asyncio.to_thread(self._replies.journal, reply.id, piece.offset, piece.content)
            kept.advance(piece)

    async def _served(self, reply: Reply, admitted: dict[str, int]) -> None:
        """Strikes the questions that were answered, so that the same one may be asked again."""
        for connection_id, offset in list(admitted.items()):
            await asyncio.to_thread(self._replies.served, reply.id, connection_id, offset)
            del admitted[connection_id]


def _complete(origin: Origin, reply: Reply, ending: Ending) -> Outbound:
    reply.complete(ending)
    return _whole(origin, reply, ending)


def _cancel(origin: Origin, reply: Reply) -> Outbound:
    reply.cancel()
    return _whole(origin, reply, Ending("cancelled", "", {}, []))


def _break_off(origin: Origin, reply: Reply, problem: ReplyError) -> Outbound:
    reply.break_off(problem)
    return protocol.error(problem, origin=origin)


def _whole(origin: Origin, reply: Reply, ending: Ending) -> Outbound:
    return protocol.complete(
        origin,
        length=reply.length,
        sha256=reply.sha256,
        stop_reason=ending.stop_reason,
        model=ending.model,
        usage=ending.usage,
    )


def _outcome(reply: Reply, outbox: Outbox) -> Outcome:
    return Outcome(reply.status, reply.length, outbox.posts, outbox.reader_left, outbox.first_text_s)
