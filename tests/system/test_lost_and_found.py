"""A reply that was lost sight of is found again: while it is written, when it has ended, when its worker has died."""

import asyncio
import time
from typing import Any

import pytest

from emulator.stand_ins.script import answer, cut_after, stall_after
from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import Frame, Phone, assembled, proves

STORY = "Es war einmal 👩‍👩‍👧‍👦 你好. " * 40


def is_text(frame: Frame) -> bool:
    return bool(frame["type"] == "message")


def has_ended(frame: Frame) -> bool:
    return frame["type"] in ("complete", "error")


async def begin(relay: Relay, phone: Phone, prompt: str, conversation: str, script: Any) -> str:
    """Asks, and hears the first text; the reply's id."""
    relay.plays(prompt, script)
    await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": prompt})
    heard = await phone.hear_until(is_text)
    return str(heard[0]["reply"])


async def resume(phone: Phone, **fields: Any) -> list[Frame]:
    await phone.say({"action": "resume", **fields})
    return await phone.hear_until(has_ended)


@pytest.mark.parametrize("by", ["reply", "conversation"])
async def test_a_reply_that_is_being_written_goes_on_where_the_client_lost_it(
    relay: Relay, conversation: str, by: str
) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        script = answer(STORY, delta_chars=9, pause_s=0.02)
        reply = await begin(relay, phone, f"go on {by}", conversation, script)
        await phone.hear()
        has = assembled(phone.frames)
    offset = len(has.encode("utf-16-le")) // 2
    async with Phone.connected(relay.websocket, relay.key) as phone:
        named = {"reply": reply} if by == "reply" else {"conversation": conversation}
        resumed, *rest = await resume(phone, offset=offset, **named)
    assert (resumed["type"], resumed["reply"], resumed["offset"]) == ("resumed", reply, offset)
    assert rest[0]["offset"] == offset
    assert has + assembled(rest, since=offset) == STORY
    assert proves(rest[-1], STORY)


@pytest.mark.parametrize("offset", [0, 13, 16, 10**9], ids=["beginning", "middle", "inside a pair", "beyond"])
async def test_a_reply_that_has_ended_is_sent_from_any_offset(relay: Relay, conversation: str, offset: int) -> None:
    relay.plays("ended", answer(STORY))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        *_, complete = await phone.ask("ended", id="m1", conversation=conversation)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        _, *texts, end = await resume(phone, reply=complete["reply"], offset=offset)
    units = STORY.encode("utf-16-le")
    begin = texts[0]["offset"] if texts else len(units) // 2
    assert begin <= offset
    assert assembled(texts, since=begin) == units[2 * begin :].decode("utf-16-le")
    assert {name: end[name] for name in complete if name != "timestamp"} == {
        name: value for name, value in complete.items() if name != "timestamp"
    }


async def test_hello_names_the_reply_that_is_being_written(relay: Relay, conversation: str) -> None:
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        reply = await begin(relay, phone, "active", conversation, answer(STORY, delta_chars=9, pause_s=0.02))
        await other.say({"action": "hello", "conversation": conversation})
        ready = await other.hear()
        await phone.hear_until(has_ended)
        later = ready
        async with asyncio.timeout(PATIENCE_S):
            while later.get("active") is not None:  # its writer has the lease until all its readers have everything
                await phone.say({"action": "hello", "conversation": conversation})
                later = await phone.hear()
    assert (ready["type"], ready["active"]) == ("ready", reply)
    assert (later["type"], later.get("active")) == ("ready", None)


async def test_a_broken_reply_is_sent_with_its_error(relay: Relay, conversation: str) -> None:
    relay.plays("broken", cut_after("Half"))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        *_, error = await phone.ask("broken", id="m1", conversation=conversation)
        _, text, again = await resume(phone, conversation=conversation, offset=0)
    assert (text["content"], again["code"], again["content"]) == ("Half", "upstream", error["content"])


async def test_somebody_elses_reply_and_no_reply_are_the_same(relay: Relay) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for action in ("resume", "cancel"):
            await phone.say({"action": action, "reply": "0123456789abcdef"})
            error = await phone.hear()
            assert (error["code"], error["content"]) == ("forbidden", "There is no such reply.")


async def test_cancel_stops_the_model_and_keeps_what_was_written(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        reply = await begin(relay, phone, "enough", conversation, stall_after("That is all"))
        await phone.say({"action": "cancel", "reply": reply})
        asked_s = time.monotonic()
        *_, complete = await phone.hear_until(has_ended)
        [upstream] = relay.requests_for("enough")
        await phone.ask("and then?", id="m2", conversation=conversation)
    assert (complete["type"], complete["stop_reason"]) == ("complete", "cancelled")
    assert proves(complete, "That is all")
    assert not upstream.finished
    assert upstream.closed_at - asked_s < 2, "0.5 s to the heartbeat, and a slow machine"
    said = relay.requests_for("and then?")[-1].body["messages"][1]
    assert said == {"role": "assistant", "content": [{"type": "text", "text": "That is all"}]}


async def test_cancel_of_a_reply_that_has_ended_changes_nothing(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        *_, complete = await phone.ask("short", id="m1", conversation=conversation)
        await phone.say({"action": "cancel", "reply": complete["reply"]})
        await phone.say({"action": "ping"})
        assert (await phone.hear())["type"] == "pong"
        *_, again = await resume(phone, reply=complete["reply"], offset=0)
    assert again["stop_reason"] == "end_turn"


async def test_what_a_dead_worker_had_written_is_kept(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        script = answer(STORY, delta_chars=9, pause_s=0.05)
        reply = await begin(relay, phone, "die later", conversation, script)
        await asyncio.sleep(2)
        for worker in relay.workers("message"):
            worker.kill()
        heard = await phone.hear_until(has_ended)
        _, *texts, error = await resume(phone, reply=reply, offset=0)
    kept = assembled(texts)
    assert (heard[-1]["code"], error["code"], error["retryable"]) == ("interrupted", "interrupted", True)
    assert len(kept) > 50
    assert STORY.startswith(kept)
