"""Scenarios in which workers die, stand still or run out of time."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any

from emulator.stand_ins.fake_anthropic import Received
from emulator.stand_ins.script import Pause, Script, Send, stall_after
from tests.builders.phone import Frame, Phone, trimmed
from tests.scenarios.stage import Message, Stage, Talk, script

WORKER = {"function": "MessageFunction"}
BEAT = {"operation": "UpdateItem", "contains": "SET alive_until_ms = :until"}
POST = {"operation": "PostToConnection", "contains": '"message"'}
FINISH = {"operation": ["UpdateItem", "TransactWriteItems"], "contains": "last_frame"}
MOMENTS = ("before", "after")
FROZEN = {"seconds": [16.5, 19.5]}
"""Longer than a worker may be silent."""
ALL_DAY_S = 86_400
MOST_CALLS = 8
"""The wake-up call of a connection, the first call for a message, and six that are made when that has failed."""
STRAY_S = 1.0
"""For what a worker still says when it has let go of its model."""


async def a_worker_is_killed_at_a_heartbeat(stage: Stage) -> None:
    """Two workers beat, the replacements too; two beats are the last of whoever does them."""
    stage.replies_may_break = True
    beats, moment = sorted(stage.random.sample(range(1, 7), 2)), stage.random.choice(MOMENTS)
    await stage.faults(workers=[{"do": "kill_at_call", **WORKER, **BEAT, "nth": beats, "moment": moment}])
    for _ in range(2):
        _one_reply(stage, deltas=50)
    await stage.play()


async def a_worker_is_killed_at_any_call(stage: Stage) -> None:
    """One run counts the calls that a worker awaits, of DynamoDB and of posts. Then it dies at one of them a run."""
    stage.replies_may_break = True
    await stage.faults(workers=[{"do": "pause_at_call", **WORKER, "moment": "before", "seconds": 0}])
    await stage.play(_one_reply(stage))
    calls = await stage.faults()
    points = [(nth, moment) for nth in range(1, calls + 1) for moment in MOMENTS]
    for nth, moment in stage.sample(points, full=24, least=3):
        await stage.faults(workers=[{"do": "kill_at_call", **WORKER, "nth": nth, "moment": moment}])
        await stage.play(_one_reply(stage))


async def a_worker_is_killed_at_any_event_of_the_model(stage: Stage) -> None:
    """The model falls silent after one of its events, and the worker that waits for the next one dies.

    That is at the second heartbeat after it has asked: all events before have been heard by then.
    """
    stage.replies_may_break = True
    kill = {"do": "kill_at_call", **WORKER, **BEAT, "nth": 2, "moment": "before"}
    for nth in stage.sample(range(30), full=8, least=1):
        await stage.faults()
        talk = _one_reply(stage)
        (message,) = talk.messages
        talk.relay.plays(message.prompt, once(_stalling(message.script, nth), message.script))
        playing = asyncio.create_task(stage.play(talk))
        while not talk.requests() and not playing.done():  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(0.05)
        await stage.faults(workers=[kill])
        await playing


async def a_worker_dies_when_its_reader_has_left(stage: Stage) -> None:
    """Nobody is there to be told. Whoever comes back finds all that was there at the last heartbeat, and asks again."""
    stage.replies_may_break = True
    talk = stage.talk()
    (message,) = talk.messages
    written = message.text[: len(message.text) // 2]
    talk.relay.plays(message.prompt, once(stall_after(written, pause_s=0.02), message.script))
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        said = {"id": message.id, "content": message.prompt, "conversation": talk.conversation}
        await phone.say({"action": "send", **said})
        await phone.hear_until(lambda _: trimmed(phone.frames) == written)
    kill = {"do": "kill_at_call", **WORKER, **BEAT, "nth": 2, "moment": stage.random.choice(MOMENTS)}
    await stage.faults(workers=[kill])
    ((_, request),) = talk.requests()
    await stage.end_of(_closing(request))
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        told = await _resumed(phone, talk)
    _judge_broken(stage, message, told)
    if trimmed(told) != written:
        stage.flaws.append("what was there at the last heartbeat is not there later")
    talk.sender()
    talk.reader()
    await stage.play()


async def no_worker_can_start(stage: Stage) -> None:
    """Each dies at its first call. Nobody calls for ever: whoever waits is told, and is answered when workers live."""
    stage.replies_may_break = True
    talk = stage.talk()
    (message,) = talk.messages
    await stage.faults(workers=[{"do": "kill_at_call", **WORKER, "moment": "before"}])
    log, began = talk.relay.log, len(talk.relay.log)
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        await phone.say({"action": "hello", "conversation": talk.conversation})
        await phone.hear()
        await talk.post(message)
        async with asyncio.timeout(stage.patience_s):
            told = json.loads(await phone.socket.recv())
    if (told["type"], told.get("code"), told.get("retryable")) != ("error", "interrupted", True):
        stage.flaws.append(f"told {told}")
    if (runs := sum("λ        local-message " in line for line in log[began:])) > MOST_CALLS:
        stage.flaws.append(f"{runs} workers were called for one message")
    await stage.faults()
    talk.sender()
    talk.reader()
    await stage.play()


async def the_deadline_comes_in_mid_reply(stage: Stage) -> None:
    """The function ends a reply in order half a minute before its deadline; what was written of it stays."""
    stage.replies_may_break = True
    await stage.faults(workers=[{"do": "shorten", **WORKER, "contains": '"send"', "nth": 1, "seconds": [35, 37]}])
    talk = stage.talk()
    (message,) = talk.messages
    half = message.text[: len(message.text) // 2]
    talk.relay.plays(message.prompt, once(stall_after(half, pause_s=0.02), message.script))
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        told = await phone.ask(message.prompt, id=message.id, conversation=talk.conversation)
        again = await _resumed(phone, talk)
    _judge_broken(stage, message, told)
    if trimmed(again) != trimmed(told) or _ending(again) != _ending(told):
        stage.flaws.append("what was written in time is not there later")
    if any("timed out" in line for line in talk.relay.log):
        stage.flaws.append("the function ran into its deadline")
    talk.sender()
    talk.reader()
    await stage.play()


async def silent_workers_are_taken_for_dead(stage: Stage) -> None:
    """One dies and nobody tells, one stands still while it writes, and one when it has written all.

    A resume is the first to see that their leases have expired. The messages are sent again, and those that stood still
    wake beside their successors: they have to let go of their models, and to say no more than what was under way. That
    is heard by devices that ask for nothing.
    """
    stage.replies_may_break, stage.resumes_are_timed = True, False
    dead, frozen, late = _one_slow_reply(stage), _one_slow_reply(stage), _one_reply(stage)
    await stage.faults(
        workers=[
            {"do": "kill_at_call", **_in_talk(stage, dead, BEAT), "nth": 2},
            {"do": "pause_at_call", **_in_talk(stage, frozen, stage.random.choice((BEAT, POST))), "nth": 2, **FROZEN},
            {"do": "pause_at_call", **_in_talk(stage, late, FINISH), "nth": 1, **FROZEN},
        ],
        events=[{"do": "delay", "function": "FailedFunction", "seconds": ALL_DAY_S}],
    )
    async with AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(_overhearing(talk)) for talk in (dead, frozen, late)]
        await stage.play()
        (_, first), *_ = frozen.requests()
        await stage.end_of(_closing(first))
        await asyncio.sleep(STRAY_S)
    if (faults := await stage.faults()) < len(heard) + 1:  # the record of the one that died is late
        stage.flaws.append(f"only {faults} things went wrong")
    if first.finished:
        stage.flaws.append("a worker that was taken for dead let its model write on")
    for said in map(_said_after_its_end, heard):
        if len(said) > 1 or any("part" not in frame for frame in said):
            stage.flaws.append(f"a worker that was taken for dead went on: {said}")


async def _resumed(phone: Phone, talk: Talk) -> list[Frame]:
    """All that comes of the conversation's broken reply. Its end may be told to all just before."""
    await phone.say({"action": "resume", "conversation": talk.conversation, "offset": 0})
    before = await phone.hear_until(lambda frame: frame["type"] == "resumed")
    return before + await phone.hear_until(lambda frame: frame["type"] == "error")


