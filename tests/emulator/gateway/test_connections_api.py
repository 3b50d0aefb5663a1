"""WebSocket API: `@connections`, through boto3's own client."""

import asyncio
import contextlib
import datetime
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio
from botocore.exceptions import ClientError
from websockets.asyncio.client import ClientConnection, connect

from tests.builders.serving import Serving, eventually, shake_hands


@dataclass(frozen=True)
class Client:
    socket: ClientConnection
    id: str


async def connection_id(client: ClientConnection) -> str:
    await client.send("{}")
    return str(json.loads(await client.recv())["connectionId"])


@pytest_asyncio.fixture
async def client(gateway: Serving) -> AsyncIterator[Client]:
    async with connect(gateway.websocket("plain"), user_agent_header="tests/1") as opened:
        yield Client(opened, await connection_id(opened))


def failure(call: Any, **arguments: Any) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as error:
        call(**arguments)
    response = error.value.response
    code, message = response["Error"]["Code"], response["Error"].get("Message", "")
    return code, response["ResponseMetadata"]["HTTPStatusCode"], message


async def test_post_reaches_the_client(gateway: Serving, client: Client) -> None:
    answer = gateway.management().post_to_connection(ConnectionId=client.id, Data="grüße 😀".encode())
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert await client.socket.recv() == "grüße 😀"


async def test_posts_arrive_in_order(gateway: Serving, client: Client) -> None:
    management = gateway.management()
    for number in range(50):
        management.post_to_connection(ConnectionId=client.id, Data=str(number).encode())
    assert [await client.socket.recv() for _ in range(50)] == [str(number) for number in range(50)]


async def test_get_describes_the_connection(gateway: Serving, client: Client) -> None:
    before = gateway.management().get_connection(ConnectionId=client.id)
    assert before["Identity"] == {"SourceIp": "127.0.0.1", "UserAgent": "tests/1"}
    assert abs(datetime.datetime.now(datetime.UTC) - before["ConnectedAt"]) < datetime.timedelta(seconds=30)
    gateway.management().post_to_connection(ConnectionId=client.id, Data=b"x")
    after = gateway.management().get_connection(ConnectionId=client.id)
    assert after["LastActiveAt"] > before["LastActiveAt"]


async def test_delete_closes_with_1000_and_a_reason(gateway: Serving, client: Client) -> None:
    answer = gateway.management().delete_connection(ConnectionId=client.id)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    await client.socket.wait_closed()
    assert (client.socket.close_code, client.socket.close_reason) == (1000, "Connection Closed Normally")


async def test_posts_before_a_delete_still_arrive(gateway: Serving, client: Client) -> None:
    management = gateway.management()
    management.post_to_connection(ConnectionId=client.id, Data=b"last words")
    management.delete_connection(ConnectionId=client.id)
    assert await client.socket.recv() == "last words"


async def test_post_to_a_closed_connection_is_410(gateway: Serving, client: Client) -> None:
    await client.socket.close()
    gateway.event_of(client.id, "$disconnect")
    post = gateway.management().post_to_connection
    assert failure(post, ConnectionId=client.id, Data=b"x") == ("GoneException", 410, "")


async def test_post_right_after_a_delete_is_410(gateway: Serving, client: Client) -> None:
    management = gateway.management()
    management.delete_connection(ConnectionId=client.id)
    assert failure(management.post_to_connection, ConnectionId=client.id, Data=b"x")[0] == "GoneException"
    assert failure(management.get_connection, ConnectionId=client.id)[0] == "GoneException"
    assert failure(management.delete_connection, ConnectionId=client.id)[0] == "GoneException"


async def test_connection_that_never_was_is_410(gateway: Serving) -> None:
    post = gateway.management().post_to_connection
    assert failure(post, ConnectionId="L0SM9cOFvHcCIhw=", Data=b"x")[1] == 410


