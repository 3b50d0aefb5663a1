"""A second user, beside the one that the gateway makes."""

import httpx
import psutil
import pytest

from chatrelay.store.keys import Keys
from chatrelay.store.table import Table
from infra.local.services import Services
from tests.conftest import Relay


@pytest.fixture(scope="module")
def worker(relay: Relay) -> dict[str, str]:
    """The environment of a function that runs."""
    assert httpx.get(f"http://{relay.address}/api/health", timeout=30).status_code == 200
    found = (child.environ() for child in psutil.Process(relay.process.pid).children(recursive=True))
    return next(each for each in found if "FILES_BUCKET" in each)


@pytest.fixture(scope="module")
def stranger(worker: dict[str, str]) -> str:
    """Another user's key."""
    client = Services(worker["AWS_ENDPOINT_URL"]).resource("dynamodb").meta.client
    Keys(Table(client, worker["TABLE_NAME"])).add("crk_the-stranger", "stranger")
    return "crk_the-stranger"
