"""One rule at every door: an optional field may be left out, null or empty, and of a wrong type it is told."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from chatrelay.domain.errors import InvalidMessage
from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire import inbound, registration
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.inbound import Defaults
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, REPOSITORY

FILES = [{"url": "/api/files/0123456789abcdef0123456789abcdef"}]
TYPES: list[Any] = [7, 0, True, False, 1.5, {}, {"a": 1}, ["a"], []]


def of(*allowed: type) -> list[Any]:
    """The values that are of none of these types."""
    return [value for value in TYPES if type(value) not in allowed]


@dataclass(frozen=True)
class Row:
    """The field `name` of what comes in at `door` with `others`; `wrong` are values of other types than its own."""

    door: Callable[[dict[str, Any]], object]
    name: str
    others: dict[str, Any]
    wrong: list[Any]

    def __str__(self) -> str:
        return f"{self.door.__name__} {self.others.get('action', '')} {self.name}"


def relay(frame: dict[str, Any]) -> object:
    return _parse(frame, VERSION_1)


def app(frame: dict[str, Any]) -> object:
    return _parse(frame, BUILDEROS)


def _parse(frame: dict[str, Any], dialect: Dialect) -> object:
    return dialect.parse(json.dumps(frame), Defaults("codex", "given", "c1="))


def posted(body: dict[str, Any]) -> object:
    return inbound.parse_posted(json.dumps(body), conversation="talk", agent="codex")


def registered(body: dict[str, Any]) -> object:
    return registration.parse(body)


SEND = {"action": "send", "id": "m1", "conversation": "talk", "content": "hi"}
RESUME = {"action": "resume"}
HELLO = {"action": "hello"}
SAID = {"content": "hi", "session_id": "tab"}
MESSAGE = {"id": "m1", "content": "hi"}
PHONE = {"device_token": "ab" * 32, "device_id": "phone"}
ROWS = [
    Row(relay, "conversation", HELLO, of(str)),
    Row(relay, "device", HELLO, of(str)),
    Row(relay, "agent", SEND, [*of(str), "gpt"]),
    Row(relay, "attachments", SEND, [*of(list), "a"]),
    Row(relay, "content", SEND | {"attachments": FILES}, of(str)),
    Row(relay, "reply", RESUME | {"conversation": "talk"}, of(str)),
    Row(relay, "conversation", RESUME | {"reply": "r"}, of(str)),
    Row(relay, "offset", RESUME | {"reply": "r"}, [*of(int), "7"]),
    Row(app, "action", SAID, of(str)),
    Row(app, "session_id", SAID, of(str)),
    Row(app, "chat_type", SAID, [*of(str), "gpt"]),
    Row(app, "attachments", SAID, [*of(list), "a"]),
    Row(app, "content", SAID | {"attachments": FILES}, of(str)),
    Row(app, "content", {"working_directory": "/"}, of(str)),
    Row(app, "attachments", {"working_directory": "/"}, [*of(list), "a"]),
    Row(posted, "agent", MESSAGE, [*of(str), "gpt"]),
    Row(posted, "attachments", MESSAGE, [*of(list), "a"]),
    Row(posted, "content", MESSAGE | {"attachments": FILES}, of(str)),
    Row(registered, "platform", PHONE, [*of(str), "windows"]),
]
rows = pytest.mark.parametrize("row", ROWS, ids=str)


@rows
@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_what_is_null_or_empty_is_as_if_it_were_left_out(row: Row, nothing: Any) -> None:
    left_out = {name: value for name, value in row.others.items() if name != row.name}

    assert row.door({**left_out, row.name: nothing}) == row.door(left_out)


@rows
def test_what_is_of_a_wrong_type_is_told_by_its_field(row: Row) -> None:
    for value in row.wrong:
        with pytest.raises(InvalidMessage) as told:
            row.door({**row.others, row.name: value})
        assert (told.value.field, str(told.value).partition(":")[0]) == (row.name, row.name), value


def test_an_empty_list_is_no_attachment() -> None:
    assert relay({**SEND, "attachments": []}) == relay(SEND)


def test_a_configuration_with_files_is_a_message() -> None:
    assert isinstance(app({"working_directory": "/", "content": "", "attachments": FILES}), inbound.Send)


# --- the doors that are addresses, where everything is text -----------------------------------------------------------


def sample(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((REPOSITORY / "tests" / "events" / f"{name}.json").read_text())
    return read


@pytest.mark.parametrize(
    ("query", "status", "agent"),
    [
        (None, 200, "claude"),
        ({}, 200, "claude"),
        ({"agent": ""}, 200, "claude"),
        ({"agent": "codex"}, 200, "codex"),
        ({"agent": "hal"}, 400, None),
    ],
    ids=["nothing asked", "none", "empty", "one", "one that does not exist"],
)
def test_a_connection_names_an_agent_or_none(
    table: Table,
    sockets: Sockets,
    load_function: Callable[..., ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    query: dict[str, str] | None,
    status: int,
    agent: str | None,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", sockets.url)
    connect = load_function("connect", MESSAGE_FUNCTION="message")
    event = sample("connect") | {"queryStringParameters": query}

    assert connect.handler(event, CONTEXT)["statusCode"] == status

    connection = Store.over(table).connections.get(event["requestContext"]["connectionId"])
    assert (connection and connection.agent) == agent


@pytest.mark.parametrize(
    ("query", "status"),
    [(None, 200), ({"cursor": ""}, 200), ({"cursor": "x"}, 400)],
    ids=["none", "empty", "a wrong one"],
)
def test_a_page_is_asked_for_with_a_cursor_or_without(
    table: Table, load_function: Callable[..., ModuleType], query: dict[str, str] | None, status: int
) -> None:
    event = sample("conversations")
    ApiKeys(table).add(event["headers"]["x-api-key"], "alice")
    api = load_function("api", CODEX_BACKEND="none")

    answer = api.handler({**event, "queryStringParameters": query}, CONTEXT)

    assert answer["statusCode"] == status
    assert status == 200 or json.loads(answer["body"])["error"].startswith("cursor: ")
