"""Scenarios with several messages in one conversation: one is answered at a time, in the order of their arrival."""

from tests.scenarios.deaths import BEAT, MOMENTS, WORKER
from tests.scenarios.stage import ENVIRONMENTS, Stage, Talk


async def a_queue_of_ten_messages_from_one_device(stage: Stage) -> None:
    await _warm(stage)
    talk = stage.talk(messages=stage.scaled(10, least=5), deltas=20)
    talk.sender()
    talk.reader()
    await _play_queue(stage, talk)


async def a_queue_of_ten_messages_from_two_devices(stage: Stage) -> None:
    await _warm(stage)
    talk = stage.talk(messages=stage.scaled(10, least=4), deltas=20)
    half = len(talk.messages) // 2
    talk.sender(*talk.messages[:half])
    talk.sender(*talk.messages[half:])
    talk.reader()
    await _play_queue(stage, talk)


async def two_devices_send_different_messages(stage: Stage) -> None:
    talks = [stage.talk(messages=2, deltas=20) for _ in range(3)]
    for talk in talks:
        for message in talk.messages:
            talk.sender(message)
        talk.reader()
    await stage.play()


async def two_workers_race_for_the_lease(stage: Stage) -> None:
    """Both see that it is free, and reach for it at the same time."""
    await _warm(stage)
    talk = stage.talk(messages=2, deltas=20)
    claims = {"operation": "TransactWriteItems", "contains": [talk.conversation, "worker"], "nth": [1, 2]}
    await stage.faults(calls=[{"do": "delay", "function": WORKER["function"], **claims, "seconds": 1}])
    for message in talk.messages:
        talk.sender(message)
    talk.reader()
    await _play_queue(stage, talk)


async def a_message_that_waits_is_cancelled(stage: Stage) -> None:
    """The model is never asked, and the next one is answered."""
    await _warm(stage)
    talk = stage.talk(messages=3, deltas=100, may_stop=True)
    sender = talk.sender()
    sender.takes_back = 1
    talk.reader()
    await _play_queue(stage, talk)
    taken_back = {sender.replies[reply].message for reply in sender.cancelled_s}
    proofs = {each: reply.proof for each, reply in sender.current.items()}
    stopped = {each for each, proof in proofs.items() if proof and proof["stop_reason"] == "cancelled"}
    asked = {message.id for message, _ in talk.requests()}
    if stopped != taken_back or stopped & asked:
        stage.flaws.append(f"{taken_back or None} waited and was cancelled, {stopped or None} was, {asked} were asked")


async def a_queue_outlives_its_workers(stage: Stage) -> None:
    """They die while they write, or while they take the next message."""
    stage.replies_may_break = True
    call = stage.random.choice((BEAT, {"operation": "TransactWriteItems"}))
    kill = {"do": "kill_at_call", **WORKER, **call, "nth": [2, 5], "moment": stage.random.choice(MOMENTS)}
    await stage.faults(workers=[kill])
    talk = stage.talk(messages=4, deltas=40)
    talk.sender()
    talk.reader()
    await stage.play()


async def a_queue_outlives_a_deadline(stage: Stage) -> None:
    """A worker without much time left calls a fresh one, and the call comes twice."""
    await _warm(stage)
    await stage.faults(
        workers=[{"do": "shorten", **WORKER, "contains": '"send"', "nth": 1, "seconds": 60}],
        events=[{"do": "repeat", **WORKER, "contains": '"continue"', "seconds": [0, 0.5]}],
    )
    talk = stage.talk(messages=4, deltas=20)
    talk.sender()
    talk.reader()
    await _play_queue(stage, talk)


async def _warm(stage: Stage) -> None:
    """As many workers as there may be: a message waits only if somebody can take it in meanwhile."""
    talks = [stage.talk() for _ in range(ENVIRONMENTS)]
    for talk in talks:
        talk.sender()
    await stage.play(*talks)


async def _play_queue(stage: Stage, talk: Talk) -> None:
    await stage.play(talk)
    if not any(device.waited for device in talk.devices):
        stage.flaws.append("no message had to wait, so nothing was shown")