def _judge_broken(stage: Stage, message: Message, told: list[Frame]) -> None:
    text = trimmed(told)
    if told[-1].get("code") != "interrupted" or not told[-1]["retryable"]:
        stage.flaws.append(f"the reply was not interrupted: {told[-1]}")
    if not text or not message.text.startswith(text):
        stage.flaws.append("what was written of a broken reply is not there")


def _in_talk(stage: Stage, talk: Talk, call: Mapping[str, Any]) -> dict[str, Any]:
    texts = [call["contains"], talk.conversation]
    return {**WORKER, **call, "contains": texts, "moment": stage.random.choice(MOMENTS)}


def _one_reply(stage: Stage, *, deltas: int = 30) -> Talk:
    talk = stage.talk(deltas=deltas)
    talk.sender()
    talk.reader()
    return talk


def _one_slow_reply(stage: Stage) -> Talk:
    """At the first try the model writes longer than anybody is frozen."""
    talk = _one_reply(stage)
    (message,) = talk.messages
    slow = script(message.text, 1, 2 * FROZEN["seconds"][-1] / len(message.text))
    talk.relay.plays(message.prompt, once(slow, message.script))
    return talk


@asynccontextmanager
async def _overhearing(talk: Talk) -> AsyncIterator[list[Frame]]:
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        await phone.say({"action": "hello", "conversation": talk.conversation})
        await phone.hear()
        hearing = asyncio.create_task(_hear_all(phone))
        yield phone.frames
        hearing.cancel()


async def _hear_all(phone: Phone) -> None:
    async for text in phone.socket:
        phone.frames.append(json.loads(text))


def _stalling(script: Script, events: int) -> Script:
    """Only so many events come, and then nothing."""
    begins = [at for at, step in enumerate(script.steps) if isinstance(step, Send)]
    return Script((*script.steps[: begins[events]], Pause(math.inf)))


def once(first: Script, then: Script) -> Callable[[dict[str, Any]], Script]:
    """The first time the model plays another script than later."""
    times = count()
    return lambda _: then if next(times) else first


async def answered(talk: Talk) -> None:
    """When the model has been asked all of it, and has answered."""
    while len(asked := talk.requests()) < len(talk.messages):  # noqa: ASYNC110 -- no event tells of it
        await asyncio.sleep(0.05)
    for _, request in asked:
        await _closing(request)


async def _closing(request: Received) -> None:
    while request.closed_at is None:  # noqa: ASYNC110 -- no event tells of it
        await asyncio.sleep(0.05)


def _said_after_its_end(told: list[Frame]) -> list[Frame]:
    """What came of a reply after it was told to be broken, but for the same end again: two may have buried it."""
    ends: dict[str, Frame] = {}
    later = []
    for frame in told:
        end = ends.get(frame.get("reply", ""))
        if end is not None and _timeless(frame) != _timeless(end):
            later.append(frame)
        elif frame["type"] == "error" and "length" in frame:
            ends[frame["reply"]] = frame
    return later


def _ending(told: list[Frame]) -> Frame:
    return _timeless(told[-1])


def _timeless(frame: Frame) -> Frame:
    return {name: value for name, value in frame.items() if name != "timestamp"}
