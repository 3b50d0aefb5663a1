from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from chatrelay.gateway import Gateway
from chatrelay.store.table import Table
from infra.local import services, template
from infra.local.model import serving_in_thread
from infra.local.services import CREDENTIALS, Services
from tests.layers.relay.chatrelay.doubles import Address, Sockets

# What a test shows must not depend on how busy the machine is.
settings.register_profile("relay", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("relay")

REPOSITORY = Path(__file__).resolve().parents[4]
NUMBERS = count(1)


@pytest.fixture(scope="session")
def aws() -> Iterator[Services]:
    with services.running() as running:
        yield running


@pytest.fixture(scope="session")
def new_table(aws: Services) -> Callable[[], Table]:
    """Makes tables as infra/storage.yaml describes them."""
    properties = template.read(REPOSITORY / "infra" / "storage.yaml", {})["Resources"]["Table"]["Properties"]
    client = aws.resource("dynamodb").meta.client
    return lambda: Table(client, aws.create("AWS::DynamoDB::Table", f"table-{next(NUMBERS)}", properties).ref)


@pytest.fixture
def table(new_table: Callable[[], Table]) -> Table:
    return new_table()


@pytest.fixture(scope="session")
def management() -> Iterator[Address]:
    address = Address()
    with serving_in_thread(address) as address.url:
        yield address


@pytest.fixture
def sockets(management: Address) -> Sockets:
    management.app = sockets = Sockets()
    sockets.url = management.url
    return sockets


@pytest.fixture
def gateway(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """With what Lambda gives a function to sign with, and nothing of this machine's own."""
    for name, value in {**CREDENTIALS, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    return Gateway.connect(sockets.url)
