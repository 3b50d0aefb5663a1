"""How much later the first text is than the SDK's own: AWS's latencies put in, the emulator's own time taken out.

A fault plan delays each call as AWS would. What a call took beyond that is the emulator's, and is subtracted, call by
call, for the calls that wait for each other.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
from anthropic import AsyncAnthropic

from emulator.stand_ins.script import answer
from tests.bench import profiles
from tests.bench.round_trips import Stage, calls, longest_chain
from tests.builders.deployments import Relay

LATENCIES_S = {
    "GetItem": 0.005,
    "Query": 0.005,
    "PutItem": 0.010,
    "UpdateItem": 0.010,
    "DeleteItem": 0.010,
    "TransactWriteItems": 0.020,
}
POST_S = 0.015
MESSAGES = 30
PROFILE_S = 20.0


@dataclass(frozen=True)
class FirstText:
    """Medians over several messages, in seconds.

    `added_s` is from the worker's first call until the model is asked, less what the SDK takes for that by itself, and
    one post; `latencies_s` is what of it are AWS's latencies. `processor_s` is the worker's processor time a message,
    `profile` each package's share of that.
    """

    added_s: float
    latencies_s: float
    processor_s: float
    profile: dict[str, float]


async def measured(relay: Relay) -> FirstText:
    """Measure on a deployment that tells of each call."""
    relay.plays("How many?", answer("Yes.", delta_chars=4))
    plan = {"calls": [{"do": "delay", "operation": name, "seconds": each} for name, each in LATENCIES_S.items()]}
    async with Stage.opened(relay) as stage:
        for _ in range(3):
            await _begun(stage)
        processor_s = await _processor_s(stage)
        profile = await _profile(stage)
        async with httpx.AsyncClient(base_url=f"http://{relay.address}") as client:
            (await client.post("/_faults", json=plan)).raise_for_status()
            try:
                found = sorted([await _until_asked(stage) for _ in range(MESSAGES)])
            finally:
                await client.delete("/_faults")
    direct_s = await _direct_s(relay)
    waited_s, latencies_s = found[len(found) // 2]
    return FirstText(waited_s - direct_s + POST_S, latencies_s, processor_s, profile)


async def _begun(stage: Stage) -> str:
    """Return a conversation of one turn. A longer one is read longer, by the worker as by DynamoDB."""
    conversation = stage.new("c")
    await stage.send(conversation)
    return conversation


async def _until_asked(stage: Stage) -> tuple[float, float]:
    """Return how long a worker took from its first call until the model was asked, and the latencies in that."""
    conversation = await _begun(stage)
    await stage.quiet()
    seen, asked = len(stage.relay.log), len(stage.relay.model.requests)
    await stage.send(conversation)
    await stage.quiet()
    asked_s = stage.relay.model.requests[asked].received_at
    made = [call for call in calls(stage.relay.log[seen:]) if call.ended_s <= asked_s]
    chain = longest_chain(call for call in made if call.operation in LATENCIES_S)
    latencies_s = sum(LATENCIES_S[call.operation] for call in chain)
    own_s = sum(call.ended_s - call.began_s - LATENCIES_S[call.operation] for call in chain)
    return asked_s - min(call.began_s for call in made) - own_s, latencies_s


async def _direct_s(relay: Relay) -> float:
    """Return how long the SDK itself takes until the model is asked."""
    taken = []
    async with AsyncAnthropic(api_key="sk-test", base_url=relay.model_url) as client:
        for _ in range(MESSAGES):
            asked, began_s = len(relay.model.requests), time.monotonic()
            stream = await client.messages.create(
                model="claude", max_tokens=100, messages=[{"role": "user", "content": "How many?"}], stream=True
            )
            async with stream:
                _ = [event async for event in stream]
            taken.append(relay.model.requests[asked].received_at - began_s)
    return sorted(taken)[len(taken) // 2]


async def _processor_s(stage: Stage) -> float:
    def used_s() -> float:
        times = [worker.cpu_times() for worker in stage.relay.workers("message")]
        return sum(each.user + each.system for each in times)

    before_s = used_s()
    for _ in range(MESSAGES // 2):
        await stage.send(await _begun(stage))
    await stage.quiet()
    return (used_s() - before_s) / MESSAGES


async def _profile(stage: Stage) -> dict[str, float]:
    """Return what the worker does with one message after the other, by package."""
    (worker,) = sorted(stage.relay.workers("message"), key=lambda each: -sum(each.cpu_times()[:2]))[:1]
    with tempfile.TemporaryDirectory() as folder:
        profile = asyncio.create_task(profiles.of_process(worker.pid, PROFILE_S, Path(folder)))
        while not profile.done():
            await stage.send(await _begun(stage))
        return await profile
