"""The existing iOS app, unchanged, against the relay."""

import asyncio
import json

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from infra.local.script import answer, fail_after
from tests.conftest import Relay
from tests.end_to_end.builderos import RENDER_S, App

FAST = "Grüße 👩‍👩‍👧‍👦, 你好! " * 60


def app(relay: Relay, **options: str | bool) -> App:
    return App(f"http://{relay.address}", relay.key, **options)  # type: ignore[arg-type]


def frame(kind: str, content: str) -> str:
    return json.dumps({"type": kind, "content": content, "timestamp": "2026-01-01T00:00:00Z"})


async def test_the_copy_loses_text_like_the_app_when_frames_come_too_close() -> None:
    copy = App("", "")
    for piece in ("one ", "two ", "three"):
        copy.receive(frame("message", piece))
    await asyncio.sleep(2 * RENDER_S)
    assert copy.shown == "three"
    copy.receive(frame("message", ", four"))
    copy.receive(frame("complete", ""))
    assert copy.saved == ["three"]


async def test_every_character_of_a_fast_reply_is_shown(relay: Relay, conversation: str) -> None:
    relay.plays("fast", answer(FAST, delta_chars=3, pause_s=0.001))
    async with app(relay, session=conversation) as phone:
        assert await phone.reply_to("fast") == FAST
        assert await phone.reply_to("again") == "Yes."
    assert phone.errors == []
    assert phone.unknown == ["typing", "typing"]


async def test_thinking_is_neither_sent_to_the_app_nor_in_its_way(relay: Relay, conversation: str) -> None:
    relay.plays("think", answer(FAST, thinking="Hm. " * 200, delta_chars=3, pause_s=0.001))
    async with app(relay, session=conversation) as phone:
        assert await phone.reply_to("think") == FAST
    assert phone.errors == []
    assert phone.unknown == ["typing"]


@pytest.mark.parametrize("sends_configuration", [True, False], ids=["newer app", "older app"])
@pytest.mark.parametrize("agent", ["claude", "codex"])
async def test_the_handshake_ends_ready(relay: Relay, agent: str, *, sends_configuration: bool) -> None:
    async with app(relay, agent=agent, sends_configuration=sends_configuration) as phone:
        await asyncio.wait_for(phone.ready.wait(), 25)
    assert phone.errors == []
    assert phone.connections == 1


async def test_a_tab_is_a_conversation(relay: Relay, conversation: str) -> None:
    async with app(relay, session=conversation) as phone, app(relay, session=f"{conversation} 2") as other:
        await phone.reply_to("the first")
        await other.reply_to("elsewhere")
        await phone.reply_to("the second")
    first, second = (relay.requests_for(text)[-1].body["messages"] for text in ("the first", "the second"))
    assert [turn["content"][0]["text"] for turn in second] == ["the first", "Yes.", "the second"]
    assert second[0] == first[0]


async def test_codex_says_clearly_that_it_is_not_there_yet(relay: Relay) -> None:
    async with app(relay, agent="codex") as phone:
        assert await phone.reply_to("hello") == "Codex is not connected to this relay yet."


async def test_a_reply_that_breaks_off_is_shown_as_an_error(relay: Relay) -> None:
    relay.plays("break", fail_after("Half of it"))
    async with app(relay) as phone:
        assert await phone.reply_to("break") == "Claude is very busy at the moment."
        assert await phone.reply_to("still there?") == "Yes."


async def test_a_wrong_key_is_told_and_the_socket_closed(relay: Relay) -> None:
    async with connect(f"ws://{relay.address}/api/claude/ws") as socket:
        await socket.send("crk_wrong")
        assert await socket.recv() == "error:invalid_api_key"
        with pytest.raises(ConnectionClosed):
            await socket.recv()


@pytest.mark.parametrize("key", ["", "x" * 10_000, "authenticated", "crk_👩"], ids=["empty", "long", "word", "emoji"])
async def test_what_is_no_key_is_a_wrong_key(relay: Relay, key: str) -> None:
    async with connect(f"ws://{relay.address}/api/claude/ws") as socket:
        await socket.send(key)
        assert await socket.recv() == "error:invalid_api_key"


async def test_no_frame_of_the_handshake_names_a_working_directory(relay: Relay) -> None:
    async with connect(f"ws://{relay.address}/api/claude/ws") as socket:
        await socket.send(relay.key)
        authenticated, ready = str(await socket.recv()), str(await socket.recv())
        await socket.send('{"working_directory": "/Users/me"}')
        again = str(await socket.recv())
    assert authenticated == "authenticated"
    for text in (ready, again):
        assert json.loads(text)["type"] == "ready"
        assert "working_directory" not in text


async def test_the_app_comes_back_after_a_close(relay: Relay) -> None:
    async with app(relay) as phone:
        await phone.reply_to("before")
        assert phone.socket is not None
        await phone.socket.send(b"API Gateway closes a socket that carries bytes")
        await asyncio.sleep(0.5)
        assert not phone.ready.is_set()
        await phone.reply_to("after")
    assert phone.connections == 2
    assert phone.saved == ["Yes.", "Yes."]


async def test_health_counts_the_open_connections(relay: Relay) -> None:
    async with httpx.AsyncClient(base_url=f"http://{relay.address}") as http:
        before = (await http.get("/api/health")).json()["connections"]
        async with app(relay) as one, app(relay, agent="codex") as other:
            await asyncio.wait_for(asyncio.gather(one.ready.wait(), other.ready.wait()), 30)
            response = await http.get("/api/health")
        health = response.json()
    assert response.status_code == 200
    assert (health["status"], health["version"]) == ("ok", "1.0.0")
    assert health["timestamp"].startswith("20")
    assert health["connections"] == {"claude": before["claude"] + 1, "codex": before["codex"] + 1}


@pytest.mark.parametrize(
    ("headers", "status"), [({}, 200), ({"X-API-Key": "crk_wrong"}, 401)], ids=["no key", "wrong key"]
)
def test_status_needs_no_key_but_refuses_a_wrong_one(relay: Relay, headers: dict[str, str], status: int) -> None:
    response = httpx.get(f"http://{relay.address}/api/status", headers=headers)
    assert response.status_code == status
    if status == 401:
        assert response.json() == {"error": "Invalid API key", "code": "unauthorized"}


def test_status_with_the_key(relay: Relay) -> None:
    status = httpx.get(f"http://{relay.address}/api/status", headers={"X-API-Key": relay.key}).json()
    assert {name: status[name] for name in ("status", "version", "health")} == {
        "status": "running",
        "version": "1.0.0",
        "health": "ok",
    }
