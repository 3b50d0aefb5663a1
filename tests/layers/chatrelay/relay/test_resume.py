import json
from dataclasses import dataclass
from io import StringIO

import pytest

from chatrelay.domain.errors import Duplicate, Forbidden, Superseded, Unavailable
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.domain.reply import Ending, Reply
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.resume import ResumeService
from chatrelay.store.connections import Connection
from chatrelay.store.conversations import Accepted
from chatrelay.store.leases import EXPIRES_S, Signals
from chatrelay.store.replies import Replies
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.inbound import Acknowledge, Cancel, Resume, Send
from chatrelay.wire.outbound import Outbound
from tests.builders.doubles import Sockets
from tests.builders.layer import Store, by_key
from tests.builders.written import journaled
from tests.builders.written import text as text_of

TALK = ConversationKey("alice", "talk")
HELLO = Send("m1", "talk", "Hello", "claude")
LAST = Outbound("complete", "Response complete", {"stop_reason": "cancelled"})


@dataclass
class Scene:
    """A reply that a worker has begun."""

    store: Store
    recovery: Recovery
    service: ResumeService
    accepted: Accepted
    sockets: Sockets

    @property
    def reply(self) -> str:
        return self.accepted.stream.reply

    @property
    def replies(self) -> Replies:
        return self.store.replies

    def resume(self, offset: int = 0, user: str = "alice", name: str = "c1=", reply: str | None = None) -> list[str]:
        """The types of the frames that come straight back."""
        self.store.connections.open(connection(name, user))
        self.service.resume(user, connection(name, user), Resume(reply or self.reply, None, offset))
        return [frame["type"] for frame in self.sockets.frames(name)]

    def show(self, name: str) -> None:
        """Open a connection that shows the conversation."""
        self.store.connections.open(connection(name))
        self.store.connections.subscribe(connection(name), "talk")

    def heartbeat(self) -> Signals:
        return self.store.leases.heartbeat(TALK, self.accepted.stream.epoch)

    def finish(self) -> None:
        """The worker has stored the whole reply, and has not let go of the lease yet."""
        reply = Reply(self.reply)
        reply.append(text_of("All of it"))
        reply.cancel()
        self.store.conversations.finish(self.accepted, reply, LAST)

    def accept_again(self) -> Accepted:
        return self.store.conversations.accept("alice", HELLO, 2, worker="worker-2")


def connection(name: str, user: str = "alice") -> Connection:
    return Connection(name, "claude", VERSION_1, 1_700_000_000, by_key(user))


@pytest.fixture
def scene(store: Store, recovery: Recovery, resume: ResumeService, sockets: Sockets) -> Scene:
    accepted = store.conversations.accept("alice", HELLO, 1, sender="c0=", worker="worker-1")
    return Scene(store, recovery, resume, accepted, sockets)


def test_a_live_reply_is_left_to_its_worker(scene: Scene) -> None:
    assert scene.resume(offset=7) == []

    signals = scene.heartbeat()
    assert (dict(signals.subscribers), signals.cancel) == ({"c1=": 7}, False)


def test_a_subscriber_who_was_served_and_asks_again_is_there_again(scene: Scene) -> None:
    scene.resume(offset=7)
    scene.resume(offset=9)
    scene.store.leases.clear_resume_request(TALK, 1, "c1=", 7)
    assert dict(scene.heartbeat().subscribers) == {"c1=": 9}

    scene.store.leases.clear_resume_request(TALK, 1, "c1=", 9)
    assert dict(scene.heartbeat().subscribers) == {}


def test_a_subscriber_who_comes_while_the_reply_ends_is_not_forgotten(scene: Scene) -> None:
    scene.resume(offset=3)
    assert dict(scene.store.leases.end(TALK, 1).subscribers) == {"c1=": 3}


def test_the_worker_hears_that_its_user_has_had_enough(scene: Scene) -> None:
    scene.service.cancel("alice", Cancel(scene.reply))
    assert scene.heartbeat().cancel


