"""The scenarios. Each sets a stage; whatever it does, the judgement at the end is the same."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.conftest import Relay
from tests.scenarios.stage import Row, Stage

Scenario = Callable[[Stage], Awaitable[None]]


async def nothing_goes_wrong(stage: Stage) -> None:
    talk = stage.talk()
    talk.sender()
    talk.reader()
    await stage.play()


async def a_post_succeeds_and_answers_500(stage: Stage) -> None:
    await stage.faults(posts=[{"do": "lose_answer", "probability": 0.4}])
    talk = stage.talk()
    talk.sender()
    talk.reader()
    await stage.play()


async def posts_are_refused(stage: Stage) -> None:
    await stage.faults(
        posts=[
            {"do": "refuse", "probability": 0.2, "status": 429},
            {"do": "refuse", "probability": 0.2, "status": 500},
        ]
    )
    talk = stage.talk()
    talk.sender()
    talk.reader()
    await stage.play()


async def posts_are_dropped(stage: Stage) -> None:
    await stage.faults(posts=[{"do": "drop", "probability": 0.1, "contains": '"message"'}])
    for _ in range(2):
        talk = stage.talk()
        talk.sender()
        talk.reader()
    await stage.play()


async def posts_are_repeated_and_reordered(stage: Stage) -> None:
    await stage.faults(
        posts=[
            {"do": "repeat", "probability": 0.2},
            {"do": "reorder", "probability": 0.2, "contains": '"message"', "seconds": 0.3},
        ]
    )
    talk = stage.talk()
    talk.sender()
    talk.reader()
    await stage.play()


async def a_reconnect_storm(stage: Stage) -> None:
    """15 devices in 3 conversations, cut again and again."""
    await stage.faults(
        sockets=[
            {"do": "close", "seconds": [0.1, 2], "probability": 0.4, "abort": True},
            {"do": "close", "posts": [1, 20], "probability": 0.4, "lose_disconnect": True},
        ]
    )
    for _ in range(3):
        talk = stage.talk(deltas=60)
        talk.sender()
        for _ in range(4):
            talk.reader()
    await stage.play()


async def an_event_is_delivered_twice(stage: Stage) -> None:
    await stage.faults(events=[{"do": "repeat", "function": "MessageFunction", "seconds": [0, 1]}])
    for _ in range(2):
        talk = stage.talk()
        talk.sender()
        talk.reader()
    await stage.play()


async def two_devices_send_the_same_message(stage: Stage) -> None:
    talk = stage.talk()
    talk.sender()
    talk.sender()
    await stage.play()


async def a_worker_is_killed_at_a_heartbeat(stage: Stage) -> None:
    """Two workers beat, the replacements too; two beats are the last of whoever does them."""
    stage.replies_may_break = True
    beats = sorted(stage.random.sample(range(1, 7), 2))
    moment = stage.random.choice(["before", "after"])
    await stage.faults(
        workers=[
            {
                "do": "kill_at_call",
                "function": "MessageFunction",
                "operation": "UpdateItem",
                "contains": "alive_until_ms",
                "nth": beats,
                "moment": moment,
            }
        ]
    )
    for _ in range(2):
        talk = stage.talk(deltas=50)
        talk.sender()
        talk.reader()
    await stage.play()


async def dynamodb_is_throttled(stage: Stage) -> None:
    stage.replies_may_break = True
    await stage.faults(calls=[{"do": "throttle", "probability": 0.2}])
    for _ in range(2):
        talk = stage.talk()
        talk.sender()
        talk.reader()
    await stage.play()


async def a_slow_device_beside_a_fast_one(stage: Stage) -> None:
    """Each post to the slow one takes long, the last one longest: the fast one has its end by then."""
    await stage.faults(
        posts=[
            {"do": "delay", "connection": 1, "seconds": [0.1, 0.3]},
            {"do": "delay", "connection": 1, "contains": '"complete"', "seconds": 1},
        ]
    )
    talk = stage.talk()
    slow = talk.reader()
    following = asyncio.create_task(slow.follow())
    await slow.greeted.wait()
    fast = talk.sender()
    await stage.end_of(fast.follow(), following)
    if slow.connects == 1 and fast.ended_s and slow.ended_s and fast.ended_s > slow.ended_s:
        stage.flaws.append("the fast device waited for the slow one")


async def cancel_against_completion(stage: Stage) -> None:
    """The model ends about when the next heartbeat hears of the cancel."""
    for _ in range(3):
        talk = stage.talk(deltas=20, last_pause_s=stage.random.uniform(0.1, 0.7), may_stop=True)
        sender = talk.sender()
        sender.cancel_at = len(talk.messages[0].text) // 2
        talk.reader()
    await stage.play()


async def resume_against_completion(stage: Stage) -> None:
    """Sockets are cut about when the reply ends, so that the resume meets the end."""
    await stage.faults(
        sockets=[
            {"do": "close", "posts": [8, 16], "probability": 0.6},
            {"do": "close", "seconds": [0.3, 0.8], "probability": 0.7},
        ]
    )
    for _ in range(3):
        talk = stage.talk(deltas=30, last_pause_s=stage.random.uniform(0.05, 0.5))
        talk.sender()
        talk.reader()
    await stage.play()


SCENARIOS: tuple[Scenario, ...] = (
    nothing_goes_wrong,
    a_post_succeeds_and_answers_500,
    posts_are_refused,
    posts_are_dropped,
    posts_are_repeated_and_reordered,
    a_reconnect_storm,
    an_event_is_delivered_twice,
    two_devices_send_the_same_message,
    a_worker_is_killed_at_a_heartbeat,
    dynamodb_is_throttled,
    a_slow_device_beside_a_fast_one,
    cancel_against_completion,
    resume_against_completion,
)


def name_of(scenario: Scenario) -> str:
    return getattr(scenario, "__name__", "?").replace("_", " ")


async def run(scenario: Scenario, relay: Relay, seed: int) -> Row:
    """One run, judged."""
    stage = Stage(relay, name_of(scenario), seed)
    await scenario(stage)
    return await stage.judge()
