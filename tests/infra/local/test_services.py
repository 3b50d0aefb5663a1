"""The services behind the functions, where they must do as AWS does and moto alone would not."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infra.local import services
from infra.local.services import Services
from tests.conftest import CREDENTIALS

WRITERS = 4
ROUNDS = 20
ITEMS = 1000
TABLE = {
    "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[Services]:
    with services.running(CREDENTIALS) as running:
        yield running


@pytest.fixture
def table(aws: Services, request: pytest.FixtureRequest) -> str:
    """With so many items in it that moto takes a while to copy it, which it does for every transaction."""
    name = aws.create("AWS::DynamoDB::Table", request.node.name, TABLE).ref
    with aws.resource("dynamodb").Table(name).batch_writer() as batch:
        for n in range(ITEMS):
            batch.put_item({"pk": f"item {n}"})
    return name


def count(client: Any, table: str, item: int) -> int:
    """Add one to the number in an item, and give it."""
    counted = change(table, item, "ADD counted :one", {":one": {"N": "1"}})
    return int(client.update_item(**counted, ReturnValues="UPDATED_NEW")["Attributes"]["counted"]["N"])


def claim(client: Any, table: str, writer: int, *items: int) -> bool:
    """Become the owner of all these items; of none if the first has one."""
    first, *others = [change(table, item, "SET owned_by = :me", {":me": {"N": f"{writer}"}}) for item in items]
    first["ConditionExpression"] = "attribute_not_exists(owned_by)"
    try:
        client.transact_write_items(TransactItems=[{"Update": each} for each in (first, *others)])
    except client.exceptions.TransactionCanceledException:
        return False
    return True


def change(table: str, item: int, expression: str, values: Any) -> dict[str, Any]:
    key = {"pk": {"S": f"item {item}"}}
    return {"TableName": table, "Key": key, "UpdateExpression": expression, "ExpressionAttributeValues": values}


def owner(client: Any, table: str, item: int) -> int:
    return int(client.get_item(TableName=table, Key={"pk": {"S": f"item {item}"}})["Item"]["owned_by"]["N"])


def test_cancelled_transaction_undoes_nothing_of_others(aws: Services, table: str) -> None:
    client = aws.client("dynamodb")
    assert claim(client, table, 0, WRITERS)

    def write(writer: int) -> list[int]:
        return [_count_and_fail(client, table, writer) for _ in range(ROUNDS)]

    with ThreadPoolExecutor(WRITERS) as threads:
        assert list(threads.map(write, range(WRITERS))) == [list(range(1, ROUNDS + 1))] * WRITERS


def _count_and_fail(client: Any, table: str, writer: int) -> int:
    counted = count(client, table, writer)
    assert not claim(client, table, writer, WRITERS)
    return counted


def test_one_of_racing_transactions_wins_and_keeps_all_of_its_items(aws: Services, table: str) -> None:
    client = aws.client("dynamodb")
    with ThreadPoolExecutor(WRITERS) as threads:
        for n in range(0, 2 * ROUNDS, 2):
            racing = [threads.submit(claim, client, table, writer, n, n + 1) for writer in range(WRITERS)]
            won = [writer for writer, race in enumerate(racing) if race.result()]
            assert len(won) == 1
            assert [owner(client, table, item) for item in (n, n + 1)] == won * 2
