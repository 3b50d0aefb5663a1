"""Scenarios in which workers die, stand still or run out of time."""

import math
from collections.abc import Callable
from itertools import count
from typing import Any

from infra.local.script import Pause, Script, Send
from tests.end_to_end.phone import Frame, Phone, trimmed
from tests.scenarios.stage import Stage, Talk

WORKER = {"function": "MessageFunction"}
BEAT = {"operation": "UpdateItem", "contains": "SET alive_until_ms = :until"}
POST = {"operation": "PostToConnection", "contains": '"message"'}
JOURNAL = {"operation": "PutItem", "contains": "JOURNAL#"}
FINISH = {"operation": "UpdateItem", "contains": "last_frame"}
MOMENTS = ("before", "after")
FROZEN_S = [16.5, 19.5]
"""Longer than a worker may be silent."""
ALL_DAY_S = 86_400


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
    """The model falls silent after one of its events, and the worker that waits for the next one dies."""
    stage.replies_may_break = True
    for nth in stage.sample(range(30), full=8, least=1):
        await stage.faults(workers=[{"do": "kill_at_call", **WORKER, **BEAT, "nth": 1, "moment": "before"}])
        talk = _one_reply(stage)
        (message,) = talk.messages
        talk.relay.plays(message.prompt, _stalling_once(message.script, nth))
        await stage.play(talk)


async def the_deadline_comes_in_mid_reply(stage: Stage) -> None:
    """The function ends a reply in order half a minute before its deadline; what was written of it stays."""
    stage.replies_may_break = True
    await stage.faults(workers=[{"do": "shorten", **WORKER, "contains": '"send"', "nth": 1, "seconds": [31, 32]}])
    talk = stage.talk(deltas=110)
    (message,) = talk.messages
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        told = await phone.ask(message.prompt, id=message.id, conversation=talk.conversation)
        await phone.say({"action": "resume", "conversation": talk.conversation, "offset": 0})
        again = await phone.hear_until(lambda frame: frame["type"] == "error")
    text = trimmed(told)
    if told[-1].get("code") != "interrupted" or not told[-1]["retryable"]:
        stage.flaws.append(f"the reply was not interrupted: {told[-1]}")
    if not text or not message.text.startswith(text) or trimmed(again) != text or _ending(again) != _ending(told):
        stage.flaws.append("what was written in time is not there later")
    if any("timed out" in line for line in talk.relay.log):
        stage.flaws.append("the function ran into its deadline")
    talk.sender()
    talk.reader()
    await stage.play()


async def silent_workers_are_taken_for_dead(stage: Stage) -> None:
    """One dies and nobody tells, one only stands still: a resume is the first to see that their leases have expired.

    The messages are sent again, and the one that stood still wakes beside its successor.
    """
    stage.replies_may_break, stage.resumes_are_timed = True, False
    frozen = {"do": "pause_at_call", **WORKER, **stage.random.choice((BEAT, POST, JOURNAL, FINISH)), "nth": 1}
    await stage.faults(
        workers=[
            {"do": "kill_at_call", **WORKER, **BEAT, "nth": 2, "moment": stage.random.choice(MOMENTS)},
            {**frozen, "moment": stage.random.choice(MOMENTS), "seconds": FROZEN_S},
        ],
        events=[{"do": "delay", "function": "FailedFunction", "seconds": ALL_DAY_S}],
    )
    for _ in range(2):
        _one_reply(stage, deltas=100)
    await stage.play()


def _one_reply(stage: Stage, *, deltas: int = 30) -> Talk:
    talk = stage.talk(deltas=deltas)
    talk.sender()
    talk.reader()
    return talk


def _stalling_once(script: Script, events: int) -> Callable[[dict[str, Any]], Script]:
    """The first time only `events` come, and then nothing."""
    ends = [at for at, step in enumerate(script.steps) if isinstance(step, Send)]
    stalling = Script((*script.steps[: ends[events]], Pause(math.inf)))
    times = count()
    return lambda _: script if next(times) else stalling


def _ending(told: list[Frame]) -> Frame:
    return {name: value for name, value in told[-1].items() if name != "timestamp"}
