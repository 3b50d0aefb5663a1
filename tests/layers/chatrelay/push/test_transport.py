import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest

from chatrelay.domain.errors import Unanswered
from chatrelay.push.transport import PushResponse, PushTransport
from tests.builders.doubles import Clock
from tests.builders.push_services import Authority, Faulty, PushService, Reply

NOW_S = 1_700_000_000.0
OK = PushResponse(200, {}, None)
Start = Callable[..., Awaitable[Faulty]]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
async def line(authority: Authority, clock: Clock) -> AsyncIterator[PushTransport]:
    line = PushTransport(authority.trust, httpx.Timeout(30), clock)
    yield line
    await line.close()


@pytest.fixture
async def impatient(authority: Authority) -> AsyncIterator[PushTransport]:
    line = PushTransport(authority.trust, httpx.Timeout(30, read=1))
    yield line
    await line.close()


@pytest.fixture
async def faulty(authority: Authority) -> AsyncIterator[Start]:
    """Starts a service with faults."""
    async with AsyncExitStack() as running:

        async def start(*plans: str) -> Faulty:
            return await running.enter_async_context(Faulty(*plans).serving(authority))

        yield start


async def test_a_request_goes_out_as_http_2_over_tls(line: PushTransport, service: PushService) -> None:
    service.replies["/push"] = [Reply(201, {"name": "早上"})]

    answer = await line.post(f"{service.url}/push", {"a": "b"}, "早上".encode())

    assert answer == PushResponse(201, {"name": "早上"}, None)
    assert [(got.http_version, got.headers["a"], got.body.decode()) for got in service.requests] == [("2", "b", "早上")]


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("body", ["", "<html>", "[1]", '"no"', "[" * 100_000, "\ufeff{}", "{"])
async def test_a_body_that_is_no_object_is_empty(line: PushTransport, service: PushService, body: str) -> None:
    service.replies["/push"] = [Reply(502, body)]

    assert await line.post(f"{service.url}/push", {}, b"") == PushResponse(502, {}, None)


@pytest.mark.parametrize(
    ("said", "wait_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (format_datetime(datetime.fromtimestamp(NOW_S + 90, UTC), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW_S - 90, UTC), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
    ],
)
async def test_a_wait_is_told_in_seconds_or_by_a_date(
    line: PushTransport, service: PushService, said: str, wait_s: float | None
) -> None:
    service.replies["/push"] = [Reply(503, headers={"retry-after": said})]

    assert await line.post(f"{service.url}/push", {}, b"") == PushResponse(503, {}, wait_s)


async def test_requests_share_one_connection(line: PushTransport, faulty: Start) -> None:
    service = await faulty("answer")

    await asyncio.gather(*(line.post(f"{service.url}/{number}", {}, b"") for number in range(20)))
    await line.post(f"{service.url}/last", {}, b"")

    assert {connection for connection, _ in service.requests} == {0}
    assert len(service.requests) == 21


@pytest.mark.parametrize("fault", ["abort", "mute", "shutdown", "refuse"])
async def test_a_request_that_breaks_off_is_made_once_more_over_another_connection(
    impatient: PushTransport, faulty: Start, fault: str
) -> None:
    service = await faulty(fault, "answer")

    assert await impatient.post(f"{service.url}/push", {}, b"hi") == OK
    assert service.requests == [(0, "/push"), (1, "/push")]


@pytest.mark.parametrize("fault", ["abort", "mute", "shutdown"])
async def test_a_request_that_breaks_off_twice_is_unanswered(
    impatient: PushTransport, faulty: Start, fault: str
) -> None:
    service = await faulty(fault)

    with pytest.raises(Unanswered):
        await impatient.post(f"{service.url}/push", {}, b"hi")

    assert service.requests == [(0, "/push"), (1, "/push")]


async def test_a_connection_that_swallows_is_given_up_after_one_request(
    impatient: PushTransport, faulty: Start
) -> None:
    service = await faulty("answer mute", "answer")

    for path in ("/1", "/2", "/3"):
        assert await impatient.post(service.url + path, {}, b"hi") == OK

    assert service.requests == [(0, "/1"), (0, "/2"), (1, "/2"), (1, "/3")]


async def test_a_service_that_says_farewell_is_connected_to_anew(line: PushTransport, faulty: Start) -> None:
    service = await faulty("farewell", "answer")

    for path in ("/1", "/2"):
        assert await line.post(service.url + path, {}, b"hi") == OK

    assert service.requests == [(0, "/1"), (1, "/2")]


async def test_a_service_that_breaks_off_takes_no_other_with_it(line: PushTransport, faulty: Start) -> None:
    broken, slow = await faulty("late-abort", "answer"), await faulty("late")

    posts = [asyncio.create_task(line.post(f"{service.url}/push", {}, b"hi")) for service in (broken, slow)]
    await asyncio.gather(broken.heard.wait(), slow.heard.wait())
    broken.hurry.set()
    assert await posts[0] == OK
    slow.hurry.set()

    assert await posts[1] == OK
    assert (broken.requests, slow.requests) == ([(0, "/push"), (1, "/push")], [(0, "/push")])


async def test_after_a_freeze_the_first_request_has_a_new_connection(
    line: PushTransport, faulty: Start, clock: Clock
) -> None:
    service = await faulty("answer mute", "answer")

    await line.post(f"{service.url}/before", {}, b"hi")
    clock.now_s += 5.1
    await line.post(f"{service.url}/after", {}, b"hi")

    assert service.requests == [(0, "/before"), (1, "/after")]


async def test_a_connection_in_use_is_kept_however_old(line: PushTransport, faulty: Start, clock: Clock) -> None:
    service = await faulty("answer")

    for path in ("/1", "/2", "/3"):
        await line.post(service.url + path, {}, b"hi")
        clock.now_s += 4.9

    assert {connection for connection, _ in service.requests} == {0}


async def test_a_request_under_way_outlives_the_age_of_its_connection(
    line: PushTransport, faulty: Start, clock: Clock
) -> None:
    service = await faulty("late answer")

    slow = asyncio.create_task(line.post(f"{service.url}/slow", {}, b"hi"))
    await service.heard.wait()
    clock.now_s += 60
    await line.post(f"{service.url}/quick", {}, b"hi")
    service.hurry.set()

    assert await slow == OK
    assert service.requests == [(0, "/slow"), (0, "/quick")]


async def test_a_service_that_is_not_there_is_unanswered(line: PushTransport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    with pytest.raises(Unanswered, match="ConnectError"):
        await line.post(f"https://127.0.0.1:{port}/push", {}, b"hi")


async def test_a_service_that_never_shakes_hands_is_unanswered(authority: Authority) -> None:
    line = PushTransport(authority.trust, httpx.Timeout(10, connect=0.2))
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Unanswered, match="ConnectTimeout"):
        await line.post(f"https://127.0.0.1:{mute.getsockname()[1]}/push", {}, b"hi")
    await line.close()


async def test_a_certificate_that_the_system_does_not_trust_is_refused(service: PushService) -> None:
    line = PushTransport()

    with pytest.raises(Unanswered, match="ConnectError"):
        await line.post(f"{service.url}/push", {}, b"hi")

    assert service.requests == []
    await line.close()
