"""The calls of AWS that each frame and each HTTP call costs, and how many of them follow one another.

Counted by the emulator, so the figures are the same on every machine. Frames that are posted to clients are counted
apart. A heartbeat is left out: how many there are is a matter of time.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass
from functools import partial
from itertools import count
from typing import Any

import httpx

from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import Frame, Phone

CALL = re.compile(r"call {5}(\S+) {2}(\w+) {2}([\d.]+) {2}([\d.]+)$")
POSTS = ("PostToConnection", "DeleteConnection")
READS = ("Get", "BatchGet", "Query", "Head", "List")
INVOKES = "Invoke"
QUIET_S = 0.4
"""Functions that have called nothing for so long are done."""
SOCKETS = 20
"""As many as a user may have, by default."""
TRIES = 3
"""Of so many the one with the fewest calls counts: on a busy machine a reply may outlast a heartbeat."""


@dataclass(frozen=True)
class Call:
    """A function's call of AWS, with times of the monotonic clock."""

    function: str
    operation: str
    began_s: float
    ended_s: float


@dataclass(frozen=True)
class Cost:
    """What one frame or HTTP call costs: calls `in_all`, the longest `chain` of them, and `posts` to clients.

    `before_frame` and `before_model` are the longest chains before the first frame goes out and before the model is
    asked; None where there is no such thing. Of the calls, some read, some write, and some call a function.
    """

    in_all: int
    chain: int
    posts: int
    before_frame: int | None = None
    before_model: int | None = None
    reads: int | None = None
    writes: int | None = None
    invocations: int | None = None

    def within(self, ceiling: "Cost") -> bool:
        """Return whether nothing of it is above `ceiling`, where that says anything."""
        pairs = zip(astuple(self), astuple(ceiling), strict=True)
        return all(most is None or (has is not None and has <= most) for has, most in pairs)


class Stage:
    """A deployment that tells of each call, and a client of it."""

    def __init__(self, relay: Relay, phone: Phone, http: httpx.AsyncClient, open_: AsyncExitStack) -> None:
        self.relay = relay
        self.phone = phone
        self._http = http
        self._open = open_
        self._numbers = count()

    @classmethod
    @asynccontextmanager
    async def opened(cls, relay: Relay) -> AsyncIterator["Stage"]:
        headers = {"Authorization": f"Bearer {relay.key}"}
        async with AsyncExitStack() as open_:
            phone = await open_.enter_async_context(Phone.connected(relay.websocket, relay.key))
            client = httpx.AsyncClient(base_url=f"http://{relay.address}", headers=headers, timeout=60)
            stage = cls(relay, phone, await open_.enter_async_context(client), open_)
            # Each function is started: what comes late is not counted as the next one's.
            await stage.ask("GET", "/api/health")
            await stage.send(stage.new("c"))
            yield stage

    async def connect(self) -> Phone:
        """Open one more socket, which closes with the stage."""
        return await self._open.enter_async_context(Phone.connected(self.relay.websocket, self.relay.key))

    def new(self, kind: str) -> str:
        """Return a name that was not used before."""
        return f"{kind}-{next(self._numbers)}-{id(self)}"

    async def send(self, conversation: str) -> str:
        """Send a message, hear its reply to the end, and return the reply's id."""
        frames = await self.phone.ask("How many?", id=self.new("m"), conversation=conversation)
        return str(frames[-1]["reply"])

    async def say(self, frame: Frame, until: str) -> None:
        """Send a frame, and hear until one of the type `until`."""
        await self.phone.say(frame)
        await self.phone.hear_until(lambda heard: heard["type"] == until)

    async def ask(self, method: str, path: str, **request: Any) -> None:
        """Ask the HTTP API, which takes the request."""
        (await self._http.request(method, path, **request)).raise_for_status()

    async def cost(self, play: Callable[[], Awaitable[object]]) -> Cost:
        """Return what happens while `play` runs, and until the functions are done."""
        await self.quiet()
        seen, asked = len(self.relay.log), len(self.relay.model.requests)
        await play()
        async with asyncio.timeout(PATIENCE_S):
            while not calls(self.relay.log[seen:]):  # noqa: ASYNC110 -- a log tells nobody
                await asyncio.sleep(0.05)
        await self.quiet()
        made = calls(self.relay.log[seen:])
        counted = [call for call in made if call.operation not in POSTS]
        posts = [call for call in made if call.operation in POSTS]
        frame_s = min((post.began_s for post in posts), default=None)
        requests = self.relay.model.requests[asked:]
        model_s = requests[0].received_at if requests else None
        return Cost(
            len(counted),
            len(longest_chain(counted)),
            len(posts),
            _before(counted, frame_s),
            _before(counted, model_s),
            reads=sum(call.operation.startswith(READS) for call in counted),
            writes=sum(not call.operation.startswith((*READS, INVOKES)) for call in counted),
            invocations=sum(call.operation == INVOKES for call in counted),
        )

    async def quiet(self) -> None:
        """Wait until nothing is told any more."""
        lines, since_s = len(self.relay.log), time.monotonic()
        while time.monotonic() - since_s < QUIET_S:
            if (now := len(self.relay.log)) != lines:
                lines, since_s = now, time.monotonic()
            await asyncio.sleep(0.05)


