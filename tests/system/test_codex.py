"""Codex all the way: the gateway, the functions, the sidecar, and a BridgeHub that is a real Node script.

What is answered by HTTP, resumed, cancelled and broken off, the recorded session has (``scenes.codex``).
"""

import pytest

from tests.builders.deployments import Relay
from tests.builders.phone import Phone, assembled, proves
from tests.infra.bridgehub.sidecars import needs_node

pytestmark = needs_node
LONG = "漢字 😀 text. " * 13_000


@pytest.fixture
def relay(relay_with_codex: Relay) -> Relay:
    return relay_with_codex


async def test_an_answer_of_200_kb_streams_through_and_is_resumed(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        frames = await phone.ask("long 13000", id="m1", conversation=conversation, agent="codex")
    assert len(LONG.encode()) > 200_000
    assert assembled(frames) == LONG
    assert proves(frames[-1], LONG)
    assert {type(count) for count in frames[-1]["usage"].values()} == {int}

    offset = 2_000
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "resume", "reply": frames[0]["reply"], "offset": offset})
        rest = await phone.hear_until(lambda frame: frame["type"] == "complete")
    assert assembled(rest, since=offset) == LONG.encode("utf-16-le")[2 * offset :].decode("utf-16-le")


async def test_what_bridgehub_cannot_say_is_told_as_no_answer(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for scene in ("garbage", "die"):
            *frames, error = await phone.ask(scene, id=scene, conversation=conversation, agent="codex")
            told = ("error", "upstream", "BridgeHub gave something that is no answer.")
            assert (error["type"], error["code"], error["content"]) == told, scene
            assert assembled(frames) == "", scene
