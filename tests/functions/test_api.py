"""``functions/api`` as API Gateway calls it: what it makes of bodies, and what the operator hears."""

import base64
import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chatrelay.domain.log import Log
from chatrelay.domain.reply import Ending, Reply
from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import complete
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, REPOSITORY, Store


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


@pytest.mark.parametrize("cost", [{"cost": 171}, {}], ids=["a price", "no price"])
def test_a_turn_says_what_its_reply_has_used_as_the_frame_that_ended_it(
    function: ModuleType, table: Table, cost: dict[str, int]
) -> None:
    store = Store(table)
    accepted = store.conversations.accept("alice", Send("m1", "talk", "Hello", "claude"), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply)
    ending = Ending("end_turn", "claude-sonnet-4-6", {"input_tokens": 12, "output_tokens": 9}, [], **cost)
    reply.complete(ending)
    frame = complete(accepted.stream, Log(), ending)
    store.conversations.finish(accepted, reply, frame)

    answer = function.handler(event("messages"), CONTEXT)

    (turn,) = json.loads(answer["body"])["turns"]
    names = ("model", "usage", "cost")
    told = {name: turn["reply"][name] for name in names if name in turn["reply"]}
    assert told == {name: frame.fields[name] for name in names if name in frame.fields}
    assert len(told) == 2 + len(cost)
