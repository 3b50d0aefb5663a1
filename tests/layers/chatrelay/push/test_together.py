"""From a user's devices to the services: everything real but Apple and Google."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from chatrelay.domain.devices import Platform, PushEnvironment
from chatrelay.domain.errors import PushesPending
from chatrelay.push.apns import Account, Apns
from chatrelay.push.fcm import Fcm
from chatrelay.push.notifier import Notifier, Outcome, PushedBefore
from chatrelay.push.service import Delivered, Later, Notification, Service
from chatrelay.push.transport import PushTransport
from chatrelay.store.devices import Devices
from chatrelay.store.pushes import Pushes
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire.registration import Registration
from tests.builders.doubles import Clock
from tests.builders.layer import by_key
from tests.builders.push_keys import APPLE, Secret, pem, service_account
from tests.builders.push_services import Authority, Faulty, PushService, Reply

ACCOUNT = Account("TEAM123456", "KEY1234567", "com.example.relay")
PHONE = Registration("phone", "aa" * 32, Platform.IOS)
TABLET = Registration("tablet", "bb" * 32, Platform.IOS)
ROBOT = Registration("robot", "cR:x", Platform.ANDROID)
HELLO = Notification("31ce", "c1", "claude", "Good morning")
DELIVERED = Delivered(PushEnvironment.PRODUCTION)
GRANT, SEND = "/token", "/v1/projects/relay-1/messages:send"


@pytest.fixture
async def line(authority: Authority) -> AsyncIterator[PushTransport]:
    line = PushTransport(authority.trust, httpx.Timeout(30, read=1))
    yield line
    await line.close()


@pytest.fixture
def clock() -> Clock:
    return Clock(1_700_000_000)


@pytest.fixture
def devices(table: Table) -> Devices:
    """Alice's three."""
    devices = Store.over(table).devices
    for registration in (PHONE, TABLET, ROBOT):
        devices.register(by_key("alice"), registration)
    return devices


class Deployment:
    """The notifier in front of an Apple and a Google that may be anywhere."""

    def __init__(self, devices: Devices, pushes: Pushes, line: PushTransport) -> None:
        self._devices = devices
        self._pushes = pushes
        self._line = line

    async def notify(self, apple_url: str, google_url: str, budget_s: float = 60) -> Outcome:
        hosts = {environment: f"{apple_url}/{environment.value}" for environment in PushEnvironment}
        services: dict[Platform, Service] = {
            Platform.IOS: Apns(self._line, Secret(pem(APPLE)), ACCOUNT, hosts),
            Platform.ANDROID: Fcm(self._line, Secret(service_account(google_url + GRANT)), google_url),
        }
        notifier = Notifier(self._devices, self._pushes, services, previews=True, first_pause_s=0.05)
        return await notifier.notify("alice", HELLO, (), budget_s)


@pytest.fixture
def deployment(devices: Devices, table: Table, clock: Clock, line: PushTransport) -> Deployment:
    return Deployment(devices, Pushes(table, clock), line)


@pytest.fixture
def service(service: PushService) -> PushService:
    """Apple and Google in one."""
    let_in = Reply(200, {"access_token": "ya29.1", "expires_in": 3599})
    service.usual = lambda request: let_in if request.path == GRANT else Reply()
    return service


def told(service: PushService) -> list[str]:
    """The tokens of the phones that a push was asked for, in alphabetical order."""
    apple = [request.path.rpartition("/")[2] for request in service.requests if "/3/device/" in request.path]
    return sorted(apple + [request.json["message"]["token"] for request in service.at(SEND)])


async def test_a_reply_is_exactly_one_push_a_device_however_often_it_is_told(
    deployment: Deployment, service: PushService
) -> None:
    first = await asyncio.gather(*(deployment.notify(service.url, service.url) for _ in range(3)))
    again = await deployment.notify(service.url, service.url)

    assert told(service) == [PHONE.token, TABLET.token, ROBOT.token]
    assert sum(len(outcome.of(Delivered)) for outcome in first) == 3
    assert again == Outcome(dict.fromkeys(("phone", "robot", "tablet"), PushedBefore()))


async def test_bad_moments_of_the_services_are_waited_out(deployment: Deployment, service: PushService) -> None:
    service.replies[f"/production/3/device/{PHONE.token}"] = [Reply(503), Reply(429, headers={"retry-after": "1"})]
    service.replies[SEND] = [Reply(500)]

    outcome = await deployment.notify(service.url, service.url)

    assert outcome == Outcome(dict.fromkeys(("phone", "robot", "tablet"), DELIVERED))
    assert told(service) == [PHONE.token] * 3 + [TABLET.token] + [ROBOT.token] * 2


async def test_a_mute_apple_keeps_no_android_phone_waiting_and_is_asked_again_by_the_next_call(
    deployment: Deployment, service: PushService, authority: Authority, clock: Clock
) -> None:
    async with Faulty("mute").serving(authority) as mute:
        outcome = await deployment.notify(mute.url, service.url, budget_s=5)

    assert told(service) == [ROBOT.token]
    assert (outcome.of(Delivered), len(outcome.of(Later))) == ([DELIVERED], 2)
    with pytest.raises(PushesPending):
        outcome.raise_for_pending()

    clock.now_s += 60  # when Lambda tries again
    outcome = await deployment.notify(service.url, service.url)

    assert outcome == Outcome({"phone": DELIVERED, "robot": PushedBefore(), "tablet": DELIVERED})
    assert told(service) == [PHONE.token, TABLET.token, ROBOT.token]


async def test_phones_that_are_no_more_are_forgotten_and_found_ones_remembered(
    deployment: Deployment, service: PushService, devices: Devices
) -> None:
    service.replies[f"/production/3/device/{PHONE.token}"] = [Reply(400, {"reason": "BadDeviceToken"})]
    service.replies[f"/production/3/device/{TABLET.token}"] = [Reply(410, {"reason": "Unregistered"})]
    service.replies[SEND] = [Reply(404, {"error": {"details": [{"errorCode": "UNREGISTERED"}]}})]

    await deployment.notify(service.url, service.url)

    left = [(device.id, device.environment) for device in devices.all("alice")]
    assert left == [("phone", PushEnvironment.SANDBOX)]
