"""One table of DynamoDB: native Python values in and out."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from random import uniform
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatrelay.aws.session import client
from chatrelay.domain.errors import Conflict, Unavailable
from chatrelay.domain.retry import retry
from chatrelay.store.attribute_values import Item, decode_item, encode_item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

T = TypeVar("T")
CONFLICT_PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""DynamoDB cancels a write that meets a transaction on the same item."""
BATCH = 25
"""The most deletions that one ``BatchWriteItem`` takes."""
PAGE = 100
PASSING = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
"""Error codes of a service that is overloaded for the moment."""
PASSING_REASONS = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
"""Why DynamoDB cancels a transaction that may succeed the next time."""
Returning = Literal["ALL_OLD", "ALL_NEW"]
IF_ABSENT = "attribute_not_exists(pk)"
IF_EXISTS = "attribute_exists(pk)"


@dataclass(frozen=True)
class Put:
    """Part of a transaction that writes `item`. `values` are for the condition."""

    item: Item
    condition: str | None = None
    values: Item | None = None

    def request(self, table: str) -> "TransactWriteItemTypeDef":
        return {
            "Put": _without_none(
                TableName=table,
                Item=encode_item(self.item),
                ExpressionAttributeValues=_values(self.values),
                ConditionExpression=self.condition,
            )
        }


@dataclass(frozen=True)
class Update:
    """Part of a transaction that changes one item."""

    pk: str
    sk: str
    expression: str
    values: Item
    condition: str | None = None
    names: dict[str, str] | None = None

    def request(self, table: str) -> "TransactWriteItemTypeDef":
        return {
            "Update": _without_none(
                TableName=table,
                Key=_key(self.pk, self.sk),
                UpdateExpression=self.expression,
                ExpressionAttributeValues=_values(self.values),
                ExpressionAttributeNames=self.names,
                ConditionExpression=self.condition,
            )
        }


@dataclass(frozen=True)
class Check:
    """Part of a transaction that writes nothing, and is refused if `condition` does not hold for the item."""

    pk: str
    sk: str
    condition: str
    values: Item | None = None

    def request(self, table: str) -> "TransactWriteItemTypeDef":
        return {
            "ConditionCheck": _without_none(
                TableName=table,
                Key=_key(self.pk, self.sk),
                ExpressionAttributeValues=_values(self.values),
                ConditionExpression=self.condition,
            )
        }


@dataclass(frozen=True)
class Delete:
    """Part of a transaction that deletes one item. `values` are for the condition."""

    pk: str
    sk: str
    condition: str | None = None
    values: Item | None = None

    def request(self, table: str) -> "TransactWriteItemTypeDef":
        return {
            "Delete": _without_none(
                TableName=table,
                Key=_key(self.pk, self.sk),
                ExpressionAttributeValues=_values(self.values),
                ConditionExpression=self.condition,
            )
        }


Write = Put | Update | Delete | Check


