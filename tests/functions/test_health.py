"""``GET /api/health`` over a table with 10,000 connections: the right numbers, and what they cost to read."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.session import Session

from chatrelay.aws.session import session
from chatrelay.domain.keys import ConversationKey
from chatrelay.store.attribute_values import encode_item
from chatrelay.store.connections import Connection
from chatrelay.store.store import Store
from chatrelay.store.table import BATCH, Table
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.limits import AGENTS
from tests.builders.layer import CONTEXT, REPOSITORY, by_key

EVENT = json.loads((REPOSITORY / "tests" / "events" / "health.json").read_text())
MINUTE_S = 60
EACH = 50
"""How many connections stand in the table for each one that is opened."""
OPEN = {"claude": range(0, 120, 12), "codex": range(5, 120, 20)}
LOST = {"claude": range(150, 170, 10), "codex": range(150, 170, 10)}
"""How many minutes ago they opened; those that are lost have ended, and their ``$disconnect`` never came."""


class Health:
    """The function, and the DynamoDB calls that it makes: how many items each has read."""

    def __init__(self, load_function: Callable[..., Any], session: Session) -> None:
        self.read: list[int] = []
        session.register("after-call.dynamodb", self._note)
        self._function = load_function("api", CODEX_BACKEND="none")

    def connections(self) -> dict[str, int]:
        self.read.clear()
        answer = self._function.handler(EVENT, CONTEXT)
        assert answer["statusCode"] == 200
        return dict(json.loads(answer["body"])["connections"])

    def _note(self, **call: Any) -> None:
        self.read.append(call["parsed"]["ScannedCount"])


@pytest.fixture
def health(load_function: Callable[..., Any]) -> Iterator[Health]:
    session.cache_clear()
    yield Health(load_function, session())
    session.cache_clear()


def opened(agent: str, minutes_ago: int, number: int = 0) -> Connection:
    connected_at = int(time.time()) - minutes_ago * MINUTE_S
    return Connection(f"{agent} {minutes_ago} {number}=", agent, VERSION_1, connected_at, by_key("alice"))


def multiply(table: Table, connections: list[Connection]) -> None:
    """Writes `EACH` connections for every one that is open, and counts them as often."""
    items = [table.get(f"CONNECTION#{connection.id}", "CONNECTION") or {} for connection in connections]
    more = [{**item, "pk": f"{item['pk']}{number}"} for item in items for number in range(1, EACH)]
    for agent in AGENTS:
        counts = table.query(f"COUNT#{agent}", "0", "9")
        more += [{**bucket, "sockets": bucket["sockets"] * EACH} for bucket in counts]
    for at in range(0, len(more), BATCH):
        puts: Any = [{"PutRequest": {"Item": encode_item(item)}} for item in more[at : at + BATCH]]
        assert not table.client.batch_write_item(RequestItems={table.name: puts})["UnprocessedItems"]


def test_hundreds_of_connections_are_counted_in_one_small_read_for_each_agent(table: Table, health: Health) -> None:
    connections = Store.over(table).connections
    originals = [opened(agent, ago) for when in (OPEN, LOST) for agent in AGENTS for ago in when[agent]]
    for connection in originals:
        connections.open(connection)
    assert health.connections() == {"claude": 10, "codex": 6}, "the lost ones do not count"
    read = list(health.read)

    multiply(table, originals)
    assert health.connections() == {"claude": 500, "codex": 300}
    assert (health.read, len(read)) == (read, 2), "as much as for sixteen connections"

    connections.open(opened("claude", 0, 1))
    connections.open(opened("codex", 0, 1))
    connections.close(f"{opened('claude', 24).id}7")
    connections.close(f"{opened('claude', 150).id}7")  # too late
    connections.gone(ConversationKey("alice", "talk"), f"{opened('codex', 45).id}7")  # a post was answered 410
    connections.gone(ConversationKey("alice", "talk"), f"{opened('codex', 45).id}8")
    assert health.connections() == {"claude": 500, "codex": 299}
    assert len(health.read) == 2
    assert max(health.read) <= 14
