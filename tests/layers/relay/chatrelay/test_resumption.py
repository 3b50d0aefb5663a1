from dataclasses import dataclass

import pytest

from chatrelay.errors import Duplicate, Forbidden, Superseded
from chatrelay.gateway import Gateway
from chatrelay.protocol import Cancel, Dialect, Outbound, Resume, Send
from chatrelay.reply import Reply
from chatrelay.resumption import Resumption
from chatrelay.store.connections import Connection, Connections
from chatrelay.store.conversations import Accepted, Conversations
from chatrelay.store.replies import EXPIRES_S, Replies
from chatrelay.store.table import Table
from tests.layers.relay.chatrelay.doubles import Sockets

HELLO = Send("m1", "talk", "Hello", "claude")
LAST = Outbound("complete", "Response complete", {"stop_reason": "end_turn"})


@dataclass
class Scene:
    """A reply that a worker has begun, and a clock that the test turns."""

    conversations: Conversations
    replies: Replies
    resumption: Resumption
    accepted: Accepted
    sockets: Sockets
    time_s: list[float]

    @property
    def reply(self) -> str:
        return self.accepted.origin.reply

    def resume(self, offset: int = 0, user: str = "alice") -> list[str]:
        """The types of the frames that come straight back."""
        self.resumption.resume(user, "c1=", Resume(self.reply, None, offset))
        return [frame["type"] for frame in self.sockets.frames("c1=")]


@pytest.fixture
def scene(table: Table, gateway: Gateway, sockets: Sockets) -> Scene:
    time_s = [1_700_000_000.0]
    conversations, replies = Conversations(table, lambda: time_s[0]), Replies(table, lambda: time_s[0])
    accepted = conversations.accept("alice", HELLO, 1, "worker-1")
    resumption = Resumption(Connections(table), conversations, replies, gateway)
    return Scene(conversations, replies, resumption, accepted, sockets, time_s)


def test_a_live_reply_is_left_to_its_worker(scene: Scene) -> None:
    assert scene.resume(offset=7) == []

    signals = scene.replies.heartbeat(scene.reply)
    assert (dict(signals.subscribers), signals.cancel) == ({"c1=": 7}, False)


def test_a_subscriber_who_was_served_and_asks_again_is_there_again(scene: Scene) -> None:
    scene.resume(offset=7)
    scene.resume(offset=9)
    scene.replies.served(scene.reply, "c1=", 7)
    assert dict(scene.replies.heartbeat(scene.reply).subscribers) == {"c1=": 9}

    scene.replies.served(scene.reply, "c1=", 9)
    assert dict(scene.replies.heartbeat(scene.reply).subscribers) == {}


def test_a_subscriber_who_comes_while_the_reply_ends_is_not_forgotten(scene: Scene) -> None:
    scene.resume(offset=3)
    assert dict(scene.replies.end(scene.reply).subscribers) == {"c1=": 3}
    assert dict(scene.replies.end(scene.reply).subscribers) == {"c1=": 3}, "the first answer may have been lost"


def test_the_worker_hears_that_its_user_has_had_enough(scene: Scene) -> None:
    scene.resumption.cancel("alice", Cancel(scene.reply))
    assert scene.replies.heartbeat(scene.reply).cancel


def test_a_silent_worker_is_dead_the_first_time_anyone_looks(scene: Scene) -> None:
    scene.replies.journal(scene.reply, 0, "So far 🌅")
    scene.replies.journal(scene.reply, 9, ", so good")
    scene.time_s[0] += EXPIRES_S + 1

    assert scene.resume() == ["resumed", "message", "error"]

    _, text, error = scene.sockets.frames("c1=")
    assert text["content"] == "So far 🌅, so good"
    assert (error["code"], error["retryable"], error["reply"]) == ("interrupted", True, scene.reply)
    with pytest.raises(Superseded):
        scene.replies.heartbeat(scene.reply)
    assert scene.conversations.accept("alice", HELLO, 2, "worker-2").origin.epoch == 2


