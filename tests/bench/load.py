"""Many streams at once through the whole emulator on this machine, with a model that writes down what time it is."""

import asyncio
import json
import math
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from emulator.stand_ins.fake_anthropic import serving_in_thread
from emulator.stand_ins.script import block_delta, block_start, closing, message_start
from tests.bench import profiles
from tests.builders.deployments import Relay, deployments
from tests.builders.phone import ENDS, Phone, trimmed

STREAMS = (1, 10, 25, 50)
REPLY_S = 10.0
WARM = "Warm up"
IDLE_PERCENT = 30.0
"""Of the processor: less is nothing but waiting."""
PROFILED = 10
"""So many streams are written while one of them is profiled: what more of them do is wait for a processor."""


class TellingTime:
    """A model whose every delta is the moment at which it is sent, `rate` of them a second, by the monotonic clock.

    What is asked with ``WARM`` in it is answered by signs of life, until `released` is set.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self.released = threading.Event()
        self.app = Starlette(routes=[Route("/v1/messages", self._messages, methods=["POST"])])

    async def _messages(self, request: Request) -> Response:
        asked = (await request.json())["messages"][-1]["content"]
        return StreamingResponse(self._events(warm=WARM in json.dumps(asked)), media_type="text/event-stream")

    async def _events(self, *, warm: bool) -> AsyncIterator[str]:
        usage = {"input_tokens": 1, "output_tokens": 1}
        start = dict(message_start().event)
        start["message"] = {**start["message"], "id": "msg_1", "model": "claude", "usage": usage}
        yield _event(start)
        yield _event(block_start(0, {"type": "text", "text": ""}).event)
        while warm and not self.released.is_set():
            yield _event({"type": "ping"})
            await asyncio.sleep(1.0)
        began_s = time.monotonic()
        for number in range(1 if warm else round(REPLY_S * self._rate)):
            await asyncio.sleep(began_s + number / self._rate - time.monotonic())
            yield _event(block_delta(0, {"type": "text_delta", "text": f"{time.monotonic():.4f} "}).event)
        for step in closing(1).steps:
            yield _event(step.event)  # type: ignore[union-attr]


def _event(event: object) -> str:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"  # type: ignore[index]


@dataclass(frozen=True)
class Load:
    """What became of so many `streams` at once."""

    streams: int
    lags_s: list[float]
    """Of every delta of every stream, from the model to the phone, sorted."""
    typing_s: list[float]
    """From each message to its first frame, sorted."""
    memory_mb: float
    """Of one worker, at the end."""
    processor_s: dict[str, float]
    """Who has used how much of the processor meanwhile."""
    took_s: float
    """From the first message to the end of the last reply."""

    @property
    def cores(self) -> float:
        """How many cores were busy, on average."""
        return sum(self.processor_s.values()) / self.took_s

    def lag_s(self, quantile: float) -> float:
        return self.lags_s[math.ceil(quantile * len(self.lags_s)) - 1]


@dataclass(frozen=True)
class Loads:
    """What became of each number of streams, and what a worker and the gateway did, by package: see ``profiles``."""

    loads: list[Load]
    worker: dict[str, float]
    gateway: dict[str, float]


async def loads(picture: Path, rate: int = 30) -> Loads:
    """Measure each number of streams of `rate` deltas a second, then profile. `picture` gets a worker's flame graph."""
    most, told = max(STREAMS), TellingTime(rate)
    with serving_in_thread(told.app) as model, deployments() as start:
        relay = start(
            "--parameter", "FirstFrameAuth=false", "--limit", f"max_environments={most}", ANTHROPIC_BASE_URL=model
        )
        async with AsyncExitStack() as stack:
            # All workers are warm: how long it takes to start one is counted elsewhere. One starts at a time, and is
            # busy until all are there.
            phones, warming = [], []
            for number in range(most):
                phones.append(await stack.enter_async_context(Phone.connected(relay.websocket, relay.key)))
                warming.append(asyncio.create_task(_ask(phones[-1], f"warm-{number}", WARM)))
                while not phones[-1].frames:  # noqa: ASYNC110 -- no event tells of it
                    await asyncio.sleep(0.1)
            told.released.set()
            await asyncio.gather(*warming)
            found = []
            for streams in STREAMS:
                await _idle()
                used_s, began_s = _used_s(relay), time.monotonic()
                heard = await _asked(phones[:streams], f"{streams}")
                took_s = time.monotonic() - began_s
                used_s = {who: after_s - used_s[who] for who, after_s in _used_s(relay).items()}
                memory = [worker.memory_info().rss for worker in relay.workers("message")]
                lags_s = sorted(lag_s for each, _ in heard for lag_s in each)
                typing_s = sorted(each for _, each in heard)
                found.append(Load(streams, lags_s, typing_s, max(memory) / 1e6, used_s, took_s))
            worker, gateway = await _profiled(relay, phones[:PROFILED], picture)
            return Loads(found, worker, gateway)


