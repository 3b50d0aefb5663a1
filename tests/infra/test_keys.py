"""The operator's command for API keys."""

from functools import partial

import pytest

from emulator.services.services import Services
from infra.keys import main
from tests.infra.conftest import Ran, Run


@pytest.fixture
def keys(run: Run) -> partial[Ran]:
    """Runs the command."""
    return partial(run, main)


def test_a_key_is_made_listed_and_revoked(keys: partial[Ran]) -> None:
    key = keys("create", "alice", "--label", "her phone").out.strip()
    listed = keys("list").out
    name = listed.split()[0]
    assert key.startswith("crk_")
    assert len(key) >= 40
    assert "alice  her phone" in listed
    assert key not in listed
    assert keys("revoke", name).code == 0
    assert keys("list").out == ""


def test_two_keys_are_different_and_only_hashes_are_stored(keys: partial[Ran], deployed: Services) -> None:
    made = [keys("create", "bob").out.strip() for _ in range(2)]
    table = deployed.client("cloudformation").describe_stacks(StackName="chat-relay")["Stacks"][0]["Outputs"]
    name = next(output["OutputValue"] for output in table if output["OutputKey"] == "TableName")
    stored = str(deployed.client("dynamodb").scan(TableName=name))
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
def test_a_mistake_is_named(keys: partial[Ran], arguments: list[str], problem: str) -> None:
    failed = keys(*arguments)
    assert failed.code == 1
    assert failed.err.startswith("infra.keys: ")
    assert problem in failed.err
    assert "Traceback" not in failed.err
