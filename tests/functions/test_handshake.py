"""``functions/authorizer`` and ``functions/connect`` as API Gateway calls them: who is this, and what do they speak?"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.table import Table
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, REPOSITORY

KEY = "crk_secret"
BEARER = f"bearer.{urlsafe_b64encode(KEY.encode()).decode().rstrip('=')}"
HEADER = "Sec-WebSocket-Protocol"


def event(name: str, *offers: str) -> dict[str, Any]:
    """The sample of that name, of a browser that offers subprotocols, in a line each. API Gateway's, for both ways."""
    read: dict[str, Any] = json.loads((REPOSITORY / "tests" / "events" / f"{name}.json").read_text())
    headers = {"headers": {HEADER: offers[-1]}, "multiValueHeaders": {HEADER: list(offers)}} if offers else {}
    return read | {"headers": {}, "multiValueHeaders": {}} | headers


@pytest.fixture
def authorizer(table: Table, load_function: Callable[..., ModuleType]) -> ModuleType:
    ApiKeys(table).add(KEY, "alice")
    return load_function("authorizer", FIRST_FRAME_AUTH="true", ALLOWED_ORIGINS="")


@pytest.fixture
def connect(sockets: Sockets, load_function: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", sockets.url)
    return load_function("connect", MESSAGE_FUNCTION="message")


@pytest.mark.parametrize(
    "offers",
    [[f"chatrelay.v1, {BEARER}"], ["chatrelay.v1", BEARER], [BEARER, "chatrelay.v1"], ["a, b", f"{BEARER},c"]],
    ids=["one line", "two lines", "the key first", "lists"],
)
def test_a_key_is_found_in_whichever_line_it_stands(authorizer: ModuleType, offers: list[str]) -> None:
    """RFC 6455 11.3.4: the header may come several times, which is the same as one list."""
    assert authorizer.handler(event("authorizer", *offers), CONTEXT)["context"]["user"] == "alice"


@pytest.mark.parametrize(
    ("offers", "selected"),
    [
        (["chatrelay.v1", BEARER], "chatrelay.v1"),
        ([BEARER, "chatrelay.v1"], "chatrelay.v1"),
        (["a", "b"], None),
        ([], None),
    ],
)
def test_our_subprotocol_is_selected_wherever_it_is_offered(
    connect: ModuleType, offers: list[str], selected: str | None
) -> None:
    answer = connect.handler(event("connect", *offers), CONTEXT)

    assert answer["statusCode"] == 200
    assert answer.get("headers", {}).get(HEADER) == selected
