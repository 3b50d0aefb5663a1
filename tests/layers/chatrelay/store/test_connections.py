from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from chatrelay.domain.keys import ConversationKey
from chatrelay.store.accounts import Accounts
from chatrelay.store.connections import RECENTLY_CLOSED_S, Connection, Connections
from chatrelay.store.table import Table
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from tests.builders.layer import by_key

OPENED = 1_700_000_000
HOUR = 3600
ALICE = Connection("a=", "claude", VERSION_1, OPENED, by_key("alice"))
PENDING = Connection("p=", "codex", BUILDEROS, OPENED)
KNOWN = replace(PENDING, identity=by_key("alice"), frames_per_minute=9)


class Clock:
    """Stands still until it is set."""

    def __init__(self) -> None:
        self.now_s = float(OPENED)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connections(table: Table, clock: Clock) -> Connections:
    return Connections(table, Accounts(table, clock=clock), clock)


@pytest.mark.parametrize("connection", [ALICE, PENDING], ids=["authenticated", "pending"])
def test_a_connection_is_remembered_as_it_opened(connections: Connections, connection: Connection) -> None:
    connections.open(connection)

    assert connections.get(connection.id) == connection


def test_a_connection_that_never_was_is_none(connections: Connections) -> None:
    assert connections.get("nobody=") is None


def test_a_connection_expires_after_the_longest_life_of_a_socket(connections: Connections, table: Table) -> None:
    connections.open(ALICE)

    item = table.get("CONNECTION#a=", "CONNECTION") or {}
    assert item["expires_at"] - OPENED > 2 * HOUR


def test_a_pending_connection_becomes_a_users(connections: Connections) -> None:
    connections.open(PENDING)

    connections.authenticate(KNOWN)

    assert connections.get("p=") == KNOWN


def test_a_connection_that_closed_meanwhile_stays_closed(connections: Connections) -> None:
    connections.open(PENDING)
    connections.close("p=")

    connections.authenticate(KNOWN)

    assert connections.get("p=") is None


def test_a_closed_connection_is_forgotten_and_may_be_closed_again(connections: Connections) -> None:
    connections.open(ALICE)
    connections.open(replace(ALICE, id="b="))

    for _ in range(3):
        connections.close("a=")

    assert connections.get("a=") is None
    assert connections.count("claude") == 1


def test_a_closed_connection_is_known_as_a_former_one_for_a_while(connections: Connections, table: Table) -> None:
    connections.open(ALICE)
    assert connections.recently_closed("a=") is None

    connections.close("a=")

    assert connections.recently_closed("a=") == ALICE
    [kept] = table.query("CONNECTION#a=", "A", "Z")
    assert kept["expires_at"] == OPENED + RECENTLY_CLOSED_S


def test_a_connection_that_never_was_may_be_closed(connections: Connections) -> None:
    connections.close("nobody=")

    assert connections.count("claude") == 0


def test_closes_that_race_count_once(connections: Connections) -> None:
    connections.open(ALICE)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(connections.close, ["a="] * 10))

    assert connections.count("claude") == 0


def test_connections_are_counted_by_agent(connections: Connections) -> None:
    for number in range(3):
        connections.open(replace(ALICE, id=f"{number}="))
    connections.open(PENDING)

    assert (connections.count("claude"), connections.count("codex"), connections.count("gpt")) == (3, 1, 0)


def test_authenticating_changes_no_count(connections: Connections) -> None:
    connections.open(PENDING)
    connections.authenticate(KNOWN)

    assert connections.count("codex") == 1


def test_connections_of_two_hours_are_counted_over_all_their_buckets(connections: Connections, clock: Clock) -> None:
    for minute in range(0, 120, 7):
        connections.open(replace(ALICE, id=f"{minute}=", connected_at=OPENED + 60 * minute))
    clock.now_s = OPENED + 119 * 60.0

    assert connections.count("claude") == 18


def test_a_connection_is_counted_to_the_end_of_its_life(connections: Connections, clock: Clock) -> None:
    connections.open(ALICE)
    clock.now_s = OPENED + 2.0 * HOUR

    assert connections.count("claude") == 1