def test_a_silent_worker_is_dead_the_first_time_anyone_looks(scene: Scene) -> None:
    scene.replies.journal(scene.reply, journaled(0, "So far 🌅"))
    scene.replies.journal(scene.reply, journaled(9, ", so good"))
    scene.store.time_s += EXPIRES_S + 1

    assert scene.resume() == ["resumed", "message", "error"]

    _, text, error = scene.sockets.frames("c1=")
    assert text["content"] == "So far 🌅, so good"
    assert (error["code"], error["retryable"], error["reply"]) == ("interrupted", True, scene.reply)
    with pytest.raises(Superseded):
        scene.heartbeat()
    assert scene.accept_again().stream.epoch == 3, "the burial had a fence of its own"


def test_a_worker_that_was_only_slow_cannot_end_a_reply_that_was_buried(scene: Scene) -> None:
    scene.store.time_s += EXPIRES_S + 1
    scene.resume()

    reply = Reply(scene.reply)
    reply.cancel()
    with pytest.raises(Superseded):
        scene.store.conversations.finish(scene.accepted, reply, LAST)


def test_a_heartbeat_keeps_a_worker_alive(scene: Scene) -> None:
    for _ in range(5):
        scene.store.time_s += EXPIRES_S - 1
        scene.heartbeat()
    assert scene.resume() == []
    with pytest.raises(Duplicate):
        scene.accept_again()


def test_a_reply_is_buried_once(scene: Scene) -> None:
    scene.show("v=")
    scene.store.time_s += EXPIRES_S + 1
    for _ in range(2):
        assert scene.recovery.ensure_progress(TALK).writer is None
    assert [frame["type"] for frame in scene.sockets.frames("v=")] == ["error"]


def test_a_burial_that_breaks_off_is_done_again(scene: Scene) -> None:
    scene.replies.journal(scene.reply, journaled(0, "So far"))
    assert scene.store.leases.declare_dead(TALK, scene.reply, "worker-1")

    assert scene.resume() == ["resumed", "message", "error"]


def test_a_worker_that_stored_the_end_and_died_has_answered(scene: Scene) -> None:
    scene.resume(offset=3)
    scene.finish()
    scene.show("v=")

    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    assert [frame["type"] for frame in scene.sockets.frames("c1=")] == ["resumed", "message", "complete"]
    assert scene.sockets.frames("c1=")[1]["content"] == " of it"
    assert [frame["type"] for frame in scene.sockets.frames("v=")] == ["complete"], "the worker may not have told it"
    assert scene.sockets.rung == [], "it was cancelled: its user was there"


def test_phones_are_told_when_the_worker_died_before_it_could(scene: Scene) -> None:
    reply = Reply(scene.reply)
    reply.complete(Ending("end_turn", "claude", {"output_tokens": 0}, []))
    last = Outbound("complete", "Response complete", {"stop_reason": "end_turn"})
    scene.store.conversations.finish(scene.accepted, reply, last)

    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    assert [each["reply"] for each in scene.sockets.rung] == [scene.reply]


@pytest.mark.parametrize(
    "asked", [Resume("nothing", None, 0), Resume(None, "nowhere", 0)], ids=["reply", "conversation"]
)
def test_what_is_not_there_is_forbidden(scene: Scene, asked: Resume) -> None:
    with pytest.raises(Forbidden):
        scene.service.resume("alice", connection("c1="), asked)


def test_what_is_somebody_elses_is_forbidden_in_the_same_words(scene: Scene) -> None:
    with pytest.raises(Forbidden) as other:
        scene.resume(user="mallory")
    with pytest.raises(Forbidden) as nothing:
        scene.service.cancel("mallory", Cancel("nothing"))
    assert str(other.value) == str(nothing.value)
    assert dict(scene.heartbeat().subscribers) == {}


def test_everybody_who_shows_the_conversation_is_told_of_a_death(scene: Scene) -> None:
    for name in ("v1=", "v2="):
        scene.show(name)
    scene.resume(name="late=", offset=2)
    scene.replies.journal(scene.reply, journaled(0, "Once upon"))
    scene.sockets.refusals["v1="] = [410]

    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    assert [frame["code"] for frame in scene.sockets.frames("v2=")] == ["interrupted"]
    resumed, text, error = scene.sockets.frames("late=")
    assert (resumed["type"], text["content"], text["offset"], error["code"]) == ("resumed", "ce upon", 2, "interrupted")


