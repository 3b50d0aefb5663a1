from concurrent.futures import ThreadPoolExecutor

import pytest

from chatrelay.domain.errors import Conflict, Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.store.leases import EXPIRES_S, Lease, Leases, Writer
from tests.builders.layer import Store

TALK = ConversationKey("alice", "talk")
WRITER = Writer("reply-1", "turn-1", "worker-1")
UNTIL_MS = 2_000_000_015_500
"""A lease that is taken or renewed now."""


@pytest.fixture
def leases(store: Store) -> Leases:
    return store.leases


def claim(store: Store, writer: Writer = WRITER) -> bool:
    return not store.table.transact(store.leases.claim(TALK, store.leases.get(TALK), writer))


def wait(store: Store, change: int = 1) -> None:
    assert store.table.transact(store.leases.wait(TALK, change)) == []


def test_a_conversation_begins_free(leases: Leases) -> None:
    assert leases.get(TALK) == Lease(fence=0, queued=0, writer=None, expired=False)


def test_who_claims_a_free_lease_has_it_at_the_next_fence(store: Store, leases: Leases) -> None:
    assert claim(store)
    assert leases.get(TALK) == Lease(fence=1, queued=0, writer=WRITER, alive_until_ms=UNTIL_MS)
    assert leases.get(ConversationKey("alice", "other")).writer is None
    assert leases.get(ConversationKey("bob", "talk")).writer is None


def test_a_lease_is_had_by_one_at_a_time(store: Store, leases: Leases) -> None:
    assert claim(store)
    assert not claim(store, Writer("reply-2", "turn-2", "worker-2"))
    leases.end(TALK, 1)
    assert claim(store, Writer("reply-2", "turn-2", "worker-2"))
    assert leases.get(TALK).fence == 2


def test_of_20_that_saw_it_free_one_has_it(store: Store, leases: Leases) -> None:
    seen = leases.get(TALK)

    def race(number: int) -> bool:
        writer = Writer(f"reply-{number}", "turn", "worker")
        try:
            return not store.table.transact(leases.claim(TALK, seen, writer))
        except Conflict:
            return False

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(race, range(20))) == 1
    assert leases.get(TALK).fence == 1


def test_a_look_that_is_out_of_date_gets_nothing(store: Store, leases: Leases) -> None:
    seen = leases.get(TALK)
    claim(store)
    leases.end(TALK, 1)

    late = leases.claim(TALK, seen, Writer("reply-2", "turn-2", "worker-2"))

    assert store.table.transact(late) == [late]


def test_nobody_overtakes_those_who_wait(store: Store, leases: Leases) -> None:
    wait(store)
    assert not claim(store)
    assert store.table.transact(leases.take(TALK, leases.get(TALK), WRITER)) == []
    assert leases.get(TALK) == Lease(fence=1, queued=0, writer=WRITER, arrivals=1, alive_until_ms=UNTIL_MS)


def test_who_gives_up_waits_no_more(store: Store) -> None:
    wait(store)
    wait(store, -1)
    assert claim(store)


def test_an_earlier_writer_has_no_say(store: Store, leases: Leases) -> None:
    claim(store)
    leases.end(TALK, 1)
    claim(store, Writer("reply-2", "turn-2", "worker-2"))

    with pytest.raises(Superseded):
        leases.heartbeat(TALK, 1)
    with pytest.raises(Superseded):
        leases.end(TALK, 1)
    leases.subscribe(TALK, "reply-2", "c=", 3)
    leases.clear_resume_request(TALK, 1, "c=", 3)

    assert dict(leases.heartbeat(TALK, 2).subscribers) == {"c=": 3}


def test_signals_reach_the_writer_of_that_reply_only(store: Store, leases: Leases) -> None:
    claim(store)
    assert not leases.subscribe(TALK, "another", "c=", 0)
    assert not leases.cancel(TALK, "another")
    assert leases.subscribe(TALK, "reply-1", "c=", 7)
    assert leases.cancel(TALK, "reply-1")

    signals = leases.end(TALK, 1)

    assert (dict(signals.subscribers), signals.cancel) == ({"c=": 7}, True)
    claim(store, Writer("reply-2", "turn-2", "worker-2"))
    signals = leases.heartbeat(TALK, 2)
    assert (dict(signals.subscribers), signals.cancel) == ({}, False)


def test_a_writer_is_silent_for_long_before_it_counts_as_dead(store: Store, leases: Leases) -> None:
    claim(store)
    for _ in range(5):
        store.time_s += EXPIRES_S - 1
        leases.heartbeat(TALK, 1)
    assert not leases.get(TALK).expired
    assert leases.declare_dead(TALK, "reply-1") is None

    store.time_s += EXPIRES_S + 1
    assert leases.get(TALK).expired
    assert not leases.subscribe(TALK, "reply-1", "c=", 0)
    assert leases.declare_dead(TALK, "another") is None
    dead = leases.declare_dead(TALK, "reply-1")
    assert dead is not None
    assert (dead.fence, dead.expired) == (2, True)


def test_who_is_declared_dead_is_fenced_off(store: Store, leases: Leases) -> None:
    claim(store)
    assert leases.declare_dead(TALK, "reply-1", "worker-2") is None
    assert leases.declare_dead(TALK, "reply-1", "worker-1")

    with pytest.raises(Superseded):
        leases.heartbeat(TALK, 1)
    assert leases.get(TALK).expired, "so that a burial which breaks off is done again"
    assert not claim(store, Writer("reply-2", "turn-2", "worker-2"))
    leases.end(TALK, 2)
    assert claim(store, Writer("reply-2", "turn-2", "worker-2"))


def test_ten_who_wait_are_counted_while_the_writer_beats(store: Store, leases: Leases) -> None:
    claim(store)

    def act(number: int) -> None:
        if number % 2:
            wait(store)
        else:
            leases.heartbeat(TALK, 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(20)))

    assert leases.get(TALK) == Lease(fence=1, queued=10, writer=WRITER, arrivals=10, alive_until_ms=UNTIL_MS)
