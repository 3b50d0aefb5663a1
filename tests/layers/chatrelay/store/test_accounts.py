from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chatrelay.domain.errors import (
    ClientError,
    Duplicate,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    Superseded,
    TooManyReplies,
    Unauthorized,
)
from chatrelay.domain.identity import Identity
from chatrelay.domain.keys import ReplyLocation
from chatrelay.domain.limits import Limits
from chatrelay.domain.reply import Ending, Reply
from chatrelay.domain.usage import Used
from chatrelay.store.connections import Connection
from chatrelay.store.conversations import Accepted
from chatrelay.store.table import PAGE, Table
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from tests.builders.layer import Store, by_key

LAST = Outbound("complete", "", {"stop_reason": "end_turn"})
NOW_S = 2_000_000_000
SIGNED_IN = Identity("alice", "app:s1", NOW_S - 60, NOW_S + 600)


@pytest.fixture
def store(table: Table) -> Store:
    return Store(table, Limits(messages_per_minute=3, replies_at_once=2, tokens_per_day=100, dollars_per_month=50))


def send(store: Store, number: int, conversation: str | None = None, user: str = "alice") -> Accepted:
    """Accepts a message, in a conversation of its own if none is named."""
    message = Send(f"m{number}", conversation or f"c{number}", "Hello", "claude")
    return store.conversations.accept(user, message, number, worker=f"worker-{number}")


def end(store: Store, accepted: Accepted, tokens: int = 1, cost: int = 1) -> None:
    reply = Reply(accepted.stream.reply)
    reply.complete(Ending("end_turn", "model 1", {"output_tokens": tokens}, [], cost))
    store.conversations.finish(accepted, reply, LAST)
    store.leases.end(accepted.key, accepted.stream.epoch)


def refused(call: Callable[[], object]) -> ClientError:
    with pytest.raises(ClientError) as refusal:
        call()
    return refusal.value


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_minute_has_so_many_messages_and_the_next_as_many(store: Store) -> None:
    for number in range(3):
        end(store, send(store, number))

    problem = refused(lambda: send(store, 3))
    assert isinstance(problem, RateLimited)
    assert (problem.code, problem.retryable, problem.retry_after_s) == ("rate_limited", True, 40)
    assert send(store, 9, user="bob").waits is False, "another user has another minute"

    store.time_s += 40
    end(store, send(store, 3))


def test_a_repeated_message_is_attached_and_counts_nothing(store: Store) -> None:
    accepted = send(store, 1)
    for _ in range(5):
        with pytest.raises(Duplicate) as known:
            send(store, 1)
        assert known.value.reply == accepted.stream.reply
    end(store, accepted)
    for number in (2, 3):
        end(store, send(store, number))

    with pytest.raises(Duplicate):
        send(store, 1)


def test_a_refused_message_leaves_nothing_and_is_not_counted(store: Store) -> None:
    first, _ = send(store, 1), send(store, 2)
    for _ in range(3):
        assert isinstance(refused(lambda: send(store, 3)), TooManyReplies)
    assert store.table.get("CONVERSATION#alice#c3", "ID#m3") is None
    end(store, first)

    assert send(store, 3).waits is False, "the third of this minute: those that were refused do not count"


def test_of_twenty_messages_that_race_for_the_last_one_allowed_one_is_accepted(store: Store) -> None:
    for number in (1, 2):
        end(store, send(store, number))

    def outcome(number: int) -> str:
        try:
            send(store, number)
        except ClientError as problem:
            return problem.code
        return "accepted"

    with ThreadPoolExecutor(20) as pool:
        outcomes = sorted(pool.map(outcome, range(10, 30)))

    assert outcomes == ["accepted", *["rate_limited"] * 19]


def test_of_twenty_messages_that_race_under_the_limit_none_is_refused(table: Table) -> None:
    store = Store(table, Limits(messages_per_minute=20, replies_at_once=20))

    with ThreadPoolExecutor(20) as pool:
        accepted = list(pool.map(lambda number: send(store, number), range(20)))

    assert store.accounts.get("alice").replies == {each.stream.reply for each in accepted}


