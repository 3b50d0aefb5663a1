"""``functions/api`` as API Gateway calls it: what it makes of bodies, and what the operator hears."""

import base64
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, REPOSITORY


def event(name: str, **changes: Any) -> dict[str, Any]:
    """The sample of that name."""
    return {**json.loads((REPOSITORY / "tests" / "events" / f"{name}.json").read_text()), **changes}


@pytest.fixture
def function(
    table: Table, sockets: Sockets, load_function: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """To which the key in the samples is alice's."""
    ApiKeys(table).add(event("register")["headers"]["x-api-key"], "alice")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", sockets.url)
    return load_function(
        "api",
        CODEX_BACKEND="none",
        FILES_BUCKET="files",
        MANAGEMENT_ENDPOINT=sockets.url,
        MESSAGE_FUNCTION="message",
        NOTIFY_FUNCTION="notify",
    )


@pytest.mark.parametrize("name", ["message", "register", "form"])
@pytest.mark.parametrize("body", [b"\xff", b'{"id":"\xed\xa0\xbd"}', '{"id":"m1"}'.encode("utf-16")])
def test_a_body_that_is_no_utf8_is_told(function: ModuleType, name: str, body: bytes) -> None:
    """API Gateway encodes what its sender does not call a text."""
    posted = event(name, isBase64Encoded=True, body=base64.b64encode(body).decode())

    answer = function.handler(posted, CONTEXT)

    assert (answer["statusCode"], json.loads(answer["body"])) == (
        400,
        {"error": "body: must be UTF-8", "code": "invalid_message"},
    )


def test_a_body_that_api_gateway_has_encoded_is_read(function: ModuleType, sockets: Sockets) -> None:
    body = base64.b64encode('{"id":"m1","content":"早上"}'.encode()).decode()

    answer = function.handler(event("message", isBase64Encoded=True, body=body), CONTEXT)

    assert answer["statusCode"] == 202
    assert [each["continue"]["conversation"] for each in sockets.invoked] == ["talk"]


def test_a_message_for_which_nobody_can_be_called_is_counted_as_our_failure(
    function: ModuleType, sockets: Sockets, capsys: pytest.CaptureFixture[str]
) -> None:
    sockets.forbids = True

    answer = function.handler(event("message"), CONTEXT)

    assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (503, "internal")
    metrics = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    assert [(each["InternalErrors"], each["service"]) for each in metrics] == [([1.0], "chat-relay")]
