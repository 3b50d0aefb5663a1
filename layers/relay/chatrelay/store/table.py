"""The table: native Python values in and out."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.config import Config

from chatrelay.errors import Conflict

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import PutTypeDef, TransactWriteItemTypeDef

Item = dict[str, Any]
CONFLICT_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5)
Returning = Literal["ALL_OLD", "ALL_NEW"]
NEW = "attribute_not_exists(pk)"
KNOWN = "attribute_exists(pk)"


def conversation_pk(user: str, conversation: str) -> str:
    """The partition of everything that belongs to a conversation."""
    return f"CONVERSATION#{user}#{conversation}"


@dataclass(frozen=True)
class Table:
    """One table of DynamoDB. Its ``client`` may be used from several threads at once."""

    client: "DynamoDBClient"
    name: str

    @classmethod
    def connect(cls, name: str, *, read_timeout_s: float = 5, attempts: int = 4) -> "Table":
        """The table `name`, with time-outs that fit a person who waits."""
        retries: Any = {"mode": "standard", "total_max_attempts": attempts}
        config = Config(connect_timeout=2, read_timeout=read_timeout_s, retries=retries)
        return cls(boto3.resource("dynamodb", config=config).meta.client, name)

    def get(self, pk: str, sk: str) -> Item | None:
        """One item, read consistently, or None."""
        answer = self.client.get_item(TableName=self.name, Key={"pk": pk, "sk": sk}, ConsistentRead=True)
        return answer.get("Item")

    def put(self, item: Item) -> None:
        """Writes `item`, whatever was there."""
        self.client.put_item(TableName=self.name, Item=item)

    def update(
        self,
        pk: str,
        sk: str,
        expression: str,
        values: Item,
        *,
        condition: str | None = None,
        names: dict[str, str] | None = None,
    ) -> bool:
        """Changes one item. False if `condition` does not hold.

        `values` are for the ``:words`` in the expressions, `names` for the ``#words``.
        """
        more: Item = {} if condition is None else {"ConditionExpression": condition}
        if names is not None:
            more["ExpressionAttributeNames"] = names
        return self._update(pk, sk, expression, values, **more) is not None

    def exchange(
        self, pk: str, sk: str, expression: str, values: Item, condition: str, returning: Returning
    ) -> Item | None:
        """The same, and gives the item as it was or is; None if `condition` does not hold."""
        return self._update(pk, sk, expression, values, ConditionExpression=condition, ReturnValues=returning)

    def _update(self, pk: str, sk: str, expression: str, values: Item, **request: Any) -> Item | None:
        try:
            answer = self.client.update_item(
                TableName=self.name,
                Key={"pk": pk, "sk": sk},
                UpdateExpression=expression,
                ExpressionAttributeValues=values,
                **request,
            )
        except self.client.exceptions.ConditionalCheckFailedException:
            return None
        return answer.get("Attributes", {})

    def delete(self, pk: str, sk: str) -> Item | None:
        """Removes one item and returns what it was, or None if there was none."""
        key = {"pk": pk, "sk": sk}
        answer = self.client.delete_item(TableName=self.name, Key=key, ReturnValues="ALL_OLD")
        return answer.get("Attributes")

    def query(self, pk: str, first: str, last: str) -> Iterator[Item]:
        """The items of `pk` from sort key `first` to `last`, both included, in order, read consistently."""
        pages = self.client.get_paginator("query").paginate(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={":pk": pk, ":first": first, ":last": last},
            ConsistentRead=True,
        )
        for page in pages:
            yield from page["Items"]

    def last(self, pk: str, prefix: str) -> Item | None:
        """The last item of `pk` whose sort key begins with `prefix`, or None."""
        answer = self.client.query(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues={":pk": pk, ":prefix": prefix},
            ConsistentRead=True,
            ScanIndexForward=False,
            Limit=1,
        )
        return next(iter(answer["Items"]), None)

    def put_together(self, first: Item, *others: Item) -> bool:
        """Writes all the items or none. False if there is a `first` already.

        DynamoDB cancels a transaction that meets another one on the same item: it is tried again, and finds what the
        other one has written.
        """
        puts: list[TransactWriteItemTypeDef] = [{"Put": {"TableName": self.name, "Item": item}} for item in others]
        put_first: PutTypeDef = {"TableName": self.name, "Item": first, "ConditionExpression": NEW}
        for pause_s in CONFLICT_PAUSES_S:
            try:
                self.client.transact_write_items(TransactItems=[{"Put": put_first}, *puts])
            except self.client.exceptions.TransactionCanceledException as cancelled:
                reasons = [reason.get("Code") for reason in cancelled.response["CancellationReasons"]]
                if reasons[0] == "ConditionalCheckFailed":
                    return False
                if "TransactionConflict" not in reasons:
                    raise
                time.sleep(pause_s)
            else:
                return True
        raise Conflict(f"{first['pk']} is being written by too many at once")

    def scan(self, sk: str) -> Iterator[Item]:
        """Every item whose sort key is `sk`. Reads the whole table."""
        pages = self.client.get_paginator("scan").paginate(
            TableName=self.name, FilterExpression="sk = :sk", ExpressionAttributeValues={":sk": sk}
        )
        for page in pages:
            yield from page["Items"]
