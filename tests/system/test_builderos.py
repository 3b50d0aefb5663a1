"""The existing iOS app, unchanged, against the relay.

What the relay says to it, right and wrong, the recorded session has (``scenes.builderos``): here it is what it shows.
"""

import asyncio
import json
import re
from itertools import pairwise

import pytest

from emulator.stand_ins.script import answer, fail_after
from tests.builders.builderos import AGENTS, RENDER_S, App, app
from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S

FAST = "Grüße 👩‍👩‍👧‍👦, 你好! " * 100


POST = re.compile(r"(\d\d):(\d\d):(\d\d\.\d\d\d)  (\S+) +← post ")


def gaps_s(log: list[str]) -> list[float]:
    """The seconds between the posts to the one connection to which there were any, by the gateway's clock."""
    found = [posted.groups() for line in log if (posted := POST.match(line))]
    assert len({connection for *_, connection in found}) == 1
    posted_s = [int(hours) * 3600 + int(minutes) * 60 + float(seconds) for hours, minutes, seconds, _ in found]
    return [(late - early) % 86_400 for early, late in pairwise(posted_s)]


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"type": None},
        {"content": 7},
        {"timestamp": None},
        {"usage": []},
        {"usage": {"input_tokens": 1.5}},
        {"usage": {"cached_input_tokens": "1"}},
        {"usage": {"output_tokens": True}},
    ],
    ids=str,
)
def test_the_copy_refuses_a_frame_as_the_app_does(wrong: dict[str, object]) -> None:
    copy = App("", "")
    right = {"type": "complete", "content": "", "timestamp": "2026-01-01T00:00:00Z", "usage": {"input_tokens": None}}
    assert copy.decode(json.dumps(right)) == right
    assert copy.decode(json.dumps({**right, **wrong})) is None
    assert copy.errors == ["Error: Invalid message format"]


async def test_every_character_of_a_fast_reply_can_be_shown_and_its_thinking_is_not_in_the_way(
    relay: Relay, conversation: str
) -> None:
    relay.plays("fast", answer(FAST, thinking="Hm. " * 20, delta_chars=3, pause_s=0.001))
    async with app(relay, session=conversation) as phone:
        await phone.ready.wait()
        begun = len(relay.log)
        assert await phone.reply_to("fast") == FAST
        told = relay.log[begun:]
        assert await phone.reply_to("again") == "Yes."
    assert phone.errors == []
    assert phone.unknown == ["typing", "typing"]
    rendered = gaps_s(told)[1:]  # `typing` is nothing to render
    assert len(rendered) > 3
    assert min(rendered) > RENDER_S


async def test_the_handshake_ends_ready_for_newer_and_older_apps_of_both_agents(relay: Relay) -> None:
    """At once, unless a function starts more slowly than the app waits."""
    for options in [{"agent": agent, "sends_configuration": sends} for agent in AGENTS for sends in (True, False)]:
        async with app(relay, **options) as phone:
            async with asyncio.timeout(PATIENCE_S):
                await phone.ready.wait()
        assert phone.errors == [], options


async def test_a_tab_is_a_conversation(relay: Relay, conversation: str) -> None:
    async with app(relay, session=conversation) as phone, app(relay, session=f"{conversation} 2") as other:
        await phone.reply_to("the first")
        await other.reply_to("elsewhere")
        await phone.reply_to("the second")
    first, second = (relay.requests_for(text)[-1].body["messages"] for text in ("the first", "the second"))
    assert [turn["content"][0]["text"] for turn in second] == ["the first", "Yes.", "the second"]
    assert second[0] == first[0]


async def test_a_reply_that_breaks_off_is_shown_as_an_error(relay: Relay) -> None:
    relay.plays("break", fail_after("Half of it"))
    async with app(relay) as phone:
        assert await phone.reply_to("break") == "Claude is very busy at the moment."
        assert await phone.reply_to("still there?") == "Yes."


async def test_the_app_comes_back_after_a_close(relay: Relay) -> None:
    async with app(relay) as phone:
        await phone.reply_to("before")
        assert phone.socket is not None
        before = phone.connections
        await phone.socket.send(b"API Gateway closes a socket that carries bytes")
        while phone.ready.is_set():  # noqa: ASYNC110 -- only its end is an event
            await asyncio.sleep(0.02)
        await phone.reply_to("after")
    assert phone.connections > before
    assert phone.saved == ["Yes.", "Yes."]


async def test_health_counts_the_open_connections(relay: Relay) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while (await app(relay).health())["connections"] != {"claude": 0, "codex": 0}:  # noqa: ASYNC110
            await asyncio.sleep(0.1)  # until those of earlier tests are heard to have closed
        async with app(relay) as one, app(relay, agent="codex") as other, app(relay) as another:
            await asyncio.gather(one.ready.wait(), other.ready.wait(), another.ready.wait())
            health = await one.health()
    assert health["connections"] == {"claude": 2, "codex": 1}
    assert (health["status"], health["version"]) == ("ok", "1.0.0")
    assert health["timestamp"].startswith("20")
