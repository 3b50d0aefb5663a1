"""How long each character takes from the model to the phone, by the usual techniques and by ours.

In virtual time: a post takes exactly what it is said to take, and the figures are the same on every machine.
"""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import looptime

from chatrelay.delivery.liveness import Liveness
from chatrelay.delivery.outbox import Outbox
from chatrelay.delivery.sender import Sender
from chatrelay.domain.keys import StreamId
from chatrelay.domain.log import Piece
from chatrelay.domain.reply import Ending, Reply
from chatrelay.wire import outbound
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.outbound import Outbound

RATES = (30, 100, 200, 1000)
"""Deltas a second."""
POSTS_S = (0.005, 0.020, 0.050)
"""What a post may take."""
REPLY_S = 30.0
WORD = "word "
BURST_S = 0.25
"""A service that gathers sends so often what has been written since."""


@dataclass(frozen=True)
class Delta:
    """A text, and when the model sends it, in seconds from the beginning of its stream."""

    at_s: float
    text: str


@dataclass
class Phone:
    """What takes the posts, each for `post_s`, and keeps when each character has arrived."""

    post_s: float
    posts_s: list[float] = field(default_factory=list)
    """When each post of text was begun."""
    arrived_s: list[float] = field(default_factory=list)

    async def show(self, text: str) -> None:
        """Take a post of `text`."""
        now_s = asyncio.get_running_loop().time
        self.posts_s.append(now_s())
        await asyncio.sleep(self.post_s)
        self.arrived_s += [now_s()] * len(text)

    async def take(self, frame: bytes) -> None:
        """Take a post of a frame of ours."""
        heard = json.loads(frame)
        if heard["type"] == "message":
            await self.show(heard["content"])
        else:
            await asyncio.sleep(self.post_s)


Technique = Callable[[Sequence[Delta], Phone], Coroutine[Any, Any, None]]


async def one_post_a_delta(deltas: Sequence[Delta], phone: Phone) -> None:
    """As the samples of AWS do: the model's stream is read on when the post is done."""
    for delta in deltas:
        await _until(delta.at_s)
        await phone.show(delta.text)


async def a_queue_and_a_thread(deltas: Sequence[Delta], phone: Phone) -> None:
    """As bedrock-chat does: the model's stream is read at once, and one thread posts each delta."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()

    async def thread() -> None:
        while (text := await queue.get()) is not None:
            await phone.show(text)

    posting = asyncio.create_task(thread())
    for delta in deltas:
        await _until(delta.at_s)
        queue.put_nowait(delta.text)
    queue.put_nowait(None)
    await posting


async def ours(deltas: Sequence[Delta], phone: Phone) -> None:
    """One outbox of a broadcast, woken with each delta."""
    reply, stream = Reply("r"), StreamId("c", "r", 1)
    sender = Sender(phone.take, VERSION_1.pacing, Liveness(math.inf))
    async with Outbox(reply, stream, [outbound.typing(stream, "m")], sender, VERSION_1) as outbox:
        for delta in deltas:
            await _until(delta.at_s)
            reply.append(Piece("message", delta.text))
            outbox.changed.set()
        reply.complete(Ending("end_turn", "claude", {}, []))
        outbox.changed.set()
        outbox.end(Outbound("complete"))


TECHNIQUES: dict[str, Technique] = {
    "one post a delta": one_post_a_delta,
    "a queue and a thread": a_queue_and_a_thread,
    "ours": ours,
}


@dataclass(frozen=True)
class Run:
    """What became of one stream: each character's lag behind the model, in the order of the text."""

    deltas: Sequence[Delta]
    lags_s: Sequence[float]
    posts_s: Sequence[float]

    def lag_s(self, quantile: float) -> float:
        """Return the lag that this part of all characters has at most."""
        return sorted(self.lags_s)[math.ceil(quantile * len(self.lags_s)) - 1]

    @property
    def last_lag_s(self) -> float:
        return self.lags_s[-1]

    @property
    def posts_a_second(self) -> float:
        """Posts of text a second, but for the last, which waits for no interval."""
        *posts_s, _ = self.posts_s
        return (len(posts_s) - 1) / (posts_s[-1] - posts_s[0])


def even(rate: int, reply_s: float = REPLY_S) -> list[Delta]:
    """Return a stream with as much time between any two deltas."""
    return [Delta(number / rate, WORD) for number in range(round(rate * reply_s))]


def bursty(rate: int, reply_s: float = REPLY_S) -> list[Delta]:
    """Return the same deltas, each held back to the end of its burst, with a few at random between them."""
    random = Random(rate)  # noqa: S311
    return [
        delta if random.random() < 0.1 else Delta(math.ceil(delta.at_s / BURST_S) * BURST_S, delta.text)
        for delta in even(rate, reply_s)
    ]


def ran(technique: Technique, deltas: Sequence[Delta], post_s: float) -> Run:
    """Return what becomes of `deltas` where each post takes `post_s`."""
    deltas = sorted(deltas, key=lambda delta: delta.at_s)
    phone = Phone(post_s)
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        runner.run(technique(deltas, phone))
    written_s = (delta.at_s for delta in deltas for _ in delta.text)
    lags_s = [arrived - written for arrived, written in zip(phone.arrived_s, written_s, strict=True)]
    return Run(deltas, lags_s, phone.posts_s)


async def _until(at_s: float) -> None:
    await asyncio.sleep(at_s - asyncio.get_running_loop().time())
