"""Scenarios in which what was said is replaced: each wish is granted once, and nothing that was replaced is lost."""

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from tests.builders.contract import faults_of_answer
from tests.builders.patience import PATIENCE_S
from tests.scenarios.client import Assembly, Frame, Sender
from tests.scenarios.deaths import MOMENTS, WORKER
from tests.scenarios.stage import BEFORE, Stage, script

# As they stand in the event: a frame is a text in it.
EDIT, AGAIN = r"\"edit\"", r"\"regenerate\""
WRITE = {"operation": "TransactWriteItems"}
REPLACING = [{"do": "repeat", **WORKER, "contains": each, "nth": 1} for each in (EDIT, AGAIN)]


async def what_was_said_is_replaced_while_workers_die(stage: Stage) -> None:
    """Events are delivered twice besides."""
    nth = sorted(stage.random.sample(range(1, 40), 3))
    died = {"do": "kill_at_call", **WORKER, "nth": nth, "moment": stage.random.choice(MOMENTS)}
    await _replace(stage, events=REPLACING, workers=[died])


async def what_was_said_is_replaced_over_a_bad_line(stage: Stage) -> None:
    """Posts fail, come twice or late or never, and sockets are cut."""
    await _replace(
        stage,
        posts=[
            {"do": "lose_answer", "probability": 0.1},
            {"do": "refuse", "probability": 0.1, "status": 429},
            {"do": "drop", "probability": 0.05, "contains": '"part"'},
            {"do": "repeat", "probability": 0.1},
            {"do": "reorder", "probability": 0.1, "contains": '"part"', "seconds": 0.3},
        ],
        sockets=[{"do": "close", "posts": [2, 20], "probability": 0.5}],
    )


async def what_was_said_is_replaced_while_dynamodb_fails(stage: Stage) -> None:
    nth = sorted(stage.random.sample(range(1, 8), 2))
    lost = {"do": "silence", **WORKER, **WRITE, "takes_effect": True, "nth": nth, "seconds": 6}
    await _replace(stage, calls=[{"do": "throttle", "probability": 0.1}, lost])


async def one_message_is_replaced_by_three_devices(stage: Stage) -> None:
    """Two change it and one has it answered anew, all at once, by events that are delivered twice. One holds."""
    talk = _Talk(stage)
    async with asyncio.timeout(stage.patience_s):
        first = await talk.insist("m1")
        await stage.faults(events=[{**each, "nth": [1, 2]} for each in REPLACING])
        wishes = [talk.edit("m2", "m1"), talk.edit("m3", "m1"), talk.insist("m1", talk.again(first))]
        replies = [first, *await asyncio.gather(*wishes)]
        await stage.faults()
        shown = await talk.turns()
        last = await talk.insist("m4")
    if len(shown) != 1 or shown[0]["reply"]["id"] not in {reply.id for reply in replies[1:]}:
        stage.flaws.append(f"not one of them holds: {shown}")
    every = await talk.turns("?replaced=true")
    if sorted(turn["reply"]["id"] for turn in every) != sorted(reply.id for reply in [*replies, last]):
        stage.flaws.append(f"what was replaced is lost, or was answered twice: {every}")
    stage.flaws += talk.flaws_of_model([shown[0]["id"], "m4"])


async def _replace(stage: Stage, **faults: Any) -> None:
    """Change a message, have it answered anew and go on, while that goes wrong."""
    stage.services_fail = True
    talk = _Talk(stage)
    await stage.faults(**faults)
    async with asyncio.timeout(stage.patience_s):
        await talk.insist("m1")
        old = await talk.edit("m2", "m1")
        new = await talk.insist("m2", talk.again(old))
        await stage.faults()
        last = await talk.insist("m3")
    shown, every = await talk.turns(), await talk.turns("?replaced=true")
    if [turn["reply"]["id"] for turn in shown] != [new.id, last.id]:
        stage.flaws.append(f"other turns are shown: {shown}")
    if [turn["id"] for turn in every] != ["m1", "m2", "m2", "m3"] or every[1]["reply"]["id"] != old.id:
        stage.flaws.append(f"what was replaced is lost, or was answered twice: {every}")
    if {turn["reply"]["status"] for turn in every} != {"complete"}:
        stage.flaws.append("a reply has no end")
    stage.flaws += talk.flaws_of_model(["m2", "m3"])


@dataclass
class _Talk:
    """A conversation in which each wish comes from a device of its own."""

    stage: Stage

    def __post_init__(self) -> None:
        self.conversation = f"replaced {uuid4().hex}"

    def prompt(self, message: str) -> str:
        return f"{message} of {self.conversation}"

    def text(self, message: str) -> str:
        return f"Reply to {self.prompt(message)}. " * 9

    def again(self, reply: Assembly) -> Frame:
        return {"action": "regenerate", "reply": reply.id}

    async def edit(self, message: str, replaces: str) -> Assembly:
        said = {"id": message, "conversation": self.conversation, "content": self.prompt(message)}
        return await self.insist(message, {"action": "edit", "replaces": replaces, **said})

    async def insist(self, message: str, instead: Frame | None = None) -> Assembly:
        """Say a message, or the frame `instead` of it, until its reply is whole."""
        relay = self.stage.relay
        relay.plays(self.prompt(message), script(self.text(message), 30, 0.02))
        door = relay.websocket, relay.key, self.conversation
        frames = {message: instead} if instead else {}
        said = {message: self.prompt(message)}
        device = Sender(said, *door, frozenset(said), None, {}, self.stage.random, instead=frames)
        await device.follow()
        reply = device.current.get(message, Assembly(message))
        self.stage.flaws += device.breaches
        if device.contradictions or device.rivals:
            self.stage.flaws.append(f"{message} has two answers in one")
        if reply.proof is None or not reply.proved_by(reply.proof) or reply.text != BEFORE + self.text(message):
            self.stage.flaws.append(f"{message} has no whole answer: {device.refusal or reply}")
        return reply

    async def turns(self, query: str = "") -> list[Any]:
        """The turns that HTTP shows."""
        relay = self.stage.relay
        target = f"/api/conversations/{quote(self.conversation, safe='')}/messages{query}"
        async with httpx.AsyncClient(headers={"X-API-Key": relay.key}, timeout=PATIENCE_S) as http:
            answer = (await http.get(f"http://{relay.address}{target}")).json()
        self.stage.flaws += faults_of_answer("GET", target, httpx.codes.OK, answer)
        return list(answer["turns"])

    def flaws_of_model(self, path: list[str]) -> list[str]:
        """What is wrong with what the model was told at last, if `path` are the messages that led there."""
        *before, last = path
        told = self.stage.relay.requests_for(self.prompt(last))[-1].body["messages"]
        said = [block["text"] for message in told for block in message["content"] if block["type"] == "text"]
        meant = [text for message in before for text in (self.prompt(message), self.text(message))]
        return [] if said == [*meant, self.prompt(last)] else [f"the model was told something else: {said}"]
