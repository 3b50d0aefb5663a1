"""WebSocket API: messages, routes and error frames."""

import asyncio
import json
import re
import socket
import time
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.builders.serving import Serving, shake_hands

_ERROR = re.compile(r'^\{"message": "([^"]+)", "connectionId":"([\w-]{15}=)", "requestId":"([0-9a-f-]{36})"\}$')


def act(action: str = "act", /, **script: Any) -> str:
    return json.dumps({"action": action, "do": script})


async def error_of(client: ClientConnection) -> str:
    """Take an error frame and give its message; its spacing is API Gateway's."""
    match = _ERROR.match(str(await client.recv()))
    assert match
    return match.group(1)


async def nothing_arrives(client: ClientConnection, seconds: float = 0.3) -> bool:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await client.recv()
    return True


@pytest.mark.parametrize("text", ['{"action":"unknown"}', "{}", "[]", '"act"', '{"action":7}', "not JSON", ""])
async def test_message_without_a_route_is_forbidden_and_the_socket_stays_open(gateway: Serving, text: str) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(text)
        assert await error_of(client) == "Forbidden"
        await client.send(text)
        assert await error_of(client) == "Forbidden"


@pytest.mark.parametrize("route", ["$connect", "$disconnect"])
async def test_client_cannot_select_the_gateways_own_routes(gateway: Serving, route: str) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act(route))
        assert await error_of(client) == "Forbidden"


async def test_mock_answers_without_a_function(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send("{}")
        identifier = json.loads(await client.recv())["connectionId"]
        await client.send(act("mock"))
        answer = json.loads(await client.recv())
        assert (answer["mocked"], answer["connectionId"]) == (True, identifier)
        assert abs(answer["at"] / 1000 - time.time()) < 60
    handled = [record["event"].get("requestContext", {}).get("routeKey") for record in gateway.records()]
    assert "mock" not in handled


async def test_mock_without_a_route_response_answers_nothing(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act("mute"))
        assert await nothing_arrives(client)


async def test_mock_whose_request_names_no_status_is_an_internal_server_error(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act("nonsense"))
        assert await error_of(client) == "Internal server error"
    assert gateway.logged("statusCode should be an integer which defined in request template")


async def test_route_reaches_a_function_that_has_a_name_of_its_own(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send("{}")
        identifier = str(json.loads(await client.recv())["connectionId"])
        await client.send(act("called"))
        assert gateway.event_of(identifier, "called")


async def test_integration_that_raises_is_an_internal_server_error(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act("act", **{"raise": "no"}))
        assert await error_of(client) == "Internal server error"


async def test_integration_that_answers_without_a_status_is_an_internal_server_error(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act("act", **{"return": None}))
        assert await error_of(client) == "Internal server error"


async def test_integration_that_takes_too_long_is_reported_and_goes_on(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        began = time.monotonic()
        await client.send(act("hasty", sleep=0.8, print="the function went on"))
        assert await error_of(client) == "Endpoint request timed out"
        assert time.monotonic() - began >= 0.3
        gateway.logged("the function went on")


async def test_time_out_of_an_integration_is_the_gateways_at_most(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        began = time.monotonic()
        await client.send(act(sleep=7))
        assert await error_of(client) == "Endpoint request timed out"
        assert time.monotonic() - began >= 5


@pytest.mark.parametrize("status", [200, 400, 500])
async def test_one_way_route_sends_nothing_whatever_it_answers(gateway: Serving, status: int) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act("act", **{"return": {"statusCode": status, "body": "an answer"}}))
        assert await nothing_arrives(client)


async def test_route_with_a_route_response_sends_the_body(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(act("twoway", **{"return": {"statusCode": 200, "body": "an answer"}}))
        assert await client.recv() == "an answer"


async def test_messages_of_one_connection_are_handled_at_the_same_time(gateway: Serving) -> None:
    at_once = (asyncio.to_thread(gateway.invoke, "local-Actor", {"do": {"sleep": 2}}) for _ in range(2))
    await asyncio.gather(*at_once)  # two environments are there
    async with connect(gateway.websocket("plain")) as client:
        for answer in ("slow", "quick"):
            script: dict[str, Any] = {
                "sleep": 2 if answer == "slow" else 0,
                "return": {"statusCode": 200, "body": answer},
            }
            await client.send(act("twoway", **script))
        assert [await client.recv(), await client.recv()] == ["quick", "slow"]


async def test_pings_are_answered_without_any_function(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain?mark=ping")) as client:
        await (await client.ping())
    connected = gateway.recorded(lambda r: (r["event"].get("queryStringParameters") or {}).get("mark") == "ping")
    connection = connected[0]["event"]["requestContext"]["connectionId"]
    gateway.event_of(connection, "$disconnect")
    handled = [r for r in gateway.records() if r["event"].get("requestContext", {}).get("connectionId") == connection]
    assert len(handled) == 2


async def test_binary_frame_closes_with_1003(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(b"\x00")
        await client.wait_closed()
        assert client.close_code == 1003


async def test_frame_of_32_kib_passes(gateway: Serving) -> None:
    text = act("twoway", **{"return": {"statusCode": 200, "body": "fits"}})
    async with connect(gateway.websocket("plain")) as client:
        await client.send(text + " " * (32 * 1024 - len(text)))
        assert await client.recv() == "fits"


@pytest.mark.parametrize("size", [32 * 1024 + 1, 2 * 1024 * 1024])
async def test_larger_frame_closes_with_1009(gateway: Serving, size: int) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send("x" * size)
        await client.wait_closed()
        assert client.close_code == 1009


def test_client_that_writes_before_it_reads_sees_the_1009_too(gateway: Serving) -> None:
    """A gateway that closed at once would have the rest of the frame answered by a reset."""
    with socket.socket() as client:
        shake_hands(client, gateway, "/plain")
        size = 512 * 1024
        client.sendall(b"\x81\xff" + size.to_bytes(8, "big") + b"\x00\x00\x00\x00")
        for _ in range(8):
            client.sendall(b"x" * (size // 8))
            time.sleep(0.02)
        head = client.recv(4096)
    assert (head[0], int.from_bytes(head[2:4], "big")) == (0x88, 1009)


async def test_message_of_128_kib_in_several_frames_passes(gateway: Serving) -> None:
    text = act("twoway", **{"return": {"statusCode": 200, "body": "fits"}}).ljust(128 * 1024)
    async with connect(gateway.websocket("plain")) as client:
        await client.send(text[at : at + 32 * 1024] for at in range(0, len(text), 32 * 1024))
        assert await client.recv() == "fits"


async def test_larger_message_in_small_frames_closes_with_1009(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send("x" * 30_000 for _ in range(5))
        await client.wait_closed()
        assert client.close_code == 1009


async def test_idle_connection_closes_with_1001_going_away(impatient_gateway: Serving) -> None:
    async with connect(impatient_gateway.websocket("plain")) as client:
        began = time.monotonic()
        await client.wait_closed()
        assert (client.close_code, client.close_reason) == (1001, "Going away")
        assert time.monotonic() - began >= 1.9
