"""What a scenario plays on: a deployment with a fault plan, conversations with devices, and the judgement."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import psutil

from infra.local.script import Pause, Script, answer, closing, output_tokens, partial
from tests.conftest import Relay
from tests.end_to_end.phone import Phone
from tests.end_to_end.test_bad_input import workers
from tests.scenarios.client import Client

PATIENCE_S = 45.0
"""Far beyond what any scenario takes: who has no end by then will never have one."""
ENVIRONMENTS = 3
GATEWAY = ("--faults", "{}", "--limit", f"max_environments={ENVIRONMENTS}")
WORDS = 'Grüße 👩‍👩‍👧‍👦, 你好, "quotes", back\\slash, tab\t, line\nfeed und ein Wort. '


@dataclass
class Row:
    """What came of a scenario, over its runs. `faults` is how much went wrong as planned.

    Lost and doubled are UTF-16 code units, or replies that nobody asked for.
    """

    name: str
    runs: int = 0
    faults: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    worst_resume_s: float = 0.0
    flaws: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.out_of_order or self.flaws)

    def add(self, other: "Row") -> None:
        self.runs += other.runs
        self.faults += other.faults
        self.lost += other.lost
        self.doubled += other.doubled
        self.out_of_order += other.out_of_order
        self.worst_resume_s = max(self.worst_resume_s, other.worst_resume_s)
        self.flaws += other.flaws


@dataclass
class Talk:
    """One conversation, of which one message is answered by `text`. `may_stop`: its user may have enough before."""

    relay: Relay
    conversation: str
    text: str
    random: Random
    may_stop: bool = False
    clients: list[Client] = field(default_factory=list)

    def sender(self) -> Client:
        return self._client(self.conversation)

    def reader(self) -> Client:
        return self._client(None)

    def _client(self, content: str | None) -> Client:
        random = Random(self.random.random())  # noqa: S311 -- replayable, not secret
        relay = self.relay
        self.clients.append(Client(relay.websocket, relay.key, self.conversation, "m1", content, random))
        return self.clients[-1]


class Stage:
    """One run of a scenario."""

    def __init__(self, relay: Relay, name: str, seed: int) -> None:
        self.random = Random(f"{name} {seed}")  # noqa: S311 -- replayable, not secret
        self.flaws: list[str] = []
        self.replies_may_break = False
        """Then one message may have several replies, each of a higher epoch."""
        self._relay = relay
        self._name = name
        self._seed = seed
        self._talks: list[Talk] = []

    async def faults(self, **sections: Any) -> None:
        """From now on these go wrong. What happens hangs on the run's seed."""
        async with httpx.AsyncClient() as http:
            plan = {"seed": self._seed, **sections}
            (await http.post(f"http://{self._relay.address}/_faults", json=plan)).raise_for_status()

    def talk(
        self, *, deltas: int = 40, pause_s: float = 0.02, last_pause_s: float = 0.0, may_stop: bool = False
    ) -> Talk:
        """A new conversation; its reply takes about `deltas` times `pause_s`."""
        conversation = f"{self._name} {self._seed} {uuid4().hex}"
        chars = self.random.randint(5, 30)
        text = (WORDS * (deltas * chars // len(WORDS) + 1))[: deltas * chars]
        self._relay.plays(conversation, _script(text, chars, pause_s, last_pause_s))
        self._talks.append(Talk(self._relay, conversation, text, self.random, may_stop))
        return self._talks[-1]

    async def play(self) -> None:
        """Every device of every conversation, until each has its reply."""
        await self.end_of(*(client.follow() for talk in self._talks for client in talk.clients))

    async def end_of(self, *following: Awaitable[None]) -> None:
        """Until all these devices have their replies."""
        try:
            await asyncio.wait_for(asyncio.gather(*following), PATIENCE_S)
        except TimeoutError:
            self.flaws.append("somebody waits for ever")

    async def judge(self) -> Row:
        """Puts an end to the faults, and looks at what everybody has."""
        row = Row(self._name, runs=1, faults=await self._applied(), flaws=self.flaws)
        await self.faults()
        for talk in self._talks:
            _judge_talk(row, talk)
            if not self.replies_may_break:
                row.doubled += len(self._relay.requests_for(talk.conversation)) - 1
        await asyncio.gather(*(self._judge_memory(row, talk) for talk in self._talks))
        await self._judge_leaks(row)
        row.flaws = [f"{self._name}, seed {self._seed}: {flaw}" for flaw in row.flaws]
        return row

    async def _applied(self) -> int:
        async with httpx.AsyncClient() as http:
            report = (await http.get(f"http://{self._relay.address}/_faults")).raise_for_status().json()
        return sum(fault["applied"] for fault in report["faults"])

    async def _judge_memory(self, row: Row, talk: Talk) -> None:
        """A later message takes along what the devices have, and nothing else."""
        later = f"and then? {talk.conversation}"
        async with Phone.connected(self._relay.websocket, self._relay.key) as phone:
            await phone.ask(later, id="m2", conversation=talk.conversation)
        said = [_said(turn) for turn in self._relay.requests_for(later)[-1].body["messages"]]
        reply = talk.clients[0].current
        if said != [talk.conversation, reply.text if reply else "", later]:
            row.flaws.append("the model was told another history than the devices have")

    async def _judge_leaks(self, row: Row) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while (leaks := self._leaks()) and time.monotonic() < deadline_s:  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(0.05)
        row.flaws += leaks

    def _leaks(self) -> list[str]:
        asked = [request for talk in self._talks for request in self._relay.requests_for(talk.conversation)]
        leaks = ["a model still writes" for request in asked if request.closed_at is None]
        try:
            running = len(workers(self._relay, "message"))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return [*leaks, "a worker is ending"]
        return [*leaks, f"{running} workers"] if running > ENVIRONMENTS else leaks


def _script(text: str, chars: int, pause_s: float, last_pause_s: float) -> Script:
    if not last_pause_s:
        return answer(text, delta_chars=chars, pause_s=pause_s)
    written = partial(text, delta_chars=chars, pause_s=pause_s)
    return written + Script((Pause(last_pause_s),)) + closing(output_tokens(text))


def _said(turn: dict[str, Any]) -> str:
    return "".join(block["text"] for block in turn["content"] if block["type"] == "text")


def _judge_talk(row: Row, talk: Talk) -> None:
    for client in talk.clients:
        _judge_client(row, talk, client)
    ends: dict[str, set[str]] = {}
    for client in talk.clients:
        for reply in client.replies.values():
            ends.setdefault(reply.id, set()).update(reply.ends - {"replaced"})
    row.flaws += [f"a reply has {len(told)} ends" for told in ends.values() if len(told) > 1]
    newest = max((reply.epoch for client in talk.clients for reply in client.replies.values()), default=0)
    row.doubled += max(0, len(talk.relay.requests_for(talk.conversation)) - newest)
    if len({client.current.id for client in talk.clients if client.current}) > 1:
        row.flaws.append("devices show different replies")


def _judge_client(row: Row, talk: Talk, client: Client) -> None:
    row.worst_resume_s = max(row.worst_resume_s, client.worst_resume_s)
    row.out_of_order += client.contradictions
    row.doubled += client.rivals
    reply = client.current
    end = reply.end if reply else None
    if reply is None or end is None or client.ended_s is None:
        row.lost += len(talk.text.encode("utf-16-le")) // 2
        row.flaws.append(f"a reply has no end; refused with {client.refusal}")
        return
    stopped = talk.may_stop and end["stop_reason"] == "cancelled"
    written = talk.text.encode("utf-16-le")
    written = written[: 2 * end["length"]] if stopped else written
    row.lost += max(0, len(written) - len(reply.units)) // 2
    row.doubled += max(0, len(reply.units) - len(written)) // 2
    row.out_of_order += not written.startswith(reply.units[: len(written)])
    if not reply.proved_by(end):
        row.flaws.append("length or SHA-256 are not the text's")
    row.flaws += [
        "a broken reply has words that nobody wrote"
        for broken in client.replies.values()
        if not talk.text.encode("utf-16-le").startswith(broken.units)
    ]
