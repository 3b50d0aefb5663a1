from base64 import urlsafe_b64encode

import pytest

from chatrelay.wire.identity import (
    credential,
    handshake_headers,
    key_hash,
    lower_case,
    new_key,
    origin_allowed,
    speaks_version_1,
    subprotocols,
)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"authorization": "Bearer crk_1"}, "crk_1"),
        ({"authorization": "bearer  crk_1 "}, "crk_1"),
        ({"authorization": "crk_1"}, "crk_1"),
        ({"authorization": "Bearer "}, ""),
        ({"x-api-key": "crk_2"}, "crk_2"),
        ({"sec-websocket-protocol": "chatrelay.v1, bearer.Y3JrXzM"}, "crk_3"),
        ({"sec-websocket-protocol": "bearer.4pyTw7_Cvz8"}, "✓ÿ¿?"),
        ({"sec-websocket-protocol": "chatrelay.v1"}, None),
        ({"authorization": "Bearer crk_1", "x-api-key": "crk_2", "sec-websocket-protocol": "bearer.Y3JrXzM"}, "crk_1"),
        ({"x-api-key": "crk_2", "sec-websocket-protocol": "bearer.Y3JrXzM"}, "crk_2"),
    ],
    ids=[
        "none at all",
        "bearer",
        "bearer in lower case",
        "authorization without a scheme",
        "bearer of nothing",
        "x-api-key",
        "subprotocol",
        "subprotocol with - and _",
        "another subprotocol",
        "authorization goes first",
        "x-api-key goes second",
    ],
)
def test_the_first_credential_that_is_present_counts(headers: dict[str, str], found: str | None) -> None:
    assert credential(headers) == found


@pytest.mark.parametrize("around", [" ", "\n", "\r\n", "\t ", "\ufeff", "\ufeff \ufeff", "\u200b"], ids=ascii)
@pytest.mark.parametrize("carrier", ["authorization", "bearer", "x-api-key", "subprotocol"])
def test_a_pasted_key_is_the_key_whatever_carries_it(carrier: str, around: str) -> None:
    """No key has white space in it, and people paste."""
    key = f"{around}crk_1{around}"
    headers = {
        "authorization": {"authorization": key},
        "bearer": {"authorization": f"Bearer {key}"},
        "x-api-key": {"x-api-key": key},
        "subprotocol": {
            "sec-websocket-protocol": f"chatrelay.v1, bearer.{urlsafe_b64encode(key.encode()).decode().rstrip('=')}"
        },
    }

    assert credential(headers[carrier]) == "crk_1"


@pytest.mark.parametrize(
    "offer", ["bearer.", "bearer.a", "bearer.____", "bearer.é", "bearer.\x00", "bearer.a b", "bearer.ab=c"]
)
def test_a_subprotocol_that_is_no_base64url_of_text_is_present_and_wrong(offer: str) -> None:
    assert credential({"sec-websocket-protocol": offer}) == ""


def test_subprotocols_are_offered_with_commas() -> None:
    assert subprotocols({"sec-websocket-protocol": "chatrelay.v1,bearer.x , "}) == ["chatrelay.v1", "bearer.x"]


@pytest.mark.parametrize(("offer", "speaks"), [("a, chatrelay.v1", True), ("chatrelay.v10", False), ("", False)])
def test_version_1_is_offered_by_its_whole_name(offer: str, speaks: bool) -> None:
    assert speaks_version_1({"sec-websocket-protocol": offer}) is speaks


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (None, True),
        ("https://chat.example", True),
        ("http://chat.example", False),
        ("https://chat.example.evil", False),
        ("https://CHAT.example", False),
        ("null", False),
        ("", False),
    ],
)
def test_a_browser_must_come_from_an_origin_on_the_list(origin: str | None, allowed: bool) -> None:
    assert origin_allowed(origin, frozenset({"https://chat.example"})) is allowed


def test_header_names_are_lower_case_whatever_the_client_wrote() -> None:
    assert lower_case({"X-API-Key": "K", "ORIGIN": "o"}) == {"x-api-key": "K", "origin": "o"}
    assert lower_case(None) == {}


def test_the_subprotocols_of_a_handshake_are_one_list_and_of_other_headers_the_last_counts() -> None:
    """As API Gateway gives them, which keeps names as the client wrote them."""
    event = {
        "headers": {"sec-websocket-protocol": "c", "X-API-Key": "2"},
        "multiValueHeaders": {
            "Sec-WebSocket-Protocol": ["a, b"],
            "sec-websocket-protocol": ["c"],
            "X-API-Key": ["1", "2"],
        },
    }

    assert handshake_headers(event) == {"sec-websocket-protocol": "a, b, c", "x-api-key": "2"}
    assert handshake_headers({"headers": {"Origin": "o"}}) == {"origin": "o"}
    assert handshake_headers({"headers": None, "multiValueHeaders": None}) == {}


def test_a_new_key_is_long_and_never_the_same() -> None:
    keys = {new_key() for _ in range(100)}

    assert len(keys) == 100
    assert {(len(key), key[:4]) for key in keys} == {(47, "crk_")}


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("crk_1", "acc433782d980cff228e31bf9dc13b348e36e70ec9da7e71cbafa05f0d235ee2"),
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    ],
)
def test_a_key_is_stored_as_its_sha256(key: str, stored: str) -> None:
    assert key_hash(key) == stored


@pytest.mark.parametrize("key", ["\ud83d", "键" * 100_000, "\x00"], ids=["half a pair", "long", "nul"])
def test_any_text_may_be_asked_for_as_a_key(key: str) -> None:
    assert len(key_hash(key)) == 64
