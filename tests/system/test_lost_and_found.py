"""A reply that was lost sight of is found again, or stopped, while it is written.

From which offset what comes, of replies that are held, have ended, broke off or lost their worker, the recorded session
has: ``scenes.resumes``, ``cancels`` and ``failures``.
"""

import time
from typing import Any

from emulator.stand_ins.script import answer, stall_after
from tests.builders.deployments import Relay
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


async def test_a_reply_that_is_being_written_goes_on_where_the_client_lost_it(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        reply = await begin(relay, phone, "go on", conversation, answer(STORY, delta_chars=9, pause_s=0.02))
        await phone.hear()
        has = assembled(phone.frames)
    offset = len(has.encode("utf-16-le")) // 2
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "resume", "reply": reply, "offset": offset})
        resumed, *rest = await phone.hear_until(has_ended)
    assert (resumed["type"], resumed["reply"], resumed["offset"]) == ("resumed", reply, offset)
    assert rest[0]["offset"] == offset
    assert has + assembled(rest, since=offset) == STORY
    assert proves(rest[-1], STORY)


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