def test_a_worker_that_was_only_slow_cannot_end_a_reply_that_was_buried(scene: Scene) -> None:
    scene.time_s[0] += EXPIRES_S + 1
    scene.resume()

    reply = Reply(scene.reply)
    reply.cancel()
    with pytest.raises(Superseded):
        scene.conversations.finish(scene.accepted, reply, LAST)


def test_a_heartbeat_keeps_a_worker_alive(scene: Scene) -> None:
    for _ in range(5):
        scene.time_s[0] += EXPIRES_S - 1
        scene.replies.heartbeat(scene.reply)
    assert scene.resume() == []
    with pytest.raises(Duplicate):
        scene.conversations.accept("alice", HELLO, 2, "worker-2")


def test_a_reply_is_buried_once(scene: Scene) -> None:
    scene.time_s[0] += EXPIRES_S + 1
    where = scene.replies.find(scene.reply)
    assert where is not None
    assert scene.resumption.bury(where)
    assert not scene.resumption.bury(where)


@pytest.mark.parametrize(
    "asked", [Resume("nothing", None, 0), Resume(None, "nowhere", 0)], ids=["reply", "conversation"]
)
def test_what_is_not_there_is_forbidden(scene: Scene, asked: Resume) -> None:
    with pytest.raises(Forbidden):
        scene.resumption.resume("alice", "c1=", asked)


def test_what_is_somebody_elses_is_forbidden_in_the_same_words(scene: Scene) -> None:
    with pytest.raises(Forbidden) as other:
        scene.resume(user="mallory")
    with pytest.raises(Forbidden) as nothing:
        scene.resumption.cancel("mallory", Cancel("nothing"))
    assert str(other.value) == str(nothing.value)
    assert dict(scene.replies.heartbeat(scene.reply).subscribers) == {}


def test_everybody_who_shows_the_conversation_is_told_of_a_death(scene: Scene, table: Table) -> None:
    for name in ("v1=", "v2="):
        Connections(table).view(Connection(name, "claude", Dialect.RELAY, 1_700_000_000, "alice"), "talk")
    scene.resumption.resume("alice", "late=", Resume(scene.reply, None, 2))
    scene.replies.journal(scene.reply, 0, "Once upon")
    scene.sockets.refusals["v1="] = [410]
    where = scene.replies.find(scene.reply)
    assert where is not None

    assert scene.resumption.bury(where, is_dead=True)

    assert [frame["code"] for frame in scene.sockets.frames("v2=")] == ["interrupted"]
    resumed, text, error = scene.sockets.frames("late=")
    assert (resumed["type"], text["content"], text["offset"], error["code"]) == ("resumed", "ce upon", 2, "interrupted")


def test_the_end_of_a_reply_is_sent_again_when_the_gateway_is_busy(scene: Scene) -> None:
    scene.time_s[0] += EXPIRES_S + 1
    scene.sockets.refusals["c1="] = [429, 500]
    assert scene.resume() == ["resumed", "error"]


def test_a_worker_that_is_heard_again_in_time_is_not_buried(scene: Scene) -> None:
    scene.time_s[0] += EXPIRES_S + 1
    where = scene.replies.find(scene.reply)
    assert where is not None
    assert where.expired

    scene.replies.heartbeat(scene.reply)

    assert not scene.resumption.bury(where)
    scene.replies.heartbeat(scene.reply)


def test_a_journal_with_a_gap_ends_at_the_gap(scene: Scene) -> None:
    scene.replies.journal(scene.reply, 0, "one 🌅")
    scene.replies.journal(scene.reply, 9, "three")
    assert scene.replies.journaled(scene.reply) == "one 🌅"


def test_the_same_id_after_a_death_that_nobody_saw_is_told_and_may_be_sent_again(scene: Scene) -> None:
    scene.time_s[0] += EXPIRES_S + 1
    with pytest.raises(Duplicate) as known:
        scene.conversations.accept("alice", HELLO, 2, "worker-2")

    scene.resumption.resume("alice", "c1=", Resume(known.value.reply, None, 0))

    assert scene.sockets.frames("c1=")[-1]["code"] == "interrupted"
    assert scene.conversations.accept("alice", HELLO, 3, "worker-2").origin.epoch == 2