@pytest.mark.parametrize("ends", ["finish", "interrupt", "withdraw", "delete"])
def test_a_reply_is_owed_until_it_ends_however_it_ends(store: Store, ends: str) -> None:
    first = send(store, 1, "talk")
    second = send(store, 2, "talk")
    assert (first.waits, second.waits) == (False, True)
    assert store.accounts.get("alice").replies == {first.stream.reply, second.stream.reply}
    reply = Reply(first.stream.reply)
    waiting = Reply(second.stream.reply)
    match ends:
        case "finish":
            end(store, first)
        case "interrupt":
            reply.cancel()
            assert store.conversations.interrupt(where(first), reply, LAST)
        case "withdraw":
            waiting.cancel()
            assert store.conversations.withdraw(where(second), waiting, LAST)
        case "delete":
            store.archive.delete(first.key)

    left = {"withdraw": {first.stream.reply}, "delete": set()}.get(ends, {second.stream.reply})
    assert store.accounts.get("alice").replies == left


def where(accepted: Accepted) -> ReplyLocation:
    return ReplyLocation(accepted.stream.reply, accepted.key, accepted.turn)


def test_a_day_that_is_used_up_takes_no_message_and_says_when_to_come_back(store: Store) -> None:
    first, second = send(store, 1), send(store, 2)
    end(store, first, tokens=100)

    problem = refused(lambda: send(store, 3))
    assert isinstance(problem, QuotaExceeded)
    end(store, second, tokens=50)  # what was under way ends, and is counted
    with pytest.raises(Duplicate):
        send(store, 1)

    assert problem.retry_after_s is not None
    store.time_s += problem.retry_after_s
    assert send(store, 3).waits is False


def test_a_user_has_limits_of_their_own_until_they_are_taken_back(store: Store) -> None:
    store.accounts.limit("alice", "messages_per_minute", 1)
    end(store, send(store, 1))
    assert isinstance(refused(lambda: send(store, 2)), RateLimited)

    store.accounts.limit("alice", "messages_per_minute", None)
    for number in range(2, 7):
        end(store, send(store, number))

    store.accounts.limit("alice", "messages_per_minute", 0)
    assert refused(lambda: send(store, 9)).retry_after_s is None, "waiting does not help"
    store.accounts.unlimit("alice", "messages_per_minute")
    for number in range(7, 9):  # where there is no limit, nothing is counted
        end(store, send(store, number))
    assert refused(lambda: send(store, 9)).retry_after_s == 40
    assert store.accounts.get("alice").limits.replies_at_once == 2


def test_limits_that_change_while_a_reply_is_written_hold_from_the_next_message_on(store: Store) -> None:
    accepted = send(store, 1)
    store.accounts.limit("alice", "tokens_per_day", 0)

    end(store, accepted, tokens=7)

    assert refused(lambda: send(store, 2)).code == "quota_exceeded"
    assert store.usages.month("alice", "2033-05").total.tokens == 7


# --- who is let in ----------------------------------------------------------------------------------------------------


def test_a_blocked_user_is_let_in_nowhere_and_what_waits_goes_on_afterwards(store: Store) -> None:
    first = send(store, 1, "talk")
    send(store, 2, "talk")
    store.accounts.block("alice")

    assert isinstance(refused(lambda: store.accounts.admit(by_key("alice"))), Unauthorized)
    assert isinstance(refused(lambda: store.connections.open(connection("a"))), Unauthorized)
    with pytest.raises(ClientError):
        send(store, 3)
    end(store, first)
    assert store.conversations.take_next(first.key, "worker-9") is None
    assert store.accounts.admit(by_key("bob")).user == "bob"

    store.accounts.unblock("alice")
    taken = store.conversations.take_next(first.key, "worker-9")
    assert taken is not None
    assert taken.send.id == "m2"


