"""What a deployment keeps in its table, seen from outside: through the services that its gateway has started."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from boto3.dynamodb.conditions import Attr, Key

from emulator.project import DEVELOPER
from tests.builders.deployments import Relay

Item = dict[str, Any]


class Rows:
    """The items of one deployment's table."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def turns(self, conversation: str) -> dict[str, str]:
        """The turn of each message by its id, in the order of the turns."""
        messages = [item for item in self._conversation(conversation) if item["sk"].endswith("#1")]
        return {item["id"]: item["sk"].removeprefix("TURN#").removesuffix("#1") for item in messages}

    def replies(self) -> Counter[str]:
        """How many replies were ever owed for each turn."""
        return Counter(item["turn"] for item in _all(self._table.scan, FilterExpression=Attr("sk").eq("REPLY")))

    def leaks(self, conversation: str) -> list[str]:
        """What must not be there when nobody writes or waits any more."""
        items = self._conversation(conversation)
        leaks = [f"{item['sk']} is left" for item in items if item["sk"].startswith("QUEUE#")]
        leaks += [f"{item['sk']} still shows it" for item in items if item["sk"].startswith("VIEWER#")]
        leases = [item for item in items if item["sk"] == "CONVERSATION#LEASE"]
        leaks += ["a lease is held" for lease in leases if lease.get("reply") is not None]
        return leaks + ["a lease has waiters" for lease in leases if lease.get("queued")]

    def written(self, conversation: str) -> tuple[int, int, int]:
        """How many replies a worker has written to their end, with how many tokens; and how many others they follow."""
        items = [item for item in self._conversation(conversation) if "reply_status" in item]
        ended = [item for item in items if "ending" in item and item["epoch"]]
        tokens = sum(int(count) for item in ended for count in item["ending"]["usage"].values())
        return len(ended), tokens, sum(len(item.get("earlier_replies", ())) for item in items)

    def spent(self) -> tuple[int, int]:
        """How many replies and tokens the user has used this month, by the relay's count."""
        name = f"USAGE#{datetime.now(UTC):%Y-%m}"
        usage = self._user(name)
        return int(usage.get("replies", 0)), int(usage.get("tokens", 0))

    def owed(self) -> set[str]:
        """The replies that count as not ended."""
        return set(self._user("ACCOUNT").get("replies", ()))

    def _user(self, sk: str) -> Item:
        key = {"pk": f"USER#{DEVELOPER}", "sk": sk}
        item: Item = self._table.get_item(Key=key, ConsistentRead=True).get("Item", {})
        return item

    def _conversation(self, conversation: str) -> list[Item]:
        of = Key("pk").eq(f"CONVERSATION#{DEVELOPER}#{conversation}")
        return _all(self._table.query, KeyConditionExpression=of, ConsistentRead=True)

    @cached_property
    def _table(self) -> Any:
        (table,) = self._relay.services.resource("dynamodb").tables.all()
        return table


def _all(read: Callable[..., Any], **question: Any) -> list[Item]:
    page = read(**question)
    items = list(page["Items"])
    while "LastEvaluatedKey" in page:
        page = read(**question, ExclusiveStartKey=page["LastEvaluatedKey"])
        items += page["Items"]
    return items
