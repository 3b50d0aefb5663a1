"""The sample events are whole: `sam local invoke` and these tests give them to the functions as AWS would."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_lambda_powertools.utilities.parser.models import (
    APIGatewayProxyEventV2Model,
    APIGatewayWebSocketConnectEventModel,
    APIGatewayWebSocketDisconnectEventModel,
    APIGatewayWebSocketMessageEventModel,
)
from botocore.config import Config
from pydantic import BaseModel

from tests.builders import credentials
from tests.builders.deployments import Relay

EVENTS = Path(__file__).parent
NAMES = {"MessageFunction": "local-message", "NotifyFunction": "local-notify"}
"""Of functions that the template itself names."""
FUNCTION = {
    "authorizer": "AuthorizerFunction",
    "connect": "ConnectFunction",
    "disconnect": "DisconnectFunction",
    "hello": "ControlFunction",
    "resume": "ControlFunction",
    "cancel": "ControlFunction",
    "ack": "ControlFunction",
    "auth": "ControlFunction",
    "send": "MessageFunction",
    "edit": "MessageFunction",
    "regenerate": "MessageFunction",
    "app-key": "MessageFunction",
    "app-configuration": "MessageFunction",
    "app-message": "MessageFunction",
    "warm": "MessageFunction",
    "continue": "MessageFunction",
    "notify": "NotifyFunction",
    "failed": "FailedFunction",
    "health": "ApiFunction",
    "status": "ApiFunction",
    "upload": "ApiFunction",
    "form": "ApiFunction",
    "file": "ApiFunction",
    "message": "ApiFunction",
    "register": "ApiFunction",
    "unregister": "ApiFunction",
    "conversations": "ApiFunction",
    "messages": "ApiFunction",
    "delete": "ApiFunction",
    "close-claude": "ApiFunction",
    "close-codex": "ApiFunction",
    "usage": "ApiFunction",
    "sign-out": "ApiFunction",
}
NEEDS_KEY = ("status", "conversations", "messages", "delete", "close-claude", "close-codex", "usage", "sign-out")
MODEL: dict[str, type[BaseModel]] = {
    "connect": APIGatewayWebSocketConnectEventModel,
    "disconnect": APIGatewayWebSocketDisconnectEventModel,
    "hello": APIGatewayWebSocketMessageEventModel,
    "resume": APIGatewayWebSocketMessageEventModel,
    "cancel": APIGatewayWebSocketMessageEventModel,
    "ack": APIGatewayWebSocketMessageEventModel,
    "auth": APIGatewayWebSocketMessageEventModel,
    "send": APIGatewayWebSocketMessageEventModel,
    "edit": APIGatewayWebSocketMessageEventModel,
    "regenerate": APIGatewayWebSocketMessageEventModel,
    "app-key": APIGatewayWebSocketMessageEventModel,
    "app-configuration": APIGatewayWebSocketMessageEventModel,
    "app-message": APIGatewayWebSocketMessageEventModel,
    "health": APIGatewayProxyEventV2Model,
    "status": APIGatewayProxyEventV2Model,
    "upload": APIGatewayProxyEventV2Model,
    "form": APIGatewayProxyEventV2Model,
    "file": APIGatewayProxyEventV2Model,
    "message": APIGatewayProxyEventV2Model,
    "register": APIGatewayProxyEventV2Model,
    "unregister": APIGatewayProxyEventV2Model,
    "conversations": APIGatewayProxyEventV2Model,
    "messages": APIGatewayProxyEventV2Model,
    "delete": APIGatewayProxyEventV2Model,
    "close-claude": APIGatewayProxyEventV2Model,
    "close-codex": APIGatewayProxyEventV2Model,
    "usage": APIGatewayProxyEventV2Model,
    "sign-out": APIGatewayProxyEventV2Model,
}


def read(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    return event


def test_every_event_has_its_function_and_every_function_its_event() -> None:
    assert sorted(path.stem for path in EVENTS.glob("*.json")) == sorted(FUNCTION)
    functions = Path(EVENTS.parents[1], "functions")
    assert {f"{path.parent.name.capitalize()}Function" for path in functions.glob("*/app.py")} == set(FUNCTION.values())


@pytest.mark.parametrize("name", MODEL)
def test_powertools_knows_the_event(name: str) -> None:
    MODEL[name].model_validate(read(name))


@pytest.mark.parametrize("name", FUNCTION)
def test_the_function_takes_its_event(invoke: Callable[[str, bytes], dict[str, Any]], name: str) -> None:
    """Nobody is connected and no key is known in the samples' world; that is an answer, and no failure."""
    answer = invoke(FUNCTION[name], (EVENTS / f"{name}.json").read_bytes())
    if name == "authorizer":
        assert answer["errorMessage"] == "Unauthorized"
    elif name in NEEDS_KEY:
        assert (answer["statusCode"], answer["body"]) == (401, '{"error":"Invalid API key","code":"unauthorized"}')
    else:
        assert "errorMessage" not in (answer or {}), answer


@pytest.fixture(scope="module")
def invoke(relay: Relay) -> Callable[[str, bytes], dict[str, Any]]:
    """Invokes a function of the running deployment and waits for its answer."""
    known = credentials.read(relay.log)
    client = boto3.client(
        "lambda",
        endpoint_url=f"http://{relay.address}",
        region_name="us-east-1",
        aws_access_key_id=known.access_key,
        aws_secret_access_key=known.secret_key,
        aws_session_token=known.token,
        config=Config(read_timeout=60),
    )

    def call(function: str, payload: bytes) -> dict[str, Any]:
        name = NAMES.get(function, f"local-{function}")
        answer: dict[str, Any] = json.load(client.invoke(FunctionName=name, Payload=payload)["Payload"])
        return answer

    return call
