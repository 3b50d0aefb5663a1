"""The scenarios. Each sets a stage; whatever it does, the judgement at the end is the same."""

import asyncio
from collections.abc import Awaitable, Callable

from websockets.exceptions import WebSocketException

from emulator.stand_ins.script import cut_after, fail_after
from tests.builders.deployments import Relay
from tests.builders.phone import Phone
from tests.scenarios import deaths, measures, queues, replacements
from tests.scenarios.deaths import once
from tests.scenarios.stage import Row, Stage

Scenario = Callable[[Stage], Awaitable[None]]


async def nothing_goes_wrong(stage: Stage) -> None:
    talk = stage.talk()
    talk.sender()
    talk.reader()
    await stage.play()


async def a_post_succeeds_and_answers_500(stage: Stage) -> None:
    stage.services_fail = True
    await stage.faults(
        posts=[
            {"do": "lose_answer", "probability": 0.4},
            {"do": "lose_answer", "nth": 5, "seconds": 4},  # longer than we wait for it
        ]
    )
    talk = stage.talk()
    talk.sender()
    talk.reader()
    await stage.play()


async def posts_are_refused(stage: Stage) -> None:
    stage.services_fail = True
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
    """200 devices show eight conversations, and nearly all of them are cut while the replies are written."""
    stage.patience_s = 300
    devices, rooms = stage.scaled(200, least=16), stage.scaled(8, least=2)
    talks = [stage.talk(deltas=stage.scaled(150, least=80), pause_s=0.04) for _ in range(rooms)]
    readers = [talks[n % rooms].reader() for n in range(devices - rooms)]
    for reader in readers:
        reader.quiet_s = 20  # or they would be a storm before it begins
    reading = [asyncio.create_task(reader.follow()) for reader in readers]
    await asyncio.gather(*(reader.greeted.wait() for reader in readers))
    await stage.faults(
        sockets=[
            {"do": "close", "posts": [1, 30], "probability": 0.5},
            {"do": "close", "posts": [1, 30], "probability": 0.4, "lose_disconnect": True},
            {"do": "close", "seconds": [0.5, 5], "probability": 0.4, "abort": True},
        ]
    )
    await stage.end_of(*(talk.sender().follow() for talk in talks), *reading)


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


async def dynamodb_is_throttled(stage: Stage) -> None:
    stage.replies_may_break, stage.services_fail = True, True
    await stage.faults(calls=[{"do": "throttle", "probability": 0.2}])
    for _ in range(2):
        talk = stage.talk()
        talk.sender()
        talk.reader()
    await stage.play()


async def answers_of_dynamodb_are_lost(stage: Stage) -> None:
    """It has done what it was asked for, and the worker asks again."""
    stage.replies_may_break, stage.services_fail = True, True
    lost = {"do": "silence", **deaths.WORKER, "takes_effect": True, "seconds": 6}
    await stage.faults(calls=[{**lost, **deaths.BEAT, "nth": 2}, {**lost, **deaths.FINISH, "nth": 1}])
    for _ in range(2):
        talk = stage.talk()
        talk.sender()
        talk.reader()
    await stage.play()


async def the_model_breaks_off(stage: Stage) -> None:
    """Its stream is cut, fails, or ends in a burst; what it says at the second try is the answer."""
    stage.replies_may_break = True
    for break_off in (cut_after, fail_after):
        talk = stage.talk()
        (message,) = talk.messages
        written = message.text[: stage.random.randrange(len(message.text))]
        talk.relay.plays(message.prompt, once(break_off(written, pause_s=0.02), message.script))
    stage.talk(deltas=400, pause_s=0)
    for talk in stage.talks:
        talk.sender()
        talk.reader()
    await stage.play()


async def a_message_comes_when_its_sender_has_left(stage: Stage) -> None:
    """Its event is late: the socket is closed by then, and its user does not look until the reply has been written."""
    await stage.faults(events=[{"do": "delay", **deaths.WORKER, "contains": '"send"', "nth": 1, "seconds": [1, 2]}])
    talk = stage.talk()
    (message,) = talk.messages
    async with Phone.connected(talk.relay.websocket, talk.relay.key) as phone:
        said = {"id": message.id, "content": message.prompt, "conversation": talk.conversation}
        await phone.say({"action": "send", **said})
    await stage.end_of(deaths.answered(talk))
    talk.reader()
    await stage.play()


async def a_living_socket_is_said_to_be_gone(stage: Stage) -> None:
    await stage.faults(posts=[{"do": "refuse", "status": 410, "connection": 1, "nth": stage.random.randint(2, 9)}])
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
    an_event_is_delivered_twice,
    two_devices_send_the_same_message,
    deaths.a_worker_is_killed_at_a_heartbeat,
    deaths.a_worker_is_killed_at_any_call,
    deaths.a_worker_is_killed_at_any_event_of_the_model,
    deaths.a_worker_dies_when_its_reader_has_left,
    deaths.no_worker_can_start,
    deaths.the_deadline_comes_in_mid_reply,
    deaths.silent_workers_are_taken_for_dead,
    dynamodb_is_throttled,
    answers_of_dynamodb_are_lost,
    the_model_breaks_off,
    a_message_comes_when_its_sender_has_left,
    replacements.what_was_said_is_replaced_while_workers_die,
    replacements.what_was_said_is_replaced_over_a_bad_line,
    replacements.what_was_said_is_replaced_while_dynamodb_fails,
    replacements.one_message_is_replaced_by_three_devices,
    a_living_socket_is_said_to_be_gone,
    a_slow_device_beside_a_fast_one,
    cancel_against_completion,
    resume_against_completion,
    queues.a_queue_of_ten_messages_from_one_device,
    queues.a_queue_of_ten_messages_from_two_devices,
    queues.two_devices_send_different_messages,
    queues.two_workers_race_for_the_lease,
    queues.a_message_that_waits_is_cancelled,
    queues.a_queue_outlives_its_workers,
    queues.a_queue_outlives_a_deadline,
    measures.live_resumes_are_timed,
    measures.cancels_are_timed,
    a_reconnect_storm,
)


def name_of(scenario: Scenario) -> str:
    return getattr(scenario, "__name__", "?").replace("_", " ")


async def run(scenario: Scenario, relay: Relay, seed: int, scale: float = 1.0) -> Row:
    """One run, judged. `scale` is how much of a heavy scenario is played: a tenth shows whether it works at all."""
    stage = Stage(relay, name_of(scenario), seed, scale)
    try:
        await scenario(stage)
    except (TimeoutError, OSError, WebSocketException) as problem:
        stage.flaws.append(f"the play broke off: {problem!r}")
    return await stage.judge()
