"""Messages to a conversation that is being answered, and messages that are too long for a frame."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from emulator.stand_ins.script import answer
from tests.builders.deployments import Relay
from tests.builders.phone import Frame, Phone, assembled, proves

LONG = "字" * 100_000


def completes(count: int) -> Callable[[Frame], bool]:
    """Whether so many replies have ended."""
    ended: list[Frame] = []

    def heard(frame: Frame) -> bool:
        if frame["type"] in ("complete", "error"):
            ended.append(frame)
        return len(ended) == count

    return heard


def typing_for(message_id: str) -> Callable[[Frame], bool]:
    """Whether the message is accepted."""
    return lambda frame: bool(frame["type"] == "typing" and frame["id"] == message_id)


async def post(relay: Relay, conversation: str, key: str | None = None, **fields: Any) -> httpx.Response:
    url = f"http://{relay.address}/api/conversations/{conversation}/messages"
    async with httpx.AsyncClient(headers={"X-API-Key": relay.key if key is None else key}, timeout=30) as client:
        return await client.post(url, json=fields)


async def test_messages_sent_at_once_are_answered_one_after_the_other(relay: Relay, conversation: str) -> None:
    prompts = [f"{conversation} {number}" for number in range(4)]
    for prompt in prompts:
        relay.plays(prompt, answer(f"To {prompt}.", delta_chars=3, pause_s=0.1))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for number, prompt in enumerate(prompts):
            await phone.say({"action": "send", "id": f"m{number}", "conversation": conversation, "content": prompt})
            await phone.hear_until(typing_for(f"m{number}"))
        await phone.hear_until(lambda _: sum(frame["type"] == "complete" for frame in phone.frames) == 4)
    heard = phone.frames
    ends = [frame for frame in heard if frame["type"] == "complete"]
    begun = [frame for frame in heard if frame["type"] == "typing" and frame["epoch"]]
    assert [frame["reply"] for frame in begun] == [frame["reply"] for frame in ends]
    assert [frame["epoch"] for frame in ends] == [1, 2, 3, 4]
    for start, end in zip(begun, ends, strict=True):
        text = f"To {prompts[int(start['id'][1:])]}."
        assert assembled([frame for frame in heard if frame.get("reply") == end["reply"]]) == text
        assert proves(end, text)
    asked = [len(relay.requests_for(prompts[int(start["id"][1:])])[0].body["messages"]) for start in begun]
    assert asked == [1, 3, 5, 7], "each was told what came before it"


async def test_what_waits_behind_a_worker_that_dies_is_answered(relay: Relay, conversation: str) -> None:
    dying, next_one = f"{conversation} dies", f"{conversation} waits"
    relay.plays(dying, answer("word " * 200, pause_s=0.05))
    relay.plays(next_one, answer("Here I am."))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": dying})
        await phone.hear_until(lambda frame: frame["type"] == "message")
        await phone.say({"action": "send", "id": "m2", "conversation": conversation, "content": next_one})
        await phone.hear_until(lambda frame: frame["type"] == "typing" and frame["id"] == "m2")
        for worker in relay.workers("message"):
            worker.kill()
        heard = await phone.hear_until(lambda frame: frame["type"] == "complete")
    broken = phone.frames[0]["reply"]
    ends = [(frame["reply"], frame["code"]) for frame in heard if frame["type"] == "error"]
    assert set(ends) == {(broken, "interrupted")}, "two may have buried it, and say the same"
    assert assembled([frame for frame in heard if frame.get("reply") == heard[-1]["reply"]]) == "Here I am."


async def test_a_message_that_waits_can_be_taken_back(relay: Relay, conversation: str) -> None:
    first, second = f"{conversation} one", f"{conversation} two"
    relay.plays(first, answer("word " * 2_000, pause_s=0.03))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": first})
        await phone.hear_until(lambda frame: frame["type"] == "message")
        await phone.say({"action": "send", "id": "m2", "conversation": conversation, "content": second})
        waiting = (await phone.hear_until(lambda frame: frame["type"] == "typing"))[-1]
        await phone.say({"action": "cancel", "reply": waiting["reply"]})
        taken_back = (await phone.hear_until(completes(1)))[-1]
        await phone.say({"action": "cancel", "reply": phone.frames[0]["reply"]})
        stopped = (await phone.hear_until(completes(1)))[-1]
    assert (taken_back["reply"], taken_back["stop_reason"], taken_back["length"]) == (waiting["reply"], "cancelled", 0)
    assert (stopped["stop_reason"], stopped["length"] > 0) == ("cancelled", True)
    assert relay.requests_for(second) == []


async def test_a_message_too_long_for_a_frame_goes_by_http(relay: Relay, conversation: str) -> None:
    relay.plays(LONG, answer("That was long."))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "hello", "conversation": conversation})
        await phone.hear()
        answered = await post(relay, conversation, id="m1", content=LONG)
        heard = await phone.hear_until(completes(1))
        again = await post(relay, conversation, id="m1", content=LONG)
    assert (answered.status_code, answered.json()["id"]) == (202, "m1")
    assert {frame["reply"] for frame in heard} == {answered.json()["reply"]}
    assert [frame["type"] for frame in heard[:2]] == ["user", "typing"]
    assert (heard[0]["id"], assembled(heard)) == ("m1", "That was long.")
    assert (LONG.startswith(heard[0]["content"]), heard[0]["truncated"]) == (True, True)
    assert max(phone.sizes_bytes) <= 32 * 1024
    assert (again.status_code, again.json()) == (202, answered.json()), "twice is once"
    assert len(relay.requests_for(LONG)) == 1


@pytest.mark.parametrize(
    ("fields", "status", "code", "sentence"),
    [
        ({"content": "hi"}, 400, "invalid_message", "id: is missing"),
        ({"id": "m1"}, 400, "invalid_message", "content: is missing"),
        ({"id": "m1", "content": " "}, 400, "invalid_message", "content: must not be empty"),
        ({"id": "m1", "content": 7}, 400, "invalid_message", "content: must be a string"),
        ({"id": "m1", "content": "hi", "agent": "hal"}, 400, "invalid_message", "agent: must be one of claude, codex"),
        (
            {"id": "m1", "content": "hi", "agent": "codex"},
            400,
            "invalid_message",
            "Codex is not connected to this relay yet.",
        ),
        (
            {"id": "m1", "content": "漢" * 100_001},
            413,
            "too_large",
            "content: must have at most 300000 bytes of UTF-8, has 300003",
        ),
    ],
    ids=["no id", "no content", "blank", "no text", "no such agent", "an agent not here", "too long"],
)
async def test_a_bad_message_by_http_is_told_by_field_and_not_kept(
    relay: Relay, conversation: str, fields: Frame, status: int, code: str, sentence: str
) -> None:
    refused = await post(relay, conversation, **fields)
    async with httpx.AsyncClient(headers={"X-API-Key": relay.key}, timeout=30) as client:
        opened = await client.get(refused.url)
    assert (refused.status_code, refused.json()) == (status, {"error": sentence, "code": code})
    assert opened.status_code == 403, "there is no such conversation"


@pytest.mark.parametrize("key", ["", "crk_wrong"])
async def test_a_message_by_http_needs_a_key(relay: Relay, conversation: str, key: str) -> None:
    refused = await post(relay, conversation, key, id="m1", content="hi")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthorized")


async def test_what_is_shown_may_be_acknowledged(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        *_, complete = await phone.ask("ack", id="m1", conversation=conversation)
        await phone.say({"action": "ack", "reply": complete["reply"], "offset": complete["length"]})
        await phone.say({"action": "ack", "reply": complete["reply"]})
        missing = await phone.hear()
        await phone.say({"action": "ack", "reply": "nobody's", "offset": 0})
        forbidden = await phone.hear()
    assert (missing["code"], missing["content"]) == ("invalid_message", "offset: is missing")
    assert forbidden["code"] == "forbidden"
    assert forbidden["content"] == "There is no such reply."