async def _idle() -> None:
    """Wait until the machine has little to do: what replies have started is over."""
    while await asyncio.to_thread(psutil.cpu_percent, 1.0) > IDLE_PERCENT:
        pass


async def _profiled(relay: Relay, phones: Sequence[Phone], picture: Path) -> tuple[dict[str, float], dict[str, float]]:
    asked = asyncio.create_task(_asked(phones, "profiled"))
    await asyncio.sleep(REPLY_S / 5)  # by now all write
    busiest = max(relay.workers("message"), key=lambda worker: worker.cpu_percent(interval=0.1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        worker, gateway = await asyncio.gather(
            profiles.of_process(busiest.pid, REPLY_S / 3, folder, picture),
            profiles.of_process(relay.process.pid, REPLY_S / 2, folder),
        )
    await asked
    return worker, gateway


def _used_s(relay: Relay) -> dict[str, float]:
    """Return the processor time so far, by who has used it."""
    gateway = psutil.Process(relay.process.pid)
    workers = [sum(worker.cpu_times()[:2]) for worker in relay.workers("message")]
    others = sum(sum(child.cpu_times()[:2]) for child in gateway.children(recursive=True)) - sum(workers)
    return {
        "the workers": sum(workers),
        "the gateway": sum(gateway.cpu_times()[:2]),
        "DynamoDB and the other functions": others,
        "the model and the clients": sum(psutil.Process().cpu_times()[:2]),
    }


async def _asked(phones: Sequence[Phone], name: str) -> list[tuple[list[float], float]]:
    return await asyncio.gather(*(_ask(phone, f"{name}-{n}", "Go") for n, phone in enumerate(phones)))


async def _ask(phone: Phone, conversation: str, text: str) -> tuple[list[float], float]:
    """Return the lag of each delta of the reply, and how long its first frame took."""
    before, asked_s = len(phone.frames), time.monotonic()
    said = {"action": "send", "id": conversation, "conversation": conversation, "content": text}
    await phone.say(said)
    while before == len(phone.frames) or phone.frames[-1].get("type") not in ENDS:
        try:
            frame = await phone.hear()
        except TimeoutError:  # what a worker could not deliver, it leaves to the client to ask for
            await phone.say({"action": "resume", "conversation": conversation, "offset": 0})
        else:
            if "type" not in frame:  # API Gateway's own words: it could not hand the message on
                await phone.say(said)
    arrived: dict[int, float] = {}
    for frame, at_s in zip(phone.frames[before:], phone.arrived_s[before:], strict=True):
        if frame.get("type") == "message":
            for position in range(frame["offset"], frame["offset"] + len(frame["content"])):
                arrived.setdefault(position, at_s)
    lags_s, end = [], 0
    for word in trimmed(phone.frames[before:]).split():
        end += len(word) + 1
        lags_s.append(arrived[end - 1] - float(word))
    return lags_s, phone.arrived_s[before] - asked_s
