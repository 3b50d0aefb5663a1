"""The deployment with Codex, as its user and its operator see it: the sidecar, and a BridgeHub that is a Node script.

What is answered by HTTP, resumed, cancelled and broken off, the recorded session has (``scenes.codex``). The terminal
is read here because nothing else runs without ``--verbose``.
"""

import json
from pathlib import Path

import pytest

from emulator.stand_ins.script import answer, refuse
from tests.builders.builderos import AGENTS, app
from tests.builders.deployments import Relay
from tests.builders.phone import Phone, assembled, proves
from tests.infra.bridgehub.sidecars import eventually, gone, needs_node, stayers
from tests.system import scenes
from tests.system.comparison import compare, played
from tests.system.conftest import environment, table_of
from tests.system.pushes import pushes_to
from tests.system.recorder import Recorder

pytestmark = needs_node
LONG = "漢字 😀 text. " * 13_000
STORY = "Es war einmal ein Relais, das nichts verlor. " * 5
PNG = b"\x89PNG\r\n\x1a\na picture"


@pytest.fixture
def relay(relay_with_codex: Relay) -> Relay:
    return relay_with_codex


async def test_clients_of_codex_see_what_was_recorded(relay: Relay, codex_folder: Path) -> None:
    worker = environment(relay)
    async with Recorder(relay, worker, table_of(worker), "codex") as it:
        seen = await played(it, scenes.codex)
    await gone(await stayers(codex_folder))
    compare("codex", seen)


async def test_a_day_with_the_app(relay: Relay, conversation: str) -> None:
    """Every HTTP call that it makes, both chats, a picture, and a push for every reply."""
    token = "f0" * 32
    relay.plays("Tell me a story", answer(STORY, delta_chars=5, pause_s=0.001))
    claude, codex = (app(relay, agent=agent, session=f"{conversation} {agent}") for agent in AGENTS)
    assert (await claude.health())["status"] == "ok"
    assert (await claude.status())["status"] == "running"
    assert (await claude.register(token))["success"] is True
    async with claude, codex:
        assert await claude.reply_to("Tell me a story") == STORY
        picture = await claude.upload("photo.png", "image/png", PNG)
        assert (await claude.download(picture["url"]), picture["size"]) == (PNG, len(PNG))
        assert await claude.reply_to("What is this?", [picture]) == "Yes."
        assert await claude.reply_to("Are you sure?") == "Yes."
        assert await codex.reply_to("say Good 早上") == "Good 早上"
        told = json.loads(await codex.reply_to("request"))["payload"]
        for chat in (claude, codex):
            closed = await chat.close_session()
            assert (closed["ok"], closed["session_id"]) == (True, chat.session)
    assert (claude.errors, codex.errors) == ([], [])

    asked = relay.requests_for("Are you sure?")[-1].body["messages"]
    kinds = [(turn["role"], [block["type"] for block in turn["content"]]) for turn in asked]
    assistant = ("assistant", ["text"])
    assert kinds == [("user", ["text"]), assistant, ("user", ["image", "text"]), assistant, ("user", ["text"])]
    assert told["message"] == "request"
    assert json.loads(told["context"][0]["content"]) == [
        {"role": "user", "content": "say Good 早上"},
        {"role": "assistant", "content": "Good 早上"},
    ]
    previews = [("Claude", f"{STORY[:100]}..."), ("Claude", "Yes."), ("Claude", "Yes."), ("Codex", "Good 早上")]
    previews.append(("Codex", codex.saved[-1][:100] + "..."))
    pushes = await pushes_to(relay, token, len(previews))
    assert sorted((push["sender"], push["preview"]) for push in pushes) == sorted(previews)
    for push in pushes:
        ours = {name: push[name] for name in ("conversation", "reply")}
        alert = {"title": f"New message from {push['sender']}", "body": push["preview"]}
        theirs = {"type": "new_message", "sender": push["sender"], "preview": push["preview"]}
        assert push == {"aps": {"alert": alert, "sound": "default", "badge": 1}, **theirs, **ours}


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


# --- its terminal ---


async def told_of(relay: Relay, prompt: str, conversation: str) -> list[str]:
    """The lines about the reply to `prompt`, and whatever else came meanwhile but the starts of functions."""
    began = len(relay.log)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask(prompt, id="m1", conversation=conversation)
    await eventually(lambda: any("closed" in line for line in relay.log[began:]))
    await eventually(lambda: any("  reply " in line for line in relay.log[began:]))
    return [line for line in relay.log[began:] if not line.endswith(("  cold", "open on v1")) and "closed" not in line]


async def test_a_reply_is_one_line(relay: Relay, conversation: str) -> None:
    relay.plays("Go on for long", answer("A word. " * 200, delta_chars=80))
    (line,) = await told_of(relay, "Go on for long", conversation)
    assert "reply complete: 1,600 characters in " in line


async def test_a_key_that_is_refused_is_one_line_that_says_what_to_do(relay: Relay, conversation: str) -> None:
    relay.plays("Refuse me", refuse(401, message="invalid x-api-key\n\x1b[2J"))
    (line,) = await told_of(relay, "Refuse me", conversation)
    assert "reply failed (401): Anthropic refused the key of this relay. Check ANTHROPIC_API_KEY and start" in line
    assert line.endswith('Its service said: "invalid x-api-key\\n\\x1b[2J"')


def test_what_is_kept_is_said(relay: Relay) -> None:
    assert any(line.startswith("Kept in memory only, and gone when this ends: ") for line in relay.log)