@dataclass(frozen=True)
class Table:
    """One table of DynamoDB. ``client`` is safe to use from several threads at once."""

    client: "DynamoDBClient"
    name: str

    @classmethod
    def connect(cls, name: str, *, read_timeout_s: float = 5, attempts: int = 4) -> "Table":
        """Return the table `name`, with time-outs that fit a person who waits."""
        retries: Any = {"mode": "standard", "total_max_attempts": attempts}
        # What is sent is made here, by tested code; and checking it costs as much as signing it.
        config = Config(connect_timeout=2, read_timeout=read_timeout_s, retries=retries, parameter_validation=False)
        return cls(client("dynamodb", config), name)

    def get(self, pk: str, sk: str) -> Item | None:
        """Return one item, read consistently, or None."""
        # Consistently: a lease or a reply is read by others the moment after it was written.
        answer = self.client.get_item(TableName=self.name, Key=_key(pk, sk), ConsistentRead=True)
        return decode_item(answer["Item"]) if "Item" in answer else None

    def get_all(self, *keys: tuple[str, str]) -> dict[tuple[str, str], Item]:
        """Return those of up to 100 items that there are, by ``(pk, sk)``, read consistently. Raise ``Unavailable``."""
        found: dict[tuple[str, str], Item] = {}
        wanted: Any = {self.name: {"Keys": [_key(*key) for key in keys], "ConsistentRead": True}}

        def attempt() -> None:
            nonlocal wanted
            answer = self.client.batch_get_item(RequestItems=wanted)
            items = map(decode_item, answer["Responses"].get(self.name, []))
            found.update({(item["pk"], item["sk"]): item for item in items})
            wanted = answer["UnprocessedKeys"]
            if wanted:
                raise Unavailable("DynamoDB leaves reads undone")

        retry(attempt, CONFLICT_PAUSES_S, on=Unavailable)
        return found

    def put(self, item: Item) -> None:
        """Write `item`, whatever was there."""
        self.client.put_item(TableName=self.name, Item=encode_item(item))

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
        """Change one item. Return False if `condition` does not hold.

        `values` are for the ``:words`` in the expressions, `names` for the ``#words``.
        """
        request = _without_none(ConditionExpression=condition, ExpressionAttributeNames=names)
        return self._update(pk, sk, expression, values, **request) is not None

    def update_returning(
        self, pk: str, sk: str, expression: str, values: Item, condition: str, returning: Returning
    ) -> Item | None:
        """Change one item, and return it as it was or is; None if `condition` does not hold."""
        return self._update(pk, sk, expression, values, ConditionExpression=condition, ReturnValues=returning)

    def _update(self, pk: str, sk: str, expression: str, values: Item, **request: Any) -> Item | None:
        return self._write(
            self.client.update_item,
            Key=_key(pk, sk),
            UpdateExpression=expression,
            **_without_none(ExpressionAttributeValues=_values(values)),
            **request,
        )

    def delete(self, pk: str, sk: str) -> Item | None:
        """Delete one item and return what it was; None if there was none. Of several callers at once, one gets it."""
        return self._write(
            self.client.delete_item, Key=_key(pk, sk), ConditionExpression=IF_EXISTS, ReturnValues="ALL_OLD"
        )

    def _write(self, operation: Callable[..., Any], **request: Any) -> Item | None:
        """Return the attributes that a write of one item answers with; None if its condition does not hold."""

        def attempt() -> Item | None:
            try:
                answer = operation(TableName=self.name, **request)
            except self.client.exceptions.ConditionalCheckFailedException:
                return None
            except self.client.exceptions.TransactionConflictException as met:  # nothing is written
                raise Conflict(request["Key"]["pk"]["S"]) from met
            return decode_item(answer.get("Attributes", {}))

        return _retry_conflicts(attempt)

    def delete_all(self, keys: Iterable[tuple[str, str]]) -> None:
        """Delete the items of these ``(pk, sk)``, a batch at a time, in about this order. Raise ``Unavailable``."""
        left = iter(keys)
        batch: list[Any]

        def attempt() -> None:
            nonlocal batch
            answer = self.client.batch_write_item(RequestItems={self.name: batch})
            batch = answer["UnprocessedItems"].get(self.name, [])
            if batch:
                raise Unavailable("DynamoDB leaves deletions undone")

        while batch := [{"DeleteRequest": {"Key": _key(pk, sk)}} for pk, sk in islice(left, BATCH)]:
            retry(attempt, CONFLICT_PAUSES_S, on=Unavailable)

    def query(self, pk: str, first: str, last: str, *, forward: bool = True) -> Iterator[Item]:
        """Yield the items of `pk` from sort key `first` to `last`, both included, in order, read consistently."""
        behind: dict[str, Any] = {}
        while True:
            page = self.client.query(
                TableName=self.name,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues=encode_item({":pk": pk, ":first": first, ":last": last}),
                ConsistentRead=True,
                ScanIndexForward=forward,
                **behind,
            )
            yield from map(decode_item, page["Items"])
            if "LastEvaluatedKey" not in page:
                return
            behind = {"ExclusiveStartKey": page["LastEvaluatedKey"]}

    def owned_by(self, owner: str, limit: int, after: Item | None) -> list[Item]:
        """Return up to `limit` items of the index ``by_owner``, latest first, from behind the key `after` on."""
        more: dict[str, Any] = {}
        if after is not None:
            more["ExclusiveStartKey"] = encode_item({"owner_id": owner, **after})
        # An index follows its table, and cannot be read consistently.
        answer = self.client.query(
            TableName=self.name,
            IndexName="by_owner",
            KeyConditionExpression="owner_id = :owner",
            ExpressionAttributeValues=encode_item({":owner": owner}),
            ScanIndexForward=False,
            Limit=limit,
            **more,
        )
        return list(map(decode_item, answer["Items"]))

    def all_owned_by(self, owner: str) -> Iterator[Item]:
        """Yield every item of the index ``by_owner``, latest first."""
        after: Item | None = None
        while page := self.owned_by(owner, PAGE, after):
            yield from page
            after = {name: page[-1][name] for name in ("pk", "sk", "updated_at")}

    def first(self, pk: str, prefix: str) -> Item | None:
        """Return the first item of `pk` whose sort key begins with `prefix`, or None."""
        return self._outermost(pk, prefix, forward=True)

    def last(self, pk: str, prefix: str) -> Item | None:
        """Return the last item of `pk` whose sort key begins with `prefix`, or None."""
        return self._outermost(pk, prefix, forward=False)

    def _outermost(self, pk: str, prefix: str, *, forward: bool) -> Item | None:
        answer = self.client.query(
            TableName=self.name,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
            ExpressionAttributeValues=encode_item({":pk": pk, ":prefix": prefix}),
            ConsistentRead=True,
            ScanIndexForward=forward,
            Limit=1,
        )
        return next(map(decode_item, answer["Items"]), None)

    def transact(self, *writes: Write) -> list[Write]:
        """Write all or nothing. Return the writes whose conditions did not hold: none if everything is written.

        Raise ``Conflict`` if DynamoDB cancels the transaction for a passing reason every time, and for nothing else.
        """
        refused: list[Write] = []

        def attempt() -> list[Write]:
            nonlocal refused
            try:
                # botocore adds a ClientRequestToken, so its own retry after a lost answer writes nothing twice.
                self.client.transact_write_items(TransactItems=[write.request(self.name) for write in writes])
            except self.client.exceptions.TransactionCanceledException as cancelled:
                reasons = [reason.get("Code") for reason in cancelled.response["CancellationReasons"]]
                refused = [write for write, why in zip(writes, reasons, strict=True) if why == "ConditionalCheckFailed"]
                # Whether the condition of a write holds that meets another transaction is not known yet.
                if PASSING_REASONS.intersection(reasons):
                    raise Conflict(str(reasons)) from cancelled
                if not refused:
                    raise
                return refused
            return []

        try:
            return _retry_conflicts(attempt)
        except Conflict:
            if not refused:
                raise
            return refused  # a condition that does not hold tells the caller more than a conflict does


@contextmanager
def transient_as_unavailable() -> Iterator[None]:
    """Raise ``Unavailable`` for a failure that may have passed when the caller writes again."""
    try:
        yield
    except BotoCoreError as failure:
        raise Unavailable(type(failure).__name__) from failure
    except ClientError as refusal:
        if refusal.response["Error"]["Code"] not in PASSING:
            raise
        raise Unavailable(refusal.response["Error"]["Code"]) from refusal


def _retry_conflicts(attempt: Callable[[], T]) -> T:
    """Return what `attempt` returns. Raise ``Conflict`` if it meets another transaction every time."""
    # At random, so that rivals do not meet again.
    pauses_s = (uniform(0.5, 1.5) * pause_s for pause_s in CONFLICT_PAUSES_S)  # noqa: S311
    return retry(attempt, pauses_s, on=Conflict)


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _values(values: Item | None) -> dict[str, Any] | None:
    """Return the values of an expression with their types; None if it has none, because DynamoDB takes no empty map."""
    return encode_item(values) if values else None


def _without_none(**request: Any) -> Any:
    return {name: value for name, value in request.items() if value is not None}
