"""How long one user waits for the first text while another one does their worst: a ratio, in one run.

The other has as many sockets as a user may have, says as many frames there as a socket may, and asks for as many
replies as may be owed at once, again as soon as one has ended.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from emulator.stand_ins.script import answer
from tests.builders.deployments import Relay
from tests.builders.phone import Phone

ENVIRONMENTS = 6
AT_ONCE = 3
SOCKETS = 10
FRAMES_PER_MINUTE = 120
LIMITS = {
    "MessagesPerMinute": 1000,
    "RepliesAtOnce": AT_ONCE,
    "SocketsAtOnce": SOCKETS,
    "FramesPerMinute": FRAMES_PER_MINUTE,
}
OPTIONS = (
    *("--verbose", "--limit", f"max_environments={ENVIRONMENTS}"),
    *(part for name, limit in LIMITS.items() for part in ("--parameter", f"{name}={limit}")),
)
ASKED = 12
SLOW = "Write for a while."


@dataclass(frozen=True)
class Fairness:
    """Seconds to the first text, at the median: `alone`, and `beside` the worst user, who was refused so often."""

    alone_s: float
    beside_s: float
    refused: int


async def measured(relay: Relay) -> Fairness:
    """Return what another user waits for, beside the developer's worst."""
    relay.plays(SLOW, answer("word " * 200, pause_s=0.02))
    key = "crk_another"
    ApiKeys(_table(relay)).add(key, "another")
    alone_s = await _first_texts(relay, key)
    async with _worst(relay) as refusals:
        beside_s = await _first_texts(relay, key)
    return Fairness(statistics.median(alone_s), statistics.median(beside_s), sum(refusals))


def _table(relay: Relay) -> Table:
    client = relay.services.client("dynamodb")
    (name,) = client.list_tables()["TableNames"]
    return Table(client, name)


async def _first_texts(relay: Relay, key: str) -> list[float]:
    waited_s = []
    async with Phone.connected(relay.websocket, key) as phone:
        for number in range(ASKED):
            began_s = time.monotonic()
            said = {"action": "send", "id": f"{began_s}", "conversation": f"c{number}", "content": "Hello"}
            await phone.say(said)
            await phone.hear_until(lambda frame: frame["type"] == "message")
            waited_s.append(time.monotonic() - began_s)
            await phone.hear_until(lambda frame: frame["type"] == "complete")
    return waited_s[2:]  # the first ones start workers


@asynccontextmanager
async def _worst(relay: Relay) -> AsyncIterator[list[int]]:
    refusals: list[int] = []
    numbers = count()
    tasks = [asyncio.create_task(_asking(relay, refusals, numbers)) for _ in range(2 * AT_ONCE)]
    tasks += [asyncio.create_task(_talking(relay)) for _ in range(SOCKETS - 2 * AT_ONCE)]
    await asyncio.sleep(5)
    try:
        yield refusals
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _asking(relay: Relay, refusals: list[int], numbers: "count[int]") -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        while True:
            name = f"w{next(numbers)}"
            await phone.say({"action": "send", "id": name, "conversation": name, "content": SLOW})
            frame = (await phone.hear_until(lambda frame: frame["type"] in ("complete", "error")))[-1]
            if frame["type"] == "error":
                refusals.append(1)
                await asyncio.sleep(0.5)


async def _talking(relay: Relay) -> None:
    while True:
        with suppress(Exception):
            async with Phone.connected(relay.websocket, relay.key) as phone:
                while True:
                    said: dict[str, Any] = {"action": "hello", "conversation": "w0"}
                    await phone.say(said)
                    await phone.hear()
                    await asyncio.sleep(60 / FRAMES_PER_MINUTE)
