"""The Runtime API of one environment, asked as its runtime does, and as others might."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
import pytest_asyncio

from emulator.lambda_.runtime import Answer, Invocation, RuntimeApi
from emulator.limits import Limits

EVENT = Invocation("id-1", "arn", b'{"a": 1}', 0, "trace")


@dataclass(frozen=True)
class Asking:
    """`client` is whoever asks."""

    runtime: RuntimeApi
    client: httpx.AsyncClient

    async def post(self, path: str, body: bytes = b"{}", headers: dict[str, str] | None = None) -> int:
        return (await self.client.post(f"/2018-06-01/runtime/{path}", content=body, headers=headers)).status_code

    async def next(self) -> httpx.Response:
        return await self.client.get("/2018-06-01/runtime/invocation/next")


@pytest_asyncio.fixture
async def asking() -> AsyncIterator[Asking]:
    runtime = RuntimeApi(Limits())
    await runtime.start()
    async with httpx.AsyncClient(base_url=f"http://{runtime.address}", timeout=60) as client:
        yield Asking(runtime, client)
    runtime.stop()


async def test_an_answer_counts_for_the_event_in_flight_and_once(asking: Asking) -> None:
    assert await asking.post("invocation/id-1/response", b"early") == 400
    handling = asyncio.create_task(asking.runtime.handle(EVENT))
    taken = await asking.next()
    assert (taken.headers["lambda-runtime-aws-request-id"], taken.content) == ("id-1", b'{"a": 1}')
    assert await asking.post("invocation/x/response", b"forged") == 400
    assert await asking.post("invocation/x/error", b"forged") == 400
    assert await asking.post("invocation/id-1/response", b"right") == 202
    assert await asking.post("invocation/id-1/response", b"again") == 400
    assert await asking.post("invocation/id-1/error", b"again") == 400
    assert await handling == Answer(b"right", failed=False)


async def test_nobody_is_given_an_event_beside_the_worker(asking: Asking) -> None:
    handling = asyncio.create_task(asking.runtime.handle(EVENT))
    assert (await asking.next()).status_code == 200
    second = asyncio.create_task(asking.runtime.handle(Invocation("id-2", "arn", b"{}", 0, "trace")))
    assert (await asking.next()).status_code == 403, "it has an event already"
    assert await asking.post("invocation/id-1/error", b"wrong") == 202
    assert await handling == Answer(b"wrong", failed=True)
    waiting = await asking.next()
    assert waiting.headers["lambda-runtime-aws-request-id"] == "id-2"
    assert await asking.post("invocation/id-2/response", b"right") == 202
    assert (await second).payload == b"right"


async def test_who_waits_for_an_event_waits_alone(asking: Asking) -> None:
    first = asyncio.create_task(asking.next())
    await asking.runtime.ready.wait()
    assert (await asking.next()).status_code == 403
    handling = asyncio.create_task(asking.runtime.handle(EVENT))
    assert (await first).status_code == 200
    assert await asking.post("invocation/id-1/response") == 202
    await handling


async def test_an_environment_that_has_started_cannot_fail_to_start(asking: Asking) -> None:
    assert await asking.post("init/error", b'{"errorType": "a"}') == 202
    assert asking.runtime.init_error == b'{"errorType": "a"}'
    waiting = asyncio.create_task(asking.next())
    await asking.runtime.ready.wait()
    for path in ("init/error", "restore/error"):
        assert await asking.post(path, b'{"errorType": "forged"}') == 403
    assert asking.runtime.init_error == b'{"errorType": "a"}'
    asking.runtime.stop()
    assert (await waiting).status_code == 410


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Mode": "navigate"}, 403),
        ({"Host": "evil.example"}, 421),
        ({}, 202),
    ],
)
async def test_no_browser_is_answered(asking: Asking, headers: dict[str, str], status: int) -> None:
    assert await asking.post("init/error", headers=headers) == status