def test_signing_out_refuses_tokens_of_until_then_and_no_keys(store: Store) -> None:
    store.accounts.sign_out("alice")

    assert isinstance(refused(lambda: store.accounts.admit(SIGNED_IN)), Unauthorized)
    assert isinstance(refused(lambda: store.connections.open(connection("a", SIGNED_IN))), Unauthorized)
    assert store.accounts.admit(replace(SIGNED_IN, issued_at=NOW_S + 1)).user == "alice"
    assert store.accounts.admit(by_key("alice")).user == "alice"


def test_a_revoked_credential_is_refused_and_others_of_its_user_are_not(store: Store) -> None:
    store.accounts.revoke(SIGNED_IN)

    assert isinstance(refused(lambda: store.accounts.admit(SIGNED_IN)), Unauthorized)
    assert isinstance(refused(lambda: store.connections.open(connection("a", SIGNED_IN))), Unauthorized)
    assert store.accounts.admit(replace(SIGNED_IN, credential="app:s2")).user == "alice"
    revoked = store.table.get("USER#alice", "REVOKED#app:s1") or {}
    assert revoked["expires_at"] > NOW_S + 29 * 24 * 3600


# --- sockets ----------------------------------------------------------------------------------------------------------


def connection(name: str, identity: Identity | None = None, at: int = NOW_S) -> Connection:
    return Connection(name, "claude", VERSION_1, at, identity or by_key("alice"))


def test_one_socket_too_many_closes_the_oldest_and_is_never_refused(store: Store) -> None:
    for number in range(5):
        store.connections.open(connection(f"{number}=", at=NOW_S + number), 3)

    assert store.accounts.get("alice").sockets == {"2=", "3=", "4="}
    assert [store.connections.get(f"{number}=") is not None for number in range(5)] == [False, False, True, True, True]


def test_sockets_that_expired_unheard_make_room(store: Store) -> None:
    store.connections.open(connection("old="), 1)
    store.table.delete("CONNECTION#old=", "CONNECTION")

    store.connections.open(connection("new="), 1)

    assert store.accounts.get("alice").sockets == {"new="}


def test_who_may_have_no_socket_has_none(store: Store) -> None:
    assert isinstance(refused(lambda: store.connections.open(connection("a"), 0)), RateLimited)


def test_a_socket_is_its_users_until_it_closes(store: Store) -> None:
    store.connections.open(connection("a="), 1)
    store.connections.close("a=")
    store.connections.open(connection("b="), 1)
    store.connections.close("b=", at_once=True)

    assert store.accounts.get("alice").sockets == set()
    assert store.connections.recently_closed("a=") is not None
    assert store.connections.recently_closed("b=") is None, "its frames are nobody's"


# --- usage ------------------------------------------------------------------------------------------------------------


def test_usage_is_counted_once_by_user_day_and_model(store: Store) -> None:
    accepted = send(store, 1)
    reply = Reply(accepted.stream.reply)
    counts = {"input_tokens": 5, "output_tokens": 7, "cache_read_input_tokens": 3}
    reply.complete(Ending("end_turn", "model 1", counts, [], 12))
    for _ in range(3):  # a worker that did not hear that its end was stored says it again
        store.conversations.finish(accepted, reply, LAST)
    store.time_s += 24 * 3600
    end(store, send(store, 2), tokens=4)

    month = store.usages.month("alice", "2033-05")
    assert (month.total.tokens, month.total.cost, month.total.replies) == (19, 13, 2)
    assert [(day, spent.tokens) for day, spent in sorted(month.days.items())] == [("2033-05-18", 15), ("2033-05-19", 4)]
    assert month.models["2033-05-18"] == {"model 1": {**counts, "cost": 12, "replies": 1}}
    assert store.usages.month("bob", "2033-05").total.replies == 0
    assert store.usages.month("alice", "2033-06").days == {}


def test_of_two_ends_of_one_reply_the_stored_one_is_counted(store: Store) -> None:
    accepted = send(store, 1)
    cancelled = Reply(accepted.stream.reply)
    cancelled.cancel()
    assert store.conversations.interrupt(where(accepted), cancelled, Outbound("complete"))
    late = Reply(accepted.stream.reply)
    late.complete(Ending("end_turn", "m", {"output_tokens": 1000}, []))

    assert not store.conversations.interrupt(where(accepted), late, LAST)

    assert store.usages.month("alice", "2033-05").total.replies == 1
    assert store.usages.month("alice", "2033-05").total.tokens < 1000


