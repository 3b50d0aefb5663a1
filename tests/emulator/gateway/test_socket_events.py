"""WebSocket API: the events that functions get, field by field, and as Powertools reads them."""

import json
import re
from typing import Any

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayWebSocketEvent
from aws_lambda_powertools.utilities.parser.models import (
    APIGatewayWebSocketConnectEventModel,
    APIGatewayWebSocketDisconnectEventModel,
    APIGatewayWebSocketMessageEventModel,
)
from websockets.asyncio.client import connect

from tests.builders.serving import Serving

_ALWAYS = {
    "routeKey",
    "eventType",
    "extendedRequestId",
    "requestTime",
    "messageDirection",
    "stage",
    "connectedAt",
    "requestTimeEpoch",
    "identity",
    "requestId",
    "domainName",
    "connectionId",
    "apiId",
}
_ID = re.compile(r"^[\w-]{15}=$")


async def events_of(gateway: Serving, path: str, **options: Any) -> tuple[Any, Any, Any]:
    """Connect, send one message on route `act`, close with 4001 "enough", and give the three events."""
    async with connect(gateway.websocket(path), **options) as client:
        await client.send(json.dumps({"action": "nothing"}) if "guarded" not in path else "{not JSON")
        await client.send('{"action": "act", "text": "grüße"}')
        connection_id = json.loads(await client.recv())["connectionId"] if "guarded" not in path else ""
        if not connection_id:
            handled = gateway.recorded(lambda r: r["event"].get("body") == "{not JSON")
            connection_id = handled[-1]["event"]["requestContext"]["connectionId"]
        message = gateway.event_of(connection_id, "act")
        await client.close(4001, "enough")
    connected = gateway.event_of(connection_id, "$connect")
    ended = gateway.event_of(connection_id, "$disconnect") if "guarded" not in path else None
    return connected, message, ended


async def test_events_are_what_powertools_expects(gateway: Serving) -> None:
    connected, message, ended = await events_of(gateway, "plain?agent=claude")
    assert APIGatewayWebSocketConnectEventModel.model_validate(connected).request_context.stage == "plain"
    assert APIGatewayWebSocketMessageEventModel.model_validate(message).request_context.route_key == "act"
    parsed = APIGatewayWebSocketDisconnectEventModel.model_validate(ended)
    assert parsed.request_context.disconnect_status_code == 4001
    assert APIGatewayWebSocketEvent(message).request_context.connection_id == parsed.request_context.connection_id
    assert APIGatewayWebSocketEvent(connected).query_string_parameters == {"agent": "claude"}