def calls(log: Iterable[str]) -> list[Call]:
    """Return the calls of which a gateway's log tells."""
    found = (CALL.search(line) for line in log)
    return [Call(each[1], each[2], float(each[3]), float(each[4])) for each in found if each]


def longest_chain(made: Iterable[Call]) -> list[Call]:
    """Return as many calls as follow one another at most: each begins after the one before it has ended."""
    found: list[Call] = []
    for call in sorted(made, key=lambda call: call.ended_s):
        if not found or call.began_s >= found[-1].ended_s:
            found.append(call)
    return found


def _before(made: Iterable[Call], at_s: float | None) -> int | None:
    return None if at_s is None else len(longest_chain(call for call in made if call.ended_s <= at_s))


# --- what is counted ---


async def connects(stage: Stage) -> Cost:
    return await stage.cost(stage.connect)


async def disconnects(stage: Stage) -> Cost:
    phone = await stage.connect()
    await phone.say({"action": "hello", "conversation": stage.new("c")})
    await phone.hear()
    return await stage.cost(phone.socket.close)


async def hello(stage: Stage) -> Cost:
    frame = {"action": "hello", "conversation": stage.new("c"), "device": stage.new("d")}
    return await stage.cost(partial(stage.say, frame, "ready"))


async def first_message(stage: Stage) -> Cost:
    return await stage.cost(lambda: stage.send(stage.new("c")))


async def message(stage: Stage) -> Cost:
    conversation = stage.new("c")
    await stage.send(conversation)
    return await stage.cost(lambda: stage.send(conversation))


async def message_again(stage: Stage) -> Cost:
    frame = {"action": "send", "id": stage.new("m"), "conversation": stage.new("c"), "content": "How many?"}
    await stage.say(frame, "complete")
    return await stage.cost(partial(stage.say, frame, "complete"))


async def resumes(stage: Stage) -> Cost:
    reply = await stage.send(stage.new("c"))
    return await stage.cost(partial(stage.say, {"action": "resume", "reply": reply, "offset": 0}, "complete"))


async def acknowledges(stage: Stage) -> Cost:
    await stage.phone.say({"action": "hello", "device": stage.new("d")})
    await stage.phone.hear()
    reply = await stage.send(stage.new("c"))
    return await stage.cost(partial(stage.phone.say, {"action": "ack", "reply": reply, "offset": 4}))


async def cancels(stage: Stage) -> Cost:
    reply = await stage.send(stage.new("c"))
    return await stage.cost(partial(stage.phone.say, {"action": "cancel", "reply": reply}))


async def nonsense(stage: Stage) -> Cost:
    return await stage.cost(partial(stage.say, {"action": "shout"}, "error"))


async def renews(stage: Stage) -> Cost:
    return await stage.cost(partial(stage.say, {"action": "auth", "token": stage.relay.key}, "ready"))


async def wrong_credentials(stage: Stage) -> Cost:
    return await stage.cost(partial(stage.say, {"action": "auth", "token": "wrong"}, "error"))


async def edits(stage: Stage) -> Cost:
    conversation, message, edit = stage.new("c"), stage.new("m"), stage.new("m")
    await stage.phone.ask("How many?", id=message, conversation=conversation)
    frame = {"action": "edit", "id": edit, "replaces": message, "conversation": conversation, "content": "How few?"}
    return await stage.cost(partial(stage.say, frame, "complete"))


async def regenerates(stage: Stage) -> Cost:
    reply = await stage.send(stage.new("c"))
    return await stage.cost(partial(stage.say, {"action": "regenerate", "reply": reply}, "complete"))


async def message_to_all(stage: Stage) -> Cost:
    conversation = stage.new("c")
    async with AsyncExitStack() as open_:
        for _ in range(SOCKETS - 1):
            phone = await open_.enter_async_context(Phone.connected(stage.relay.websocket, stage.relay.key))
            await phone.say({"action": "hello", "conversation": conversation})
            await phone.hear()
        return await stage.cost(lambda: stage.send(conversation))


def http(method: str, path: str, **request: Any) -> Callable[[Stage], Awaitable[Cost]]:
    """Return what counts an HTTP call; ``{conversation}`` in its path is one with a reply."""

    async def count(stage: Stage) -> Cost:
        conversation = stage.new("c")
        if "{conversation}" in path:
            await stage.send(conversation)
        return await stage.cost(partial(stage.ask, method, path.format(conversation=conversation), **request))

    return count