def test_a_reply_that_is_deleted_while_it_is_written_is_counted_once(store: Store) -> None:
    accepted = send(store, 1)
    store.leases.heartbeat(accepted.key, accepted.stream.epoch, Used("m", {"input_tokens": 5, "output_tokens": 4}, 7))

    store.archive.delete(accepted.key)

    reply = Reply(accepted.stream.reply)
    reply.complete(Ending("end_turn", "m", {"output_tokens": 1000}, []))
    with pytest.raises(Superseded):  # the writer that has not heard of it yet
        store.conversations.finish(accepted, reply, LAST)
    total = store.usages.month("alice", "2033-05").total
    assert (total.tokens, total.cost, total.replies) == (9, 7, 1)
    assert store.accounts.get("alice").replies == set()


def test_a_writer_that_ends_in_the_middle_of_a_deletion_is_not_counted_beside_it(store: Store) -> None:
    """Whichever of the two writes the turn first is the one that counts."""
    accepted = send(store, 1)
    store.leases.heartbeat(accepted.key, accepted.stream.epoch, Used("m", {"output_tokens": 4}))
    reply = Reply(accepted.stream.reply)
    reply.complete(Ending("end_turn", "m", {"output_tokens": 6}, []))
    store.conversations.finish(accepted, reply, LAST)  # it has the lease still

    store.archive.delete(accepted.key)

    assert store.usages.month("alice", "2033-05").total.tokens == 6


def test_a_reply_that_its_service_refused_has_used_nothing(store: Store) -> None:
    accepted = send(store, 1)
    reply = Reply(accepted.stream.reply)
    reply.asked = Used("m", {"input_tokens": 90_000}, 270_000)
    reply.break_off(Overloaded("Busy."))

    store.conversations.finish(accepted, reply, LAST)

    total = store.usages.month("alice", "2033-05").total
    assert (total.tokens, total.cost, total.replies) == (0, 0, 1)


@pytest.mark.parametrize(
    ("limits", "sizes", "code"),
    [
        (Limits(files_per_day=2), [1, 1, 1], "quota_exceeded"),
        (Limits(megabytes_per_day=1), [600_000, 400_000, 1], "quota_exceeded"),
        (Limits(megabytes_per_day=1), [1_000_001], "quota_exceeded"),
        (Limits(files_per_day=0), [1], "quota_exceeded"),
        (Limits(), [10**9] * 3, None),
    ],
)
def test_a_day_has_room_for_so_many_files(store: Store, limits: Limits, sizes: list[int], code: str | None) -> None:
    *fitting, last = sizes
    for size in fitting:
        store.usages.add_file("alice", size, limits)

    if code is None:
        store.usages.add_file("alice", last, limits)
    else:
        problem = refused(lambda: store.usages.add_file("alice", last, limits))
        assert problem.code == code
        assert (problem.retry_after_s is None) == (not fitting), "a file that never fits has nothing to wait for"
    spent = store.usages.month("alice", "2033-05").days.get("2033-05-18")
    counted = fitting if code else sizes
    assert (spent.files, spent.bytes) == (len(counted), sum(counted)) if spent else not counted


# --- everybody --------------------------------------------------------------------------------------------------------


def test_all_users_are_listed_however_they_came(store: Store) -> None:
    for number in range(PAGE + 5):
        store.accounts.override(f"user-{number}", {})
    store.connections.open(connection("a="))
    send(store, 1, user="bob")
    store.time_s += 24 * 3600
    store.connections.open(connection("b=", by_key("carol")))

    listed = list(store.accounts.all())

    assert listed[0] == "carol", "who came last is first"
    assert set(listed) == {f"user-{number}" for number in range(PAGE + 5)} | {"alice", "bob", "carol"}
    assert len(listed) == PAGE + 8
