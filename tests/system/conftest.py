"""What a deployment keeps, seen from behind; a second user."""

import httpx
import psutil
import pytest

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from emulator.services.services import Services
from emulator.services.signature import Credentials
from tests.builders.deployments import Relay


@pytest.fixture(scope="module")
def worker(relay: Relay) -> dict[str, str]:
    """The environment of a function that runs."""
    return environment(relay)


def environment(relay: Relay) -> dict[str, str]:
    """What a function of the deployment runs with."""
    assert httpx.get(f"http://{relay.address}/api/health", timeout=30).status_code == 200
    found = (child.environ() for child in psutil.Process(relay.process.pid).children(recursive=True))
    return next(each for each in found if "FILES_BUCKET" in each)


def services_of(worker: dict[str, str]) -> Services:
    """What a function asks, as it does."""
    return Services(worker["AWS_ENDPOINT_URL"], Credentials.of(worker))


def table_of(worker: dict[str, str]) -> Table:
    """Return the table that a function uses."""
    return Table(services_of(worker).client("dynamodb"), worker["TABLE_NAME"])


@pytest.fixture(scope="module")
def table(worker: dict[str, str]) -> Table:
    """Of the deployment `relay`."""
    return table_of(worker)


@pytest.fixture(scope="module")
def stranger(table: Table) -> str:
    """Another user's key."""
    ApiKeys(table).add("crk_the-stranger", "stranger")
    return "crk_the-stranger"