def test_the_end_of_a_reply_is_sent_again_when_the_gateway_is_busy(scene: Scene) -> None:
    scene.store.time_s += EXPIRES_S + 1
    scene.sockets.refusals["c1="] = [429, 500]
    assert scene.resume() == ["resumed", "error"]


def test_a_worker_that_is_heard_again_in_time_is_not_buried(scene: Scene) -> None:
    scene.store.time_s += EXPIRES_S + 1
    assert scene.store.leases.get(TALK).expired

    scene.heartbeat()

    assert scene.resume() == []
    scene.heartbeat()


def test_the_same_id_after_a_death_that_nobody_saw_is_told_and_may_be_sent_again(scene: Scene) -> None:
    scene.store.time_s += EXPIRES_S + 1
    with pytest.raises(Duplicate) as known:
        scene.accept_again()

    scene.resume(reply=known.value.reply)

    assert scene.sockets.frames("c1=")[-1]["code"] == "interrupted"
    assert scene.accept_again().stream.reply != scene.reply


def test_who_asks_for_a_reply_that_was_written_anew_gets_the_new_one(scene: Scene) -> None:
    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")
    again = scene.accept_again()

    assert scene.resume(offset=4) == []
    assert dict(scene.store.leases.heartbeat(TALK, again.stream.epoch).subscribers) == {"c1=": 0}

    reply = Reply(again.stream.reply)
    reply.append(text_of("Anew"))
    reply.cancel()
    scene.store.conversations.finish(again, reply, LAST)
    scene.store.leases.end(TALK, again.stream.epoch)
    assert scene.resume(offset=2, name="c2=") == ["resumed", "message", "complete"]
    assert {frame.get("reply") for frame in scene.sockets.frames("c2=")[:2]} == {again.stream.reply}
    assert scene.sockets.frames("c2=")[1]["content"] == "Anew"


# --- those who wait ---


def wait(scene: Scene, number: int = 2) -> Accepted:
    send = Send(f"m{number}", "talk", "And?", "claude")
    return scene.store.conversations.accept("alice", send, number, worker="worker-2")


def test_a_reply_that_waits_is_announced_and_seen_when_it_begins(scene: Scene) -> None:
    waiting = wait(scene)

    assert scene.resume(reply=waiting.stream.reply) == ["typing"]

    [typing] = scene.sockets.frames("c1=")
    assert (typing["id"], typing["reply"], typing["epoch"]) == ("m2", waiting.stream.reply, 0)
    assert [viewer.connection_id for viewer in scene.store.connections.viewers(TALK)] == ["c1="]


def test_a_conversation_is_resumed_where_it_is_being_written(scene: Scene) -> None:
    wait(scene)
    scene.service.resume("alice", connection("c1="), Resume(None, "talk", 0))
    assert dict(scene.heartbeat().subscribers) == {"c1=": 0}
    assert scene.service.active(TALK) == scene.reply


def test_who_waits_behind_the_dead_is_answered(scene: Scene) -> None:
    wait(scene)
    scene.recovery.ensure_progress(TALK)
    assert scene.sockets.invoked == [], "the worker lives, and will come to it"

    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    assert scene.sockets.invoked == [{"continue": {"user": "alice", "conversation": "talk"}, "attempt": 0}]