async def test_post_before_connect_has_returned_is_410(gateway: Serving) -> None:
    url = gateway.websocket('plain?mark=early&do={"sleep":3}')
    opening = asyncio.create_task(connect(url).__aenter__())
    await asyncio.sleep(0.1)
    early = gateway.recorded(lambda r: (r["event"].get("queryStringParameters") or {}).get("mark") == "early")
    identifier = early[0]["event"]["requestContext"]["connectionId"]
    post = gateway.management().post_to_connection
    assert failure(post, ConnectionId=identifier, Data=b"x")[1] == 410
    opened = await opening
    post(ConnectionId=identifier, Data=b"now")
    assert await opened.recv() == "now"
    await opened.close()


async def test_connection_of_another_stage_is_410(gateway: Serving, client: Client) -> None:
    post = gateway.management("guarded").post_to_connection
    assert failure(post, ConnectionId=client.id, Data=b"x")[1] == 410


@pytest.mark.parametrize("malformed", ["x", "L0SM9cOFvHcCIhw", "L0SM9cOF/HcCIhw="])
async def test_malformed_id_is_400(gateway: Serving, malformed: str) -> None:
    code, status, message = failure(gateway.management().post_to_connection, ConnectionId=malformed, Data=b"x")
    assert (code, status, message) == ("BadRequestException", 400, f"Invalid connectionId: {malformed}")


async def test_unknown_stage_is_403(gateway: Serving) -> None:
    post = gateway.management("nowhere").post_to_connection
    assert failure(post, ConnectionId="L0SM9cOFvHcCIhw=", Data=b"x")[:2] == ("ForbiddenException", 403)


async def test_unsigned_request_is_403(gateway: Serving, client: Client) -> None:
    async with httpx.AsyncClient() as http:
        answer = await http.post(gateway.http(f"plain/@connections/{client.id}"), content=b"x")
    assert answer.status_code == 403


async def test_post_of_128_kib_passes_and_more_is_413(gateway: Serving, client: Client) -> None:
    post = gateway.management().post_to_connection
    post(ConnectionId=client.id, Data=b"x" * 128 * 1024)
    assert len(await client.socket.recv()) == 128 * 1024
    code, status, _ = failure(post, ConnectionId=client.id, Data=b"x" * (128 * 1024 + 1))
    assert (code, status) == ("PayloadTooLargeException", 413)


def test_client_that_does_not_read_is_429_and_recovers(impatient_gateway: Serving) -> None:
    management = impatient_gateway.management()
    with opened(impatient_gateway, "recovers") as (narrow, identifier):
        codes = fill(management, identifier)
        assert codes[0] == "200"
        assert codes[-1] == "LimitExceededException 429"
        narrow.setblocking(False)
        eventually(lambda: _drained(narrow) and _post_code(management, identifier) == "200")


def test_delete_is_410_at_once_though_its_client_has_not_read_it(impatient_gateway: Serving) -> None:
    management = impatient_gateway.management()
    with opened(impatient_gateway, "deleted") as (_, identifier):
        fill(management, identifier)
        management.delete_connection(ConnectionId=identifier)
        assert _post_code(management, identifier) == "GoneException 410"


@contextlib.contextmanager
def opened(gateway: Serving, mark: str) -> Iterator[tuple[socket.socket, str]]:
    """Open a connection that reads nothing by itself, and little at a time. Return it with its id."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        shake_hands(narrow, gateway, f"/plain?mark={mark}")
        found = gateway.recorded(lambda r: (r["event"].get("queryStringParameters") or {}).get("mark") == mark)
        yield narrow, str(found[0]["event"]["requestContext"]["connectionId"])


def fill(management: Any, identifier: str) -> list[str]:
    """Post until it is refused: the kernel's buffers take some megabytes first."""
    codes = [_post_code(management, identifier)]
    while codes[-1] == "200" and len(codes) < 400:
        codes.append(_post_code(management, identifier))
    return codes


def _post_code(management: Any, identifier: str) -> str:
    try:
        management.post_to_connection(ConnectionId=identifier, Data=b"x" * 32 * 1024)
    except ClientError as error:
        return f"{error.response['Error']['Code']} {error.response['ResponseMetadata']['HTTPStatusCode']}"
    return "200"


def _drained(narrow: socket.socket) -> bool:
    with contextlib.suppress(BlockingIOError):
        while narrow.recv(65536):
            continue
    return True