def test_counts_are_right_again_when_disconnects_were_lost(connections: Connections, clock: Clock) -> None:
    for number in range(5):
        connections.open(replace(ALICE, id=f"{number}="))
    clock.now_s = OPENED + 2.5 * HOUR
    connections.open(replace(ALICE, id="new=", connected_at=int(clock.now_s)))

    assert connections.count("claude") == 1


def test_a_disconnect_that_comes_too_late_does_not_spoil_the_count(
    connections: Connections, clock: Clock, table: Table
) -> None:
    connections.open(ALICE)
    bucket = next(iter(table.query("COUNT#claude", "0", "9")))
    table.delete(bucket["pk"], bucket["sk"])  # as TTL does
    clock.now_s = OPENED + 3.0 * HOUR
    connections.open(replace(ALICE, id="new=", connected_at=int(clock.now_s)))

    connections.close("a=")

    assert connections.count("claude") == 1


def test_a_bucket_outlives_the_time_in_which_it_is_read(connections: Connections, clock: Clock, table: Table) -> None:
    connections.open(replace(ALICE, connected_at=1_699_999_800))  # the first second of a bucket
    expires_at = int(next(iter(table.query("COUNT#claude", "0", "9")))["expires_at"])
    clock.now_s = float(expires_at)

    assert connections.count("claude") == 0


def viewers(connections: Connections, conversation: str, user: str = "alice") -> list[str]:
    return [viewer.connection_id for viewer in connections.viewers(ConversationKey(user, conversation))]


def test_a_connection_shows_the_conversation_that_it_named_last(connections: Connections) -> None:
    connections.open(ALICE)
    connections.subscribe(ALICE, "first")
    connections.subscribe(replace(ALICE, viewing="first"), "second")

    assert (viewers(connections, "first"), viewers(connections, "second")) == ([], ["a="])
    assert connections.get("a=") == replace(ALICE, viewing="second")


def test_what_is_named_last_is_shown_however_old_the_reading_is(connections: Connections) -> None:
    connections.open(ALICE)
    connections.subscribe(ALICE, "first")
    connections.subscribe(ALICE, "second")

    assert (viewers(connections, "first"), viewers(connections, "second")) == ([], ["a="])
    connections.close("a=")
    assert viewers(connections, "second") == []


def test_a_connection_that_has_closed_shows_nothing_more(connections: Connections) -> None:
    connections.open(ALICE)
    connections.close("a=")
    connections.subscribe(ALICE, "talk")

    assert viewers(connections, "talk") == []
    assert connections.get("a=") is None


def test_viewers_are_the_users_own(connections: Connections) -> None:
    bob = replace(ALICE, id="b=", identity=by_key("bob"))
    for connection in (ALICE, bob):
        connections.open(connection)
        connections.subscribe(connection, "talk")

    assert viewers(connections, "talk") == ["a="]


def test_a_pending_connection_shows_nothing(connections: Connections) -> None:
    connections.open(PENDING)
    connections.subscribe(PENDING, "talk")

    assert viewers(connections, "talk") == []


@pytest.mark.parametrize("how", ["closed", "found gone"])
def test_a_connection_that_is_no_more_shows_nothing(connections: Connections, how: str) -> None:
    connections.open(ALICE)
    connections.subscribe(ALICE, "talk")
    if how == "closed":
        connections.close("a=")
    else:
        connections.gone(ConversationKey("alice", "talk"), "a=")

    assert viewers(connections, "talk") == []
    assert connections.get("a=") is None
    assert connections.count("claude") == 0


def test_a_viewer_whose_connection_is_forgotten_already_is_removed(connections: Connections, table: Table) -> None:
    connections.open(ALICE)
    connections.subscribe(ALICE, "talk")
    table.delete("CONNECTION#a=", "CONNECTION")  # as TTL does
    connections.gone(ConversationKey("alice", "talk"), "a=")

    assert viewers(connections, "talk") == []
