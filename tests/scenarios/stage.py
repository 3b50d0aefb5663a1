"""What a scenario plays on: a deployment with a fault plan, conversations with devices, and the judgement."""

import asyncio
import json
import time
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
import psutil

from emulator.stand_ins.script import (
    Pause,
    Script,
    block_delta,
    block_start,
    closing,
    found_block,
    message_start,
    output_tokens,
    paced,
    pieces,
    search_block,
    thinking_block,
)
from tests.builders.deployments import Relay
from tests.scenarios.client import REPLACED, Assembly, Device, Reader, Sender
from tests.scenarios.rows import Rows

P = TypeVar("P")
PATIENCE_S = 150.0
"""Far beyond what any scenario takes: who has no end by then will never have one."""
ENVIRONMENTS = 3
WIDE = ("MessagesPerMinute", "RepliesAtOnce", "TokensPerDay", "TokensPerMonth", "SocketsAtOnce", "FramesPerMinute")
GATEWAY = (
    *("--verbose", "--faults", "{}", "--limit", f"max_environments={ENVIRONMENTS}"),
    *("--parameter", "FirstFrameAuth=false", "--parameter", "DollarsPerDay=999999", "--parameter", "DollarsPerMonth="),
    *(part for name in WIDE for part in ("--parameter", f"{name}=999999999")),
)
"""As it is deployed by default: API Gateway itself calls the function that answers. Limits are kept, and never met."""
WORDS = 'Grüße 👩‍👩‍👧‍👦, 你好, "quotes", back\\slash, tab\t, line\nfeed und ein Wort. '
ODD = r'"it\'s" \ </script>' + " \t\r\n 👩‍👩‍👧‍👦 \u2028."
"""What a template that makes JSON of a message may break."""


@dataclass
class Row:
    """What came of a scenario, over its runs. `faults` is how much went wrong as planned.

    Lost and doubled are UTF-16 code units, or replies that nobody asked for. A cancel lasts from the client's frame
    until the model sees its connection closed.
    """

    name: str
    runs: int = 0
    faults: int = 0
    lost: int = 0
    doubled: int = 0
    out_of_order: int = 0
    resumes_s: list[float] = field(default_factory=list)
    cancels_s: list[float] = field(default_factory=list)
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
        self.resumes_s += other.resumes_s
        self.cancels_s += other.cancels_s
        self.flaws += other.flaws


THOUGHT = 'Hm 🌅, "let" me\nsee… '
PAGES = [{"type": "web_search_result", "title": "Übermut 🌅", "url": "https://a.example/", "page_age": None}]
BEFORE = THOUGHT + json.dumps({"query": "wer 早"}, ensure_ascii=False) + json.dumps(PAGES, ensure_ascii=False)
"""What stands in the log of each reply before its text: the model thinks, and searches the web."""


@dataclass(frozen=True)
class Message:
    """What a user asks, and what the model answers: `text`, as `script` writes it."""

    id: str
    prompt: str
    text: str
    script: Script

    @property
    def log(self) -> str:
        """All parts of the answer."""
        return BEFORE + self.text


@dataclass
class Talk:
    """One conversation. `may_stop`: its user may have enough of a reply before it ends."""

    relay: Relay
    conversation: str
    messages: tuple[Message, ...]
    random: Random
    may_stop: bool = False
    devices: list[Device] = field(default_factory=list)
    index: dict[str, str] = field(default_factory=dict)

    @property
    def senders(self) -> list[Sender]:
        return [device for device in self.devices if isinstance(device, Sender)]

    def sender(self, *messages: Message) -> Sender:
        """A device that sends these messages at once, or all of the conversation's."""
        said = {message.id: message.prompt for message in messages or self.messages}
        sender = Sender(said, *self._device(frozenset(said)))
        self.devices.append(sender)
        return sender

    def reader(self) -> Reader:
        reader = Reader(*self._device(frozenset(message.id for message in self.messages)))
        self.devices.append(reader)
        return reader

    async def post(self, message: Message) -> None:
        """Sends it by HTTP."""
        url = f"http://{self.relay.address}/api/conversations/{quote(self.conversation, safe='')}/messages"
        said = {"id": message.id, "content": message.prompt}
        async with httpx.AsyncClient(headers={"X-API-Key": self.relay.key}, timeout=PATIENCE_S) as http:
            (await http.post(url, json=said)).raise_for_status()

    def requests(self) -> list[tuple[Message, Any]]:
        """What the model was asked, in the order in which it was."""
        asked = [(message, each) for message in self.messages for each in self.relay.requests_for(message.prompt)]
        return sorted(asked, key=lambda pair: pair[1].received_at)

    def later(self) -> Sender:
        """A device that asks something when all is over."""
        asked = {"later": f"and then? {self.conversation}"}
        return Sender(asked, *self._device(frozenset(asked)))

    def _device(self, wanted: frozenset[str]) -> tuple[Any, ...]:
        only = self.messages[0].id if len(self.messages) == 1 else None
        random = Random(self.random.random())  # noqa: S311 -- replayable, not secret
        return self.relay.websocket, self.relay.key, self.conversation, wanted, only, self.index, random