def test_a_worker_that_fails_again_and_again_is_called_again_later_each_time_and_not_for_ever(
    scene: Scene, pauses: list[float]
) -> None:
    """As `failed` does, with what `message` was called with."""
    scene.show("v=")
    waiting = [wait(scene), wait(scene, 3)]
    scene.recovery.after_failure(TALK, "worker-1", 0)
    for call in range(1, 20):
        if len(scene.sockets.invoked) < call:
            break
        scene.recovery.after_failure(TALK, f"worker-{call + 1}", scene.sockets.invoked[-1]["attempt"])

    assert [event["attempt"] for event in scene.sockets.invoked] == [1, 2, 3, 4, 5]
    assert pauses == [1, 2, 4, 8]
    died, *given_up = scene.sockets.frames("v=")
    assert (died["reply"], died["code"]) == (scene.reply, "interrupted")
    assert [frame["reply"] for frame in given_up] == [each.stream.reply for each in waiting]
    assert {(frame["code"], frame["retryable"]) for frame in given_up} == {("interrupted", True)}
    lease = scene.store.leases.get(TALK)
    assert (lease.queued, lease.writer) == (0, None)
    assert scene.store.conversations.accept("alice", waiting[0].send, 9, worker="w").stream.epoch == 3


def test_nobody_gives_up_what_a_worker_has_come_to(scene: Scene) -> None:
    waiting = wait(scene)
    scene.recovery.recover(TALK, "worker-1")
    scene.store.conversations.take_next(TALK, "worker-2")

    scene.recovery.after_failure(TALK, "worker-9", 5)

    stored = scene.store.conversations.stored(ReplyLocation(waiting.stream.reply, TALK, waiting.turn))
    assert stored is not None
    assert stored.last is None


def test_a_reply_that_is_buried_is_a_line_and_a_metric(
    scene: Scene, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
    assert (line["reason"], line["reply"]) == ("died", scene.reply)
    (metric,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert (metric["RepliesFailed"], metric["reason"]) == ([1.0], "died")


def test_who_waits_is_answered_before_anybody_is_told_of_the_dead(scene: Scene) -> None:
    scene.show("v=")
    scene.resume(name="late=")
    wait(scene)

    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    first, *others = scene.sockets.order
    assert (first, set(others)) == ("message", {"v=", "late="})


def test_who_cannot_be_called_is_an_error_and_the_death_is_told(scene: Scene) -> None:
    scene.show("v=")
    wait(scene)
    scene.sockets.forbids = True

    for _ in range(2):
        with pytest.raises(Unavailable):
            scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    assert [frame["code"] for frame in scene.sockets.frames("v=")] == ["interrupted"]


def test_cancelling_a_reply_that_waits_ends_it(scene: Scene) -> None:
    scene.show("v=")
    waiting = wait(scene)

    for _ in range(2):
        scene.service.cancel("alice", Cancel(waiting.stream.reply))

    [end] = scene.sockets.frames("v=")
    assert (end["type"], end["stop_reason"], end["length"], end["epoch"]) == ("complete", "cancelled", 0, 0)
    assert scene.resume(reply=waiting.stream.reply) == ["resumed", "complete"]
    assert not scene.heartbeat().cancel
    assert scene.store.leases.get(TALK).queued == 0


def test_a_reply_whose_user_had_enough_before_its_worker_died_is_cancelled(scene: Scene) -> None:
    scene.replies.journal(scene.reply, journaled(0, "So far"))
    scene.service.cancel("alice", Cancel(scene.reply))

    scene.recovery.ensure_progress(TALK, dead_worker="worker-1")

    assert scene.resume() == ["resumed", "message", "complete"]
    _, text, end = scene.sockets.frames("c1=")
    assert (text["content"], end["type"], end["stop_reason"]) == ("So far", "complete", "cancelled")
    with pytest.raises(Duplicate):
        scene.accept_again()


def test_cancelling_a_reply_whose_worker_is_dead_ends_it(scene: Scene) -> None:
    scene.show("v=")
    scene.store.time_s += EXPIRES_S + 1

    scene.service.cancel("alice", Cancel(scene.reply))

    assert [frame["stop_reason"] for frame in scene.sockets.frames("v=")] == ["cancelled"]


def test_what_is_shown_is_remembered_of_ones_own_replies_only(scene: Scene) -> None:
    scene.service.acknowledge("alice", "phone", Acknowledge(scene.reply, 5))
    scene.service.acknowledge("alice", None, Acknowledge(scene.reply, 7))
    with pytest.raises(Forbidden):
        scene.service.acknowledge("mallory", "pad", Acknowledge(scene.reply, 5))
    assert scene.replies.acknowledged(scene.reply) == {"phone": 5}
