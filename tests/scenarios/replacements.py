"""Scenarios in which what was said is replaced: each wish is granted once, and nothing that was replaced is lost."""

import asyncio
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from websockets.exceptions import WebSocketException

from emulator.stand_ins.script import answer
from tests.builders.deployments import Relay
from tests.builders.phone import Frame, Phone, trimmed
from tests.scenarios.deaths import MOMENTS, WORKER
from tests.scenarios.stage import Stage

EDIT, AGAIN = '"edit"', '"regenerate"'


async def what_was_said_is_replaced(stage: Stage) -> None:
    """Events are delivered twice and workers die, at any call. Whoever has no answer asks again, as a client does."""
    nth = sorted(stage.random.sample(range(1, 40), 3))
    await stage.faults(
        events=[{"do": "repeat", **WORKER, "contains": each, "nth": 1} for each in (EDIT, AGAIN)],
        workers=[{"do": "kill_at_call", **WORKER, "nth": nth, "moment": stage.random.choice(MOMENTS)}],
    )
    talk = _Talk(stage.relay, f"replaced {uuid4().hex}")
    first, second, third = (f"{word} of {talk.conversation}" for word in ("Wrong", "Right", "Last"))
    for prompt in (first, second, third):
        talk.relay.plays(prompt, answer(f"Reply to {prompt}. " * 9, delta_chars=30, pause_s=0.02))
    async with asyncio.timeout(stage.patience_s):
        await talk.insist({"action": "send", "id": "m1", "content": first}, "m1", first)
        edit = {"action": "edit", "id": "m2", "replaces": "m1", "content": second}
        old = await talk.insist(edit, "m2", second)
        new = await talk.insist({"action": "regenerate", "reply": old["reply"]}, "m2", second)
        await stage.faults()
        last = await talk.insist({"action": "send", "id": "m3", "content": third}, "m3", third)
    stage.flaws += await _flaws(talk, old, new, last, [first, second, third])


class _Talk:
    """A conversation on one connection after the other."""

    def __init__(self, relay: Relay, conversation: str) -> None:
        self.relay = relay
        self.conversation = conversation

    async def insist(self, frame: dict[str, Any], message: str, prompt: str) -> Frame:
        """Ask until the reply to `message` is complete. One that broke off is asked for by its message's id."""
        while True:
            try:
                last = await self._ask({**frame, "conversation": self.conversation}, message, prompt)
            except (WebSocketException, OSError):
                continue
            if last["type"] == "complete":
                return last
            if "reply" in last:
                frame = {"action": "send", "id": message, "content": prompt}

    async def _ask(self, frame: dict[str, Any], message: str, prompt: str) -> Frame:
        async with Phone.connected(self.relay.websocket, self.relay.key) as phone:
            await phone.say(frame)
            reply = None
            while True:
                heard = await phone.hear()
                reply = heard["reply"] if heard.get("id") == message and "reply" in heard else reply
                if heard["type"] == "error" or (heard["type"] == "complete" and heard["reply"] == reply):
                    if heard["type"] == "complete" and trimmed(_of(phone.frames, reply)) != f"Reply to {prompt}. " * 9:
                        raise AssertionError(f"another text: {heard}")
                    return heard


def _of(frames: list[Frame], reply: str | None) -> list[Frame]:
    return [frame for frame in frames if frame.get("reply") == reply]


async def _flaws(talk: _Talk, old: Frame, new: Frame, last: Frame, prompts: list[str]) -> list[str]:
    _, second, third = prompts
    url = f"http://{talk.relay.address}/api/conversations/{quote(talk.conversation, safe='')}/messages"
    async with httpx.AsyncClient(headers={"X-API-Key": talk.relay.key}, timeout=60) as http:
        shown = (await http.get(url)).json()["turns"]
        every = (await http.get(f"{url}?replaced=true")).json()["turns"]
    flaws = []
    if [turn["reply"]["id"] for turn in shown] != [new["reply"], last["reply"]]:
        flaws.append(f"other turns are shown: {shown}")
    if [turn["id"] for turn in every] != ["m1", "m2", "m2", "m3"] or every[1]["reply"]["id"] != old["reply"]:
        flaws.append(f"what was replaced is lost, or was answered twice: {every}")
    if {turn["reply"]["status"] for turn in every} != {"complete"}:
        flaws.append("a reply has no end")
    told = talk.relay.requests_for(third)[-1].body["messages"]
    said = [block["text"] for message in told for block in message["content"]]
    if said != [second, f"Reply to {second}. " * 9, third]:
        flaws.append(f"the model was told something else: {said}")
    return flaws