class Stage:
    """One run of a scenario. `scale` is how much of a heavy one is played, from 0 to 1."""

    def __init__(self, relay: Relay, name: str, seed: int, scale: float = 1.0) -> None:
        self.random = Random(f"{name} {seed}")  # noqa: S311 -- replayable, not secret
        self.flaws: list[str] = []
        self.replies_may_break = False
        """Then one message may have several replies, one after the other."""
        self.services_fail = False
        """Then a device may be told that something went wrong here: the same went wrong again and again."""
        self.resumes_are_timed = True
        """Unless they have to wait until a worker counts as dead."""
        self.patience_s = PATIENCE_S
        self.resumes_s: list[float] = []
        self.talks: list[Talk] = []
        self.relay = relay
        self._rows = Rows(relay)
        self._spent_before = self._rows.spent()
        self._name = name
        self._seed = seed
        self._scale = scale
        self._faults = 0
        self._planned = False

    def scaled(self, full: int, least: int) -> int:
        return max(least, round(full * self._scale))

    def sample(self, points: Sequence[P], full: int, least: int) -> list[P]:
        """So many of `points`, or all if there are no more."""
        return self.random.sample(points, min(len(points), self.scaled(full, least)))

    async def faults(self, **sections: Any) -> int:
        """From now on these go wrong. What happens hangs on the run's seed. Gives how often the last ones have."""
        async with httpx.AsyncClient() as http:
            url = f"http://{self.relay.address}/_faults"
            report = (await http.get(url)).raise_for_status().json()
            (await http.post(url, json={"seed": self._seed, **sections})).raise_for_status()
        applied = sum(int(fault["applied"]) for fault in report["faults"])
        self._planned = self._planned or bool(sections)
        self._faults += applied
        return applied

    def talk(
        self,
        *,
        messages: int = 1,
        deltas: int = 40,
        pause_s: float = 0.02,
        last_pause_s: float = 0.0,
        may_stop: bool = False,
    ) -> Talk:
        """A new conversation; each of its replies takes about `deltas` times `pause_s`."""
        conversation = f"{self._name} {self._seed} {uuid4().hex}"
        ids = [f"m{n}" for n in range(1, messages + 1)]
        said = tuple(self._message(each, conversation, deltas, pause_s, last_pause_s) for each in ids)
        self.talks.append(Talk(self.relay, conversation, said, self.random, may_stop))
        return self.talks[-1]

    def _message(self, message_id: str, conversation: str, deltas: int, pause_s: float, last_pause_s: float) -> Message:
        chars = self.random.randint(5, 30)
        text = (f"{message_id}: " + WORDS * (deltas * chars // len(WORDS) + 1))[: deltas * chars]
        written = script(text, chars, pause_s, last_pause_s)
        message = Message(message_id, f"{message_id} of {conversation}: {ODD}", text, written)
        self.relay.plays(message.prompt, written)
        return message

    async def play(self, *talks: Talk) -> None:
        """Every device of these conversations, or of all, until each has its replies."""
        await self.end_of(*(device.follow() for talk in talks or self.talks for device in talk.devices))

    async def end_of(self, *following: Awaitable[None]) -> None:
        """Until all these devices have their replies."""
        try:
            async with asyncio.timeout(self.patience_s):
                await asyncio.gather(*following)
        except TimeoutError:
            self.flaws.append("somebody waits for ever")

    async def judge(self) -> Row:
        """Puts an end to the faults, and looks at what everybody has."""
        await self.faults()
        row = Row(self._name, runs=1, faults=self._faults, resumes_s=self.resumes_s, flaws=self.flaws)
        if self._planned and not self._faults:
            row.flaws.append("nothing went wrong, so nothing was shown")
        owed = await asyncio.to_thread(self._rows.replies)
        for talk in self.talks:
            await self._judge_talk(row, talk, owed)
        some_at_a_time = asyncio.Semaphore(ENVIRONMENTS)
        await asyncio.gather(*(self._judge_memory(row, talk, some_at_a_time) for talk in self.talks))
        await self._judge_leaks(row)
        row.flaws += await asyncio.to_thread(self._miscounted) if self.talks else []
        row.flaws = [f"{self._name}, seed {self._seed}: {flaw}" for flaw in row.flaws]
        return row

    async def _judge_talk(self, row: Row, talk: Talk, owed: Mapping[str, int]) -> None:
        turns = await asyncio.to_thread(self._rows.turns, talk.conversation)
        for message in talk.messages:
            _judge_message(row, talk, message)
            asked = len(talk.relay.requests_for(message.prompt))
            row.doubled += max(0, asked - (owed[turns.get(message.id, "")] if self.replies_may_break else 1))
        for device in talk.devices:
            row.resumes_s += device.resumes_s if self.resumes_are_timed else []
            row.out_of_order += device.contradictions
            row.doubled += device.rivals
            row.flaws += device.breaches
        row.cancels_s += _cancels_s(talk)
        if not self.services_fail and any(device.apologies for device in talk.devices):
            row.flaws.append("a device was told of an error inside of the relay")
        row.flaws += [f"a reply has {len(told)} ends" for told in _ends(talk).values() if len(told) > 1]
        if not self.replies_may_break:
            row.out_of_order += _overtaken(talk, turns)

    async def _judge_memory(self, row: Row, talk: Talk, limit: asyncio.Semaphore) -> None:
        """A later message takes along what the devices have, and nothing else."""
        later = f"and then? {talk.conversation}"
        async with limit:
            await self.end_of(talk.later().follow())
        told = [request.body["messages"] for request in self.relay.requests_for(later)]
        said = [_said(turn) for turn in told[-1]] if told else None
        turns = await asyncio.to_thread(self._rows.turns, talk.conversation)
        if said != _history(talk, turns, later):
            row.flaws.append("the model was told another history than the devices have")

    async def _judge_leaks(self, row: Row) -> None:
        deadline_s = time.monotonic() + PATIENCE_S
        while (leaks := await asyncio.to_thread(self._leaks)) and time.monotonic() < deadline_s:  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(0.05)
        row.flaws += leaks

    def _miscounted(self) -> list[str]:
        """What the relay has counted twice or not at all. Of tries that others followed, nobody knows it any more."""
        written = [self._rows.written(talk.conversation) for talk in self.talks]
        replies, tokens, retried = (sum(each) for each in zip(*written, strict=True))
        counted, used = (now - before for now, before in zip(self._rows.spent(), self._spent_before, strict=True))
        is_right = replies <= counted <= replies + retried and (used >= tokens if retried else used == tokens)
        told = f"{counted} replies and {used} tokens are counted, {replies} and {tokens} are stored ({retried} retried)"
        return [] if is_right else [told]

    def _leaks(self) -> list[str]:
        asked = [request for talk in self.talks for _, request in talk.requests()]
        leaks = ["a model still writes" for request in asked if request.closed_at is None]
        leaks += [leak for talk in self.talks for leak in self._rows.leaks(talk.conversation)]
        leaks += [f"{reply} is owed" for reply in self._rows.owed()]
        try:
            running = len(self.relay.workers("message"))
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            return [*leaks, "a worker is ending"]
        return [*leaks, f"{running} workers"] if running > ENVIRONMENTS else leaks


def script(text: str, chars: int, pause_s: float, last_pause_s: float = 0.0) -> Script:
    """Return a whole answer: a thought, a search, and `text` in deltas of so many characters."""
    found = [{**page, "encrypted_content": "ZW5j"} for page in PAGES]
    deltas = (block_delta(3, {"type": "text_delta", "text": piece}) for piece in pieces(text, chars))
    steps = (
        message_start(),
        *thinking_block(THOUGHT, 3, pause_s),
        *search_block(1, "srvtoolu_1", "wer 早"),
        *found_block(2, "srvtoolu_1", found),
        block_start(3, {"type": "text", "text": ""}),
        *(step for delta in deltas for step in paced(delta, pause_s)),
        *([Pause(last_pause_s)] if last_pause_s else []),
    )
    return Script(steps) + closing(output_tokens(THOUGHT + text), index=3)


def _said(turn: dict[str, Any]) -> str:
    return "".join(block["text"] for block in turn["content"] if block["type"] == "text")


def _history(talk: Talk, turns: Iterable[str], later: str) -> list[str]:
    """User and model by turns. A message without an answer goes with the next one."""
    prompts = {message.id: message.prompt for message in talk.messages}
    history = [""]
    for message in (each for each in turns if each in prompts):
        history[-1] += prompts[message]
        history += [shown, ""] if (shown := _shown(talk, message)) else []
    return [*history[:-1], history[-1] + later]


def _shown(talk: Talk, message: str) -> str:
    shown = (device.current[message].text for device in talk.devices if message in device.current)
    return next(shown, "").removeprefix(BEFORE)


def _ends(talk: Talk) -> dict[str, set[str]]:
    """All the different ends of each reply that anybody was told of."""
    ends: dict[str, set[str]] = {}
    for device in talk.devices:
        for reply in device.replies.values():
            ends.setdefault(reply.id, set()).update(reply.ends - {REPLACED})
    return ends


def _judge_message(row: Row, talk: Talk, message: Message) -> None:
    devices = [device for device in talk.devices if message.id in device.wanted]
    for device in devices:
        _judge_answer(row, talk, message, device.current.get(message.id))
        row.flaws += [
            "a broken reply has words that nobody wrote"
            for reply in device.replies.values()
            if reply.message == message.id and not _may_be(message, reply)
        ]
    if len({device.current[message.id].id for device in devices if message.id in device.current}) > 1:
        row.flaws.append("devices show different replies")
    if any(device.said.get(message.id, set()) - {message.prompt} for device in talk.devices):
        row.flaws.append("a device was told other words than its user's")


def _may_be(message: Message, reply: Assembly) -> bool:
    """Whether that is the beginning of an answer. A try that was to break off has neither thought nor search."""
    return any(written.encode("utf-16-le").startswith(reply.units) for written in (message.log, message.text))


def _judge_answer(row: Row, talk: Talk, message: Message, reply: Assembly | None) -> None:
    written = message.log.encode("utf-16-le")
    proof = reply.proof if reply else None
    if reply is None or proof is None:
        row.lost += len(written) // 2
        row.flaws.append(f"{message.id} has no answer; refused with {[device.refusal for device in talk.devices]}")
        return
    if talk.may_stop and proof["stop_reason"] == "cancelled":
        written = written[: 2 * proof["length"]]
    row.lost += max(0, len(written) - len(reply.units)) // 2
    row.doubled += max(0, len(reply.units) - len(written)) // 2
    row.out_of_order += not written.startswith(reply.units[: len(written)])
    if not reply.proved_by(proof):
        row.flaws.append("length or SHA-256 are not the text's")


def _cancels_s(talk: Talk) -> Iterable[float]:
    for sender in talk.senders:
        for reply, cancelled_s in sender.cancelled_s.items():
            message = next(each for each in talk.messages if each.id == sender.replies[reply].message)
            for request in talk.relay.requests_for(message.prompt):
                if request.closed_at is not None and not request.finished:
                    yield request.closed_at - cancelled_s


def _overtaken(talk: Talk, turns: Mapping[str, str]) -> int:
    """How many messages waited although API Gateway had received them before one that was answered.

    A message certainly waited that its sender knew to be accepted before the reply before had ended. Of two that were
    received in the same millisecond, either may be first.
    """
    requests = talk.requests()
    accepted_s = {name: typed_s for sender in talk.senders for name, typed_s in sender.typed_s.items()}
    overtaken = 0
    for n, ((_, before), (begun, _)) in enumerate(pairwise(requests), start=1):
        ended_s = before.closed_at or time.monotonic()
        waiting = (later.id for later, _ in requests[n + 1 :] if accepted_s.get(later.id, ended_s) < ended_s)
        overtaken += any(_received_ms(turns[each]) < _received_ms(turns[begun.id]) for each in waiting)
    return overtaken


def _received_ms(turn: str) -> int:
    return int(turn.partition("#")[0])
