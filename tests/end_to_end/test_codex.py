"""Codex all the way: the app, the gateway, the functions, the sidecar, and a BridgeHub that is a real Node script."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Relay
from tests.end_to_end.builderos import App
from tests.end_to_end.phone import Phone, assembled, proves
from tests.end_to_end.test_one_by_one import post
from tests.infra.bridgehub.sidecars import BRIDGEHUB, TOKEN, gone, needs_node, starting, stayers

pytestmark = needs_node
LONG = "漢字 😀 text. " * 13_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("codex")


@pytest.fixture(scope="module")
def relay(start_relay: Callable[..., Relay], folder: Path) -> Iterator[Relay]:
    with starting(folder) as start:
        hub = {"CodexBackend": "bridgehub", "BridgeHubUrl": start(*BRIDGEHUB).url, "BridgeHubWorkingDirectory": folder}
        options = [word for name, value in hub.items() for word in ("--parameter", f"{name}={value}")]
        yield start_relay(*options, BRIDGEHUB_TOKEN=TOKEN)


async def test_the_app_talks_to_codex_unchanged(relay: Relay, conversation: str) -> None:
    async with App(f"http://{relay.address}", relay.key, agent="codex", session=conversation) as app:
        assert await app.reply_to("say Good 早上") == "Good 早上"
        assert "say Good 早上" in await app.reply_to("request")
    assert app.errors == []


async def test_an_answer_of_200_kb_streams_through(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        frames = await phone.ask("long 13000", id="m1", conversation=conversation, agent="codex")
    assert len(LONG.encode()) > 200_000
    assert assembled(frames) == LONG
    assert proves(frames[-1], LONG)


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


async def test_cancelling_ends_the_command_at_the_other_end(relay: Relay, conversation: str, folder: Path) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        said = {"action": "send", "id": "m1", "conversation": conversation, "content": "answerAndStay"}
        await phone.say({**said, "agent": "codex"})
        heard = await phone.hear_until(lambda frame: frame["type"] == "message")
        running = await stayers(folder)
        await phone.say({"action": "cancel", "reply": heard[-1]["reply"]})
        end = await phone.hear_until(lambda frame: frame["type"] in ("complete", "error"))
        await gone(running)
    assert end[-1]["stop_reason"] == "cancelled"