async def test_connect_event_has_the_request_and_its_context(gateway: Serving) -> None:
    headers = [("X-API-Key", "k"), ("x-twice", "1"), ("x-twice", "2")]
    connected, _, _ = await events_of(
        gateway, "plain?agent=claude&tag=a&tag=b&empty=", additional_headers=headers, user_agent_header="tests/1"
    )
    assert connected.keys() == {
        "headers",
        "multiValueHeaders",
        "queryStringParameters",
        "multiValueQueryStringParameters",
        "requestContext",
        "isBase64Encoded",
    }
    assert connected["isBase64Encoded"] is False
    assert connected["queryStringParameters"] == {"agent": "claude", "tag": "b", "empty": ""}
    assert connected["multiValueQueryStringParameters"]["tag"] == ["a", "b"]
    assert connected["headers"]["X-API-Key"] == "k"
    assert connected["headers"]["x-twice"] == "2"
    assert connected["multiValueHeaders"]["x-twice"] == ["1", "2"]
    added = {"Host", "Sec-WebSocket-Key", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Proto", "X-Amzn-Trace-Id"}
    assert added <= connected["headers"].keys()


async def test_query_parameters_are_absent_when_there_are_none(gateway: Serving) -> None:
    connected, _, _ = await events_of(gateway, "plain")
    assert "queryStringParameters" not in connected
    assert "multiValueQueryStringParameters" not in connected


async def test_request_context_is_complete_in_every_event(gateway: Serving) -> None:
    connected, message, ended = (event["requestContext"] for event in await events_of(gateway, "plain"))
    assert connected.keys() == _ALWAYS
    assert message.keys() == _ALWAYS | {"messageId"}
    assert ended.keys() == _ALWAYS | {"disconnectStatusCode", "disconnectReason"}
    assert [context["eventType"] for context in (connected, message, ended)] == ["CONNECT", "MESSAGE", "DISCONNECT"]
    assert [context["routeKey"] for context in (connected, message, ended)] == ["$connect", "act", "$disconnect"]
    for context in (connected, message, ended):
        assert context["messageDirection"] == "IN"
        assert context["stage"] == "plain"
        assert context["connectionId"] == connected["connectionId"]
        assert context["connectedAt"] == connected["connectedAt"]
        assert context["identity"]["sourceIp"] == "127.0.0.1"
        assert re.match(r"^\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000$", context["requestTime"])
        assert context["requestTimeEpoch"] >= context["connectedAt"]
    assert len({context["requestId"] for context in (connected, message, ended)}) == 3
    assert _ID.match(connected["connectionId"])
    assert _ID.match(message["messageId"])
    assert _ID.match(message["extendedRequestId"])


async def test_message_event_has_the_body_and_no_headers(gateway: Serving) -> None:
    _, message, _ = await events_of(gateway, "plain", additional_headers={"X-API-Key": "k"})
    assert message.keys() == {"requestContext", "body", "isBase64Encoded"}
    assert message["body"] == '{"action": "act", "text": "grüße"}'


async def test_disconnect_event_has_only_its_own_headers(gateway: Serving) -> None:
    _, _, ended = await events_of(gateway, "plain?agent=claude", additional_headers={"X-API-Key": "k"})
    assert ended.keys() == {"headers", "multiValueHeaders", "requestContext", "isBase64Encoded"}
    assert ended["headers"] == {
        "Host": gateway.address,
        "x-api-key": "",
        "X-Forwarded-For": "",
        "x-restapi": "",
    }
    assert ended["multiValueHeaders"]["x-api-key"] == [""]


async def test_disconnect_event_has_the_clients_code_and_reason(gateway: Serving) -> None:
    _, _, ended = await events_of(gateway, "plain")
    context = ended["requestContext"]
    assert (context["disconnectStatusCode"], context["disconnectReason"]) == (4001, "enough")


async def test_close_without_a_status_is_1005(gateway: Serving) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send("{}")
        connection_id = json.loads(await client.recv())["connectionId"]
        empty_masked_close_frame = b"\x88\x80\x00\x00\x00\x00"
        client.transport.write(empty_masked_close_frame)
        await client.wait_closed()
    context = gateway.event_of(connection_id, "$disconnect")["requestContext"]
    assert context["disconnectStatusCode"] == 1005
    assert context["disconnectReason"] == "Client-side close frame status not set"


async def test_lost_connection_is_1006(gateway: Serving) -> None:
    client = await connect(gateway.websocket("plain"))
    await client.send("{}")
    connection_id = json.loads(await client.recv())["connectionId"]
    client.transport.abort()
    await client.wait_closed()
    assert gateway.event_of(connection_id, "$disconnect")["requestContext"]["disconnectStatusCode"] == 1006


@pytest.mark.parametrize(("delete", "code"), [(True, 1000), (False, 1003)])
async def test_close_by_the_gateway_is_told_too(gateway: Serving, delete: bool, code: int) -> None:
    async with connect(gateway.websocket("plain")) as client:
        await client.send("{}")
        connection_id = json.loads(await client.recv())["connectionId"]
        if delete:
            gateway.management().delete_connection(ConnectionId=connection_id)
        else:
            await client.send(b"\x00")
        await client.wait_closed()
    assert gateway.event_of(connection_id, "$disconnect")["requestContext"]["disconnectStatusCode"] == code


async def test_authorizer_context_arrives_as_strings(gateway: Serving) -> None:
    connected, message, _ = await events_of(gateway, "guarded")
    expected = {"principalId": "user|ada's", "number": "7", "truth": "true", "text": 'Ada "O\'Hara"'}
    latency = connected["requestContext"]["authorizer"].pop("integrationLatency")
    assert isinstance(latency, int)
    assert connected["requestContext"]["authorizer"] == expected
    assert message["requestContext"]["authorizer"] == expected


async def test_authorizer_event_is_a_request_with_the_method_arn(gateway: Serving) -> None:
    async with connect(gateway.websocket("guarded?mark=seen"), additional_headers={"Authorization": "Bearer x"}):
        pass

    def asked(record: Any) -> bool:
        query = record["event"].get("queryStringParameters") or {}
        return record["event"].get("type") == "REQUEST" and query.get("mark") == "seen"

    event = gateway.recorded(asked)[0]["event"]
    api = event["requestContext"]["apiId"]
    assert event["methodArn"] == f"arn:aws:execute-api:us-east-1:123456789012:{api}/guarded/$connect"
    assert event["headers"]["Authorization"] == "Bearer x"
    assert event["requestContext"]["eventType"] == "CONNECT"
    assert "authorizer" not in event["requestContext"]
