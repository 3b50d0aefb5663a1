"""A message goes in, the reply streams out: what this project exists for."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from chatrelay import protocol
from chatrelay.agents import Agent
from chatrelay.coalesce import BUILDEROS_PACING, RELAY_PACING
from chatrelay.errors import Interrupted, NoSuchAgent, ReplyError, Upstream
from chatrelay.gateway import Gateway
from chatrelay.outbox import Outbox
from chatrelay.protocol import Dialect, Origin, Outbound
from chatrelay.reception import Message
from chatrelay.reply import Ending, Reply, Status
from chatrelay.store.conversations import Accepted, Conversations

PACING = {Dialect.RELAY: RELAY_PACING, Dialect.BUILDEROS: BUILDEROS_PACING}
ORDERLY_END_S = 30
"""How long before the function's deadline a reply is ended in order instead of being cut."""


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
        self, conversations: Conversations, gateway: Gateway, agents: Mapping[str, Agent], history_tokens: int
    ) -> None:
        self._conversations = conversations
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
        async with self._outbox(message, accepted.origin, reply) as outbox:
            last = await self._write(agent, accepted, reply, outbox, time_left_s - ORDERLY_END_S)
            await asyncio.to_thread(self._conversations.finish, accepted, reply)
            outbox.end(last)
        return Outcome(reply.status, reply.length, outbox.posts, outbox.reader_left, outbox.first_text_s)

    def _outbox(self, message: Message, origin: Origin, reply: Reply) -> Outbox:
        connection = message.connection

        async def post(frame: bytes) -> None:
            await asyncio.to_thread(self._gateway.post, connection.id, frame)

        typing = protocol.typing(origin, message.send.id)
        return Outbox(reply, origin, typing, post, PACING[connection.dialect])

    async def _write(self, agent: Agent, accepted: Accepted, reply: Reply, outbox: Outbox, time_s: float) -> Outbound:
        """Writes the model's answer into `reply` until it has ended, and says so: the last frame."""
        try:
            async with asyncio.timeout(time_s):
                ending = await self._copy(agent, accepted, reply, outbox)
        except TimeoutError:
            last = _break_off(accepted.origin, reply, Interrupted("The answer took longer than it may."))
        except ReplyError as problem:
            last = _break_off(accepted.origin, reply, problem)
        else:
            last = _complete(accepted.origin, reply, ending)
        outbox.wake()
        return last

    async def _copy(self, agent: Agent, accepted: Accepted, reply: Reply, outbox: Outbox) -> Ending:
        turns = await asyncio.to_thread(self._conversations.history, accepted, self._history_tokens)
        async with aclosing(agent.answer(turns)) as events:
            async for event in events:
                if isinstance(event, Ending):
                    return event
                reply.append(event)
                outbox.wake()
        raise Upstream("The model's answer has no end.")


def _complete(origin: Origin, reply: Reply, ending: Ending) -> Outbound:
    reply.complete(ending)
    return protocol.complete(
        origin,
        length=reply.length,
        sha256=reply.sha256,
        stop_reason=ending.stop_reason,
        model=ending.model,
        usage=ending.usage,
    )


def _break_off(origin: Origin, reply: Reply, problem: ReplyError) -> Outbound:
    reply.break_off(problem)
    return protocol.error(problem, origin=origin)
