from collections.abc import AsyncIterator, Iterator

import pytest

from chatrelay.push.transport import PushTransport
from tests.builders.doubles import Address
from tests.builders.push_services import Authority, PushService, serving_in_thread


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def push_address(authority: Authority) -> Iterator[Address]:
    address = Address()
    with serving_in_thread(address, authority) as address.url:
        yield address


@pytest.fixture
def service(push_address: Address) -> PushService:
    service = PushService(push_address.url)
    push_address.app = service.app
    return service


@pytest.fixture
async def line(authority: Authority) -> AsyncIterator[PushTransport]:
    line = PushTransport(authority.trust)
    yield line
    await line.close()