async def message_by_http(stage: Stage) -> Cost:
    body = {"id": stage.new("m"), "content": "How many?"}
    return await stage.cost(partial(stage.ask, "POST", f"/api/conversations/{stage.new('c')}/messages", json=body))


FORM = {"filename": "a.txt", "mime_type": "text/plain", "size": 1}
DEVICE = {"device_token": "ab" * 32, "platform": "ios", "device_id": "phone"}


@dataclass(frozen=True)
class Row:
    """Something that a client does, and what it may cost."""

    name: str
    count: Callable[[Stage], Awaitable[Cost]]
    ceiling: Cost


ROWS = (
    Row("connect", connects, Cost(5, 5, 0, reads=2, writes=2, invocations=1)),
    Row("disconnect", disconnects, Cost(3, 3, 0, reads=1, writes=2, invocations=0)),
    Row("`hello`, with conversation and device", hello, Cost(4, 4, 1, 4, reads=1, writes=3, invocations=0)),
    Row("`send`, the first in a conversation", first_message, Cost(9, 7, 3, 3, 4, reads=4, writes=4, invocations=1)),
    Row("`send`, a later one", message, Cost(9, 7, 3, 3, 4, reads=4, writes=4, invocations=1)),
    Row("`send`, the same once more", message_again, Cost(9, 9, 3, 9, reads=7, writes=2, invocations=0)),
    Row("`resume` of a reply that has ended", resumes, Cost(5, 5, 3, 5, reads=4, writes=1, invocations=0)),
    Row("`ack`", acknowledges, Cost(3, 3, 0, reads=1, writes=2, invocations=0)),
    Row("`cancel` of a reply that has ended", cancels, Cost(5, 5, 0, reads=3, writes=2, invocations=0)),
    Row("`edit`", edits, Cost(12, 10, 3, 6, 7, reads=7, writes=4, invocations=1)),
    Row("`regenerate`", regenerates, Cost(15, 13, 3, 9, 10, reads=10, writes=4, invocations=1)),
    Row("`auth`", renews, Cost(6, 6, 1, 6, reads=3, writes=3, invocations=0)),
    Row("`auth` with wrong credentials", wrong_credentials, Cost(2, 2, 1, 2, reads=1, writes=1, invocations=0)),
    Row("a frame that is none", nonsense, Cost(1, 1, 1, 1, reads=0, writes=1, invocations=0)),
    Row(  # so many posts last some heartbeats on a busy machine, with an entry in the journal each
        f"`send`, and {SOCKETS} sockets read along",
        message_to_all,
        Cost(17, 15, 4 * SOCKETS, 3, 4, reads=4, writes=12, invocations=1),
    ),
    Row("`GET /api/usage`", http("GET", "/api/usage"), Cost(3, 3, 0, reads=3, writes=0, invocations=0)),
    Row("`POST /api/files`", http("POST", "/api/files", json=FORM), Cost(3, 3, 0, reads=2, writes=1, invocations=0)),
    Row(
        "`DELETE /api/notifications/…`",
        http("DELETE", "/api/notifications/phone"),
        Cost(4, 4, 0, reads=3, writes=1, invocations=0),
    ),
    Row(
        "`DELETE /api/claude/session/…/close`",
        http("DELETE", "/api/claude/session/c/close"),
        Cost(3, 3, 0, reads=3, writes=0, invocations=0),
    ),
    Row("`GET /api/health`", http("GET", "/api/health"), Cost(2, 2, 0, reads=2, writes=0, invocations=0)),
    Row("`GET /api/status`", http("GET", "/api/status"), Cost(2, 2, 0, reads=2, writes=0, invocations=0)),
    Row("`GET /api/conversations`", http("GET", "/api/conversations"), Cost(3, 3, 0, reads=3, writes=0, invocations=0)),
    Row(
        "`GET …/messages`",
        http("GET", "/api/conversations/{conversation}/messages"),
        Cost(5, 5, 0, reads=5, writes=0, invocations=0),
    ),
    Row("`POST …/messages`", message_by_http, Cost(17, 15, 0, None, 12, reads=11, writes=4, invocations=2)),
    Row(
        "`DELETE /api/conversations/…`",
        http("DELETE", "/api/conversations/{conversation}"),
        Cost(8, 8, 0, reads=5, writes=3, invocations=0),
    ),
    Row(
        "`POST /api/notifications/register`",
        http("POST", "/api/notifications/register", json=DEVICE),
        Cost(5, 5, 0, reads=4, writes=1, invocations=0),
    ),
)


async def counted(relay: Relay) -> dict[str, Cost]:
    """Return what each of ``ROWS`` costs there."""
    async with Stage.opened(relay) as stage:
        costs = {}
        for row in ROWS:
            found = [await row.count(stage) for _ in range(TRIES)]
            costs[row.name] = min(found, key=lambda cost: (cost.in_all, cost.chain))
        return costs
