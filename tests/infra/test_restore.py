"""The operator's command that copies an earlier table, as a process of its own against a deployed stack."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.services import CREDENTIALS, Services, running
from infra.local.template import REGION

REPOSITORY = Path(__file__).parents[2]
MANY = 1100
"""More than a page of a megabyte, and than is shown at once."""


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """AWS, with the storage deployed twice: as the stack ``chat-relay``, and as what an earlier one has left."""
    with running() as services:
        template = Path(REPOSITORY, "infra", "storage.yaml").read_text()
        for name in ("chat-relay", "earlier"):
            services.client("cloudformation").create_stack(StackName=name, TemplateBody=template)
        yield services


def restore(services: Services, table: str) -> "subprocess.CompletedProcess[str]":
    shell = {**os.environ, **CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": services.endpoint}
    command = [sys.executable, "-m", "infra.restore", table]
    return subprocess.run(command, cwd=REPOSITORY, env=shell, capture_output=True, text=True, check=False)  # noqa: S603


def table_of(services: Services, stack: str) -> Any:
    (found,) = services.client("cloudformation").describe_stacks(StackName=stack)["Stacks"]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found["Outputs"]}
    return services.resource("dynamodb").Table(outputs["TableName"])


def everything(table: Any) -> list[Any]:
    items: list[Any] = []
    more: dict[str, Any] = {}
    while page := table.scan(**more):
        items += page["Items"]
        if "LastEvaluatedKey" not in page:
            break
        more = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
    return sorted(items, key=lambda item: (item["pk"], item["sk"]))


def test_every_item_is_copied_and_none_is_lost(services: Services) -> None:
    earlier, now = table_of(services, "earlier"), table_of(services, "chat-relay")
    with earlier.batch_writer() as batch:
        for number in range(MANY):
            batch.put_item({"pk": f"p{number}", "sk": "s", "text": "漢" * 400, "set": {1, 2}, "expires_at": number})

    for _ in range(2):
        restored = restore(services, earlier.name)

        assert restored.returncode == 0
        assert f"{MANY} items copied. The files: aws s3 sync" in restored.stdout
        assert everything(now) == everything(earlier)
    assert len(everything(now)) == MANY


def test_a_table_that_is_not_there_is_named(services: Services) -> None:
    failed = restore(services, "nowhere")

    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("infra.restore: ")
    assert "not found" in failed.stderr
    assert "Traceback" not in failed.stderr
