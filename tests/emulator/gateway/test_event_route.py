"""The asynchronous route: API Gateway invokes the function as an event, through a mapping template."""

import json
from typing import Any

from aws_lambda_powertools.utilities.parser.models import APIGatewayWebSocketMessageEventModel
from websockets.asyncio.client import connect

from tests.builders.serving import Record, Serving

_HARD = 'O\'Hara said: "grüße 😀 \\ / \u2028 \t \x00" #set($x = 1) $input.body ${y}'


def having(body: str) -> Any:
    def wanted(record: Record) -> bool:
        return bool(record["event"].get("body") == body)

    return wanted


async def test_event_is_the_one_of_a_proxy_integration(gateway: Serving) -> None:
    body = json.dumps({"action": "send", "mark": "shape"})
    async with connect(gateway.websocket("guarded")) as client:
        await client.send(body)
        record = gateway.recorded(having(body))[0]
    assert record["function"] == "local-Published"
    event = record["event"]
    assert event["requestContext"]["routeKey"] == "send"
    assert isinstance(event["requestContext"]["connectedAt"], int)
    assert event["isBase64Encoded"] is False
    APIGatewayWebSocketMessageEventModel.model_validate(event)


async def test_body_arrives_as_it_was_sent_whatever_it_holds(gateway: Serving) -> None:
    body = json.dumps({"action": "send", "text": _HARD}, ensure_ascii=False)
    async with connect(gateway.websocket("guarded")) as client:
        await client.send(body)
        assert gateway.recorded(having(body))


async def test_text_that_is_not_json_goes_to_default(gateway: Serving) -> None:
    async with connect(gateway.websocket("guarded")) as client:
        await client.send(_HARD)
        record = gateway.recorded(having(_HARD))[0]
    assert record["event"]["requestContext"]["routeKey"] == "$default"


async def test_authorizer_context_is_there_on_later_frames_as_strings(gateway: Serving) -> None:
    body = json.dumps({"action": "send", "mark": "authorizer"})
    async with connect(gateway.websocket("guarded")) as client:
        await client.send(body)
        context = gateway.recorded(having(body))[0]["event"]["requestContext"]
    assert context["authorizer"] == {"principalId": "user|ada's", "number": "7", "truth": "true"}


async def test_nothing_is_sent_back_even_when_the_function_raises_or_takes_long(gateway: Serving) -> None:
    failing = json.dumps({"action": "send", "do": {"raise": "no"}})
    lasting = json.dumps({"action": "send", "do": {"sleep": 7, "print": "longer than the integration's time-out"}})
    async with connect(gateway.websocket("guarded")) as client:
        await client.send(failing)
        await client.send(lasting)
        gateway.logged("longer than the integration's time-out")
        gateway.management("guarded").post_to_connection(ConnectionId=_connection(gateway, lasting), Data=b"first")
        assert await client.recv() == "first"


async def test_message_without_a_mapping_template_is_refused_when_nothing_may_pass(gateway: Serving) -> None:
    async with connect(gateway.websocket("guarded")) as client:
        await client.send('{"action": "unmapped"}')
        assert json.loads(await client.recv())["message"] == "Internal server error"


async def test_function_is_called_through_its_alias(gateway: Serving) -> None:
    body = json.dumps({"action": "send", "mark": "alias"})
    async with connect(gateway.websocket("guarded")) as client:
        await client.send(body)
        record = gateway.recorded(having(body))[0]
    assert record["arn"].endswith(":function:local-Published:live")
    assert record["version"] == "1"


async def test_messages_are_handled_side_by_side(gateway: Serving) -> None:
    bodies = [json.dumps({"action": "send", "mark": f"side {n}", "do": {"sleep": 1}}) for n in range(3)]
    async with connect(gateway.websocket("guarded")) as client:
        for body in bodies:
            await client.send(body)
        records = gateway.recorded(lambda record: record["event"].get("body") in bodies, count=3)
    assert len({record["worker"] for record in records}) == 3


def _connection(gateway: Serving, body: str) -> str:
    return str(gateway.recorded(having(body))[0]["event"]["requestContext"]["connectionId"])
