"""``functions/control`` as API Gateway calls it: small frames are answered, and messages handed on."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chatrelay.store.connections import Connection
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, Store, by_key

SEND = '{"action":"send","id":"m1","conversation":"talk","content":"it\'s \\u2028 😀"}'


def event(body: str, route: str = "send") -> dict[str, Any]:
    """As a proxy integration gives it."""
    context = {"connectionId": "c1=", "messageId": "m=", "requestTimeEpoch": 1_700_000_000_123, "routeKey": route}
    return {"requestContext": context, "body": body, "isBase64Encoded": False}


@pytest.fixture
def function(
    store: Store, sockets: Sockets, load_function: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """With a connection of alice's."""
    store.connections.open(Connection("c1=", "claude", VERSION_1, 1_700_000_000, by_key("alice")))
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", sockets.url)
    return load_function(
        "control", MANAGEMENT_ENDPOINT=sockets.url, MESSAGE_FUNCTION="message", NOTIFY_FUNCTION="notify"
    )


@pytest.mark.parametrize("route", ["send", "$default"])
def test_a_message_is_handed_on_as_it_came(function: ModuleType, sockets: Sockets, route: str) -> None:
    given = event(SEND, route)

    assert function.handler(given, CONTEXT) == {"statusCode": 200}

    assert sockets.invoked == [{**given, "handed_on": True}]
    assert sockets.texts("c1=") == []


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ('{"action":"hello"}', "ready"),
        ('{"action":"send"}', "error"),
        ("not json", "error"),
        ('{"action":"resume","reply":"none"}', "error"),
    ],
)
def test_everything_else_is_answered_here(function: ModuleType, sockets: Sockets, body: str, answer: str) -> None:
    assert function.handler(event(body), CONTEXT) == {"statusCode": 200}

    assert [frame["type"] for frame in sockets.frames("c1=")] == [answer]
    assert sockets.invoked == []


def test_nobody_without_a_key_starts_the_large_function(function: ModuleType, store: Store, sockets: Sockets) -> None:
    store.connections.open(Connection("c1=", "claude", BUILDEROS, 1_700_000_000, None))

    function.handler(event(SEND), CONTEXT)

    assert (sockets.invoked, sockets.closed) == ([], ["c1="])


def test_a_message_that_cannot_be_handed_on_is_told_as_one_to_send_again_and_counted(
    function: ModuleType, sockets: Sockets, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chat is down then, and the function itself does not fail."""
    sockets.forbids = True

    assert function.handler(event(SEND), CONTEXT) == {"statusCode": 200}

    (told,) = sockets.frames("c1=")
    assert (told["type"], told["code"], told["retryable"]) == ("error", "internal", True)
    (metric,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    (described,) = metric["_aws"]["CloudWatchMetrics"]
    assert (metric["InternalErrors"], metric["service"]) == ([1.0], "chat-relay")
    assert (described["Namespace"], described["Dimensions"]) == ("ChatRelay", [["service"]])
    assert described["Metrics"] == [{"Name": "InternalErrors", "Unit": "Count"}]


@pytest.mark.parametrize("body", ["not json", '{"action":"hello"}'])
def test_what_a_client_can_mend_is_no_failure_of_ours(
    function: ModuleType, capsys: pytest.CaptureFixture[str], body: str
) -> None:
    function.handler(event(body), CONTEXT)

    assert "InternalErrors" not in capsys.readouterr().out
