"""Messages to a conversation that is being answered, and messages that are too long for a frame.

What is answered when a worker dies before its queue is empty, ``tests/scenarios`` has.
"""

from collections.abc import Callable
from typing import Any

import httpx

from emulator.stand_ins.script import answer, stall_after
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


async def post(relay: Relay, conversation: str, **fields: Any) -> httpx.Response:
    url = f"http://{relay.address}/api/conversations/{conversation}/messages"
    async with httpx.AsyncClient(headers={"X-API-Key": relay.key}, timeout=30) as client:
        return await client.post(url, json=fields)


async def test_messages_sent_at_once_are_answered_one_after_the_other(relay: Relay, conversation: str) -> None:
    prompts = [f"{conversation} {number}" for number in range(4)]
    for prompt in prompts:
        relay.plays(prompt, answer(f"To {prompt}.", delta_chars=9, pause_s=0.05))
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


async def test_a_message_that_waits_can_be_taken_back(relay: Relay, conversation: str) -> None:
    first, second = f"{conversation} one", f"{conversation} two"
    relay.plays(first, stall_after("word"))
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


WRONG: list[tuple[Frame, int, str]] = [
    ({"content": "hi"}, 400, "id: is missing"),
    ({"id": "m1"}, 400, "content: is missing"),
    ({"id": "m1", "content": " "}, 400, "content: must not be empty"),
    ({"id": "m1", "content": 7}, 400, "content: must be a string"),
    ({"id": "m1", "content": "hi", "agent": "hal"}, 400, "agent: must be one of claude, codex"),
    ({"id": "m1", "content": "hi", "agent": "codex"}, 400, "Codex is not connected to this relay yet."),
    ({"id": "m1", "content": "漢" * 100_001}, 413, "content: must have at most 300000 bytes of UTF-8, has 300003"),
]


async def test_a_bad_message_by_http_is_told_by_field_and_not_kept(relay: Relay, conversation: str) -> None:
    for fields, status, sentence in WRONG:
        refused = await post(relay, conversation, **fields)
        code = "too_large" if status == 413 else "invalid_message"
        assert (refused.status_code, refused.json()) == (status, {"error": sentence, "code": code})
        async with httpx.AsyncClient(headers={"X-API-Key": relay.key}, timeout=30) as client:
            opened = await client.get(refused.url)
        assert opened.status_code == 403, f"there is a conversation: {sentence}"
