"""WebSocket API: the handshake."""

import json
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from tests.builders.serving import Record, Serving


def doing(**script: object) -> str:
    return f"do={quote(json.dumps(script))}"


async def status_of(url: str, **more: object) -> int:
    with pytest.raises(InvalidStatus) as refused:
        await connect(url, **more)  # type: ignore[arg-type]
    return refused.value.response.status_code


async def test_connect_that_answers_200_opens_the_socket(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send(json.dumps({"action": "unknown"}))
        assert "Forbidden" in str(await client.recv())


@pytest.mark.parametrize("status", [301, 401, 501])
async def test_connect_that_answers_otherwise_gives_that_status(gateway: Serving, status: int) -> None:
    url = gateway.websocket(f"plain?{doing(**{'return': {'statusCode': status}})}")
    assert await status_of(url) == status


async def test_connect_that_raises_is_502(gateway: Serving) -> None:
    assert await status_of(gateway.websocket(f"plain?{doing(**{'raise': 'no'})}")) == 502


async def test_connect_that_answers_without_a_status_is_502(gateway: Serving) -> None:
    assert await status_of(gateway.websocket(f"plain?{doing(**{'return': None})}")) == 502


async def test_connect_that_takes_too_long_is_504(gateway: Serving) -> None:
    assert await status_of(gateway.websocket(f"plain?{doing(sleep=7)}")) == 504


async def test_path_after_the_stage_is_403(gateway: Serving) -> None:
    assert await status_of(gateway.websocket("plain/more")) == 403


async def test_unknown_stage_is_403(gateway: Serving) -> None:
    assert await status_of(gateway.websocket("nowhere")) == 403


async def test_authorizer_that_allows_opens_the_socket(gateway: Serving) -> None:
    async with connect(gateway.websocket("guarded?as=allow")):
        pass


async def test_authorizer_that_raises_unauthorized_is_401(gateway: Serving) -> None:
    assert await status_of(gateway.websocket("guarded?as=unauthorized")) == 401


async def test_authorizer_that_denies_is_403(gateway: Serving) -> None:
    assert await status_of(gateway.websocket("guarded?as=deny")) == 403


async def test_authorizer_that_allows_another_resource_is_403(gateway: Serving) -> None:
    assert await status_of(gateway.websocket("guarded?as=elsewhere")) == 403


@pytest.mark.parametrize("wish", ["broken", "nested", "nothing"])
async def test_authorizer_that_fails_otherwise_is_500(gateway: Serving, wish: str) -> None:
    assert await status_of(gateway.websocket(f"guarded?as={wish}")) == 500


async def test_missing_identity_source_is_401_without_calling_the_authorizer(gateway: Serving) -> None:
    assert await status_of(gateway.websocket("sourced?mark=missing")) == 401
    calls = [r["event"] for r in gateway.records() if r["function"] == "local-Authorizer"]
    assert not [call for call in calls if call["queryStringParameters"].get("mark") == "missing"]


async def test_present_identity_source_asks_the_authorizer(gateway: Serving) -> None:
    async with connect(gateway.websocket("sourced"), additional_headers={"x-token": "t"}):
        pass


async def test_authorizer_is_asked_again_for_every_connection(gateway: Serving) -> None:
    for _ in range(2):
        async with connect(gateway.websocket("sourced?mark=twice"), additional_headers={"x-token": "same"}):
            pass

    def asked(record: Record) -> bool:
        query = record["event"].get("queryStringParameters") or {}
        return record["event"].get("type") == "REQUEST" and query.get("mark") == "twice"

    assert len(gateway.recorded(asked, count=2)) == 2


async def test_subprotocol_is_the_one_that_connect_returns(gateway: Serving) -> None:
    answer = {"statusCode": 200, "headers": {"Sec-WebSocket-Protocol": "second"}}
    offered = [Subprotocol("first"), Subprotocol("second")]
    async with connect(gateway.websocket(f"plain?{doing(**{'return': answer})}"), subprotocols=offered) as client:
        assert client.subprotocol == "second"


async def test_no_subprotocol_is_selected_when_connect_returns_none(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain"), subprotocols=[Subprotocol("first")]) as client:
        assert client.subprotocol is None


async def test_a_refused_connection_gets_no_disconnect(gateway: Serving) -> None:
    url = gateway.websocket(f"plain?mark=refused&{doing(**{'return': {'statusCode': 401}})}")
    assert await status_of(url) == 401
    refused = gateway.recorded(lambda r: (r["event"].get("queryStringParameters") or {}).get("mark") == "refused")
    connection = refused[0]["event"]["requestContext"]["connectionId"]
    routes = [
        record["event"]["requestContext"]["routeKey"]
        for record in gateway.records()
        if record["event"].get("requestContext", {}).get("connectionId") == connection
    ]
    assert routes == ["$connect"]
