"""The operator's command for API keys, as a process of its own against a deployed stack."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.local.services import CREDENTIALS, Services, running
from infra.local.template import REGION

REPOSITORY = Path(__file__).parents[2]
Keys = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """AWS, with the storage deployed as the stack ``chat-relay``; its outputs have the table's name, as ours have."""
    with running() as services:
        template = Path(REPOSITORY, "infra", "storage.yaml").read_text()
        services.client("cloudformation").create_stack(StackName="chat-relay", TemplateBody=template)
        yield services


@pytest.fixture
def keys(services: Services) -> Keys:
    """Runs the command."""
    shell = {**os.environ, **CREDENTIALS, "AWS_DEFAULT_REGION": REGION, "AWS_ENDPOINT_URL": services.endpoint}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.keys", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, env=shell, capture_output=True, text=True, check=False)  # noqa: S603

    return run


def test_a_key_is_made_listed_and_revoked(keys: Keys) -> None:
    key = keys("create", "alice", "--label", "her phone").stdout.strip()
    listed = keys("list").stdout
    name = listed.split()[0]
    assert key.startswith("crk_")
    assert len(key) >= 40
    assert "alice  her phone" in listed
    assert key not in listed
    assert keys("revoke", name).returncode == 0
    assert keys("list").stdout == ""


def test_two_keys_are_different_and_only_hashes_are_stored(keys: Keys, services: Services) -> None:
    made = [keys("create", "bob").stdout.strip() for _ in range(2)]
    table = services.client("cloudformation").describe_stacks(StackName="chat-relay")["Stacks"][0]["Outputs"]
    name = next(output["OutputValue"] for output in table if output["OutputKey"] == "TableName")
    stored = str(services.client("dynamodb").scan(TableName=name))
    assert made[0] != made[1]
    assert "bob" in stored
    assert not [key for key in made if key.removeprefix("crk_") in stored]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["create", "a#b"], "user: must be 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, is 'a#b'"),
        (["create", ""], "user: must be 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, is ''"),
        (["revoke", "nothing"], "there is no key nothing"),
        (["--stack", "elsewhere", "list"], "elsewhere"),
    ],
    ids=["a user with #", "no user", "no such key", "no such stack"],
)
def test_a_mistake_is_named(keys: Keys, arguments: list[str], problem: str) -> None:
    failed = keys(*arguments)
    assert failed.returncode == 1
    assert failed.stderr.startswith("infra.keys: ")
    assert problem in failed.stderr
    assert "Traceback" not in failed.stderr
