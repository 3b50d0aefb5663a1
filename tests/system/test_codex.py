"""Codex all the way: the gateway, the functions, the sidecar, and a BridgeHub that is a real Node script."""

from pathlib import Path

import pytest

from tests.builders.deployments import Relay
from tests.builders.phone import ENDS, Phone, assembled, proves
from tests.infra.bridgehub.sidecars import gone, needs_node, stayers
from tests.system.test_one_by_one import post

pytestmark = needs_node
LONG = "漢字 😀 text. " * 13_000


@pytest.fixture
def relay(relay_with_codex: Relay) -> Relay:
    return relay_with_codex


async def test_an_answer_of_200_kb_streams_through(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        frames = await phone.ask("long 13000", id="m1", conversation=conversation, agent="codex")
    assert len(LONG.encode()) > 200_000
    assert assembled(frames) == LONG
    assert proves(frames[-1], LONG)
    assert {type(count) for count in frames[-1]["usage"].values()} == {int}


async def test_an_answer_of_codex_is_resumed(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        frames = await phone.ask("long 13000", id="m1", conversation=conversation, agent="codex")
    offset = 2_000
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "resume", "reply": frames[0]["reply"], "offset": offset})
        rest = await phone.hear_until(lambda frame: frame["type"] == "complete")
    assert assembled(rest, since=offset) == LONG.encode("utf-16-le")[2 * offset :].decode("utf-16-le")


async def test_a_message_for_codex_by_http_is_answered(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "hello", "conversation": conversation})
        await phone.hear()
        posted = await post(relay, conversation, id="m1", content="say By HTTP", agent="codex")
        heard = await phone.hear_until(lambda frame: frame["type"] in ("complete", "error"))
    assert posted.status_code == 202
    assert assembled(heard) == "By HTTP"


async def test_what_goes_wrong_at_bridgehub_is_told_and_the_text_before_it_kept(
    relay: Relay, conversation: str
) -> None:
    scenes = {
        "refuse": ("", "BridgeHub could not answer: codex_unavailable"),
        "garbage": ("", "BridgeHub gave something that is no answer."),
        "die": ("", "BridgeHub gave something that is no answer."),
        "answerAndExit": ("So far", "BridgeHub ended with exit code 3."),
    }
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for scene, (kept, sentence) in scenes.items():
            *frames, error = await phone.ask(scene, id=scene, conversation=conversation, agent="codex")
            assert (error["type"], error["code"], error["content"]) == ("error", "upstream", sentence)
            assert assembled(frames) == kept


async def test_an_answer_that_is_being_written_is_resumed_and_cancelled_like_claudes(
    relay: Relay, conversation: str, codex_folder: Path
) -> None:
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        said = {"action": "send", "id": "m1", "conversation": conversation, "content": "answerAndStay"}
        await phone.say({**said, "agent": "codex"})
        heard = await phone.hear_until(lambda frame: frame["type"] == "message")
        running = await stayers(codex_folder)
        await other.say({"action": "resume", "reply": heard[-1]["reply"], "offset": 3})
        resumed = await other.hear_until(lambda frame: frame["type"] == "message")
        await phone.say({"action": "cancel", "reply": heard[-1]["reply"]})
        ends = [(await each.hear_until(lambda frame: frame["type"] in ENDS))[-1] for each in (phone, other)]
        await gone(running)
    assert assembled(resumed, since=3) == "far"
    assert [(end["stop_reason"], proves(end, "So far")) for end in ends] == [("cancelled", True)] * 2
