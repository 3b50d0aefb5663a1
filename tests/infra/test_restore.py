"""The operator's command that copies an earlier table."""

from functools import partial
from typing import Any

import pytest

from emulator.services.services import Services
from infra.restore import main
from tests.infra.conftest import Ran, Run

MANY = 40
LONG = "漢" * 10_000
"""So many of them are two pages of a scan, which has a megabyte, and two batches of a write, which has 25."""


@pytest.fixture
def restore(run: Run) -> partial[Ran]:
    """Runs the command."""
    return partial(run, main)


def table_of(deployed: Services, stack: str) -> Any:
    (found,) = deployed.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
    return deployed.resource("dynamodb").Table(outputs["TableName"])


def everything(table: Any) -> list[Any]:
    items: list[Any] = []
    more: dict[str, Any] = {}
    while page := table.scan(**more):
        items += page["Items"]
        if "LastEvaluatedKey" not in page:
            break
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    return sorted((item for item in items if item["sk"] == "s"), key=lambda item: item["pk"])


def test_every_item_is_copied_and_none_is_lost(restore: partial[Ran], deployed: Services) -> None:
    earlier, now = table_of(deployed, "earlier"), table_of(deployed, "chat-relay")
    with earlier.batch_writer() as batch:
        for number in range(MANY):
            batch.put_item({"pk": f"p{number}", "sk": "s", "text": LONG, "set": {1, 2}, "expires_at": number})

    for _ in range(2):
        restored = restore(earlier.name)

        assert (restored.code, restored.err) == (0, "")
        assert f"{MANY} items copied. The files: aws s3 sync" in restored.out
    assert everything(now) == everything(earlier)
    assert len(everything(now)) == MANY


def test_a_table_that_is_not_there_is_named(restore: partial[Ran]) -> None:
    failed = restore("nowhere")

    assert (failed.code, failed.out) == (1, "")
    assert failed.err.startswith("infra.restore: ")
    assert "not found" in failed.err
