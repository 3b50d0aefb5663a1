"""Scenarios that measure: how soon a live resume shows something, how soon a cancel reaches the model."""

import asyncio
import time

from tests.builders.phone import Frame, Phone
from tests.scenarios.client import Assembly
from tests.scenarios.stage import ENVIRONMENTS, Stage, Talk


async def live_resumes_are_timed(stage: Stage) -> None:
    """Devices come at any time with any part of a reply that is being written, and wait for what they miss."""
    talk = stage.talk(deltas=stage.scaled(1500, least=120))
    sender = talk.sender()
    following = asyncio.create_task(stage.end_of(sender.follow()))
    await sender.begun.wait()
    (reply,) = sender.replies.values()
    await asyncio.gather(*(_come_and_go(stage, talk, reply) for _ in range(ENVIRONMENTS)))
    await following


async def _come_and_go(stage: Stage, talk: Talk, reply: Assembly) -> None:
    while not reply.ends:
        async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
            await asyncio.sleep(stage.random.uniform(0, 0.5))
            if not reply.ends:
                stage.resumes_s.append(await _first_text_s(phone, reply.id, stage.random.randrange(reply.length)))


async def _first_text_s(phone: Phone, reply: str, offset: int) -> float:
    """From the client's frame to the first character that it misses."""
    asked_s = time.monotonic()
    await phone.say({"action": "resume", "reply": reply, "offset": offset})
    await phone.hear_until(lambda frame: _is_next(frame, offset))
    return time.monotonic() - asked_s


def _is_next(frame: Frame, offset: int) -> bool:
    return bool("part" in frame and frame["offset"] <= offset)


async def cancels_are_timed(stage: Stage) -> None:
    """From the client's frame until the model sees that nobody listens any more."""
    for _ in range(stage.scaled(20, least=2)):
        talks = [stage.talk(deltas=200, may_stop=True) for _ in range(ENVIRONMENTS)]
        for talk in talks:
            talk.sender().cancel_at = stage.random.randrange(len(talk.messages[0].text) // 4)
        await stage.play(*talks)
        proofs = [reply.proof for talk in talks for sender in talk.senders for reply in sender.replies.values()]
        if any(proof is None or proof["stop_reason"] != "cancelled" for proof in proofs):
            stage.flaws.append("a reply was not cancelled")
