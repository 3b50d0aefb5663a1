"""One port for HTTP and HTTPS, and how long it waits for who says nothing."""

import json
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect

from tests.builders.credentials import file_of
from tests.builders.serving import Serving
from tests.emulator.conftest import HEADERS_S

HALVES = {
    "nothing": b"",
    "half a line": b"GET /act HT",
    "half a header": b"GET /act HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
    "half a handshake": b"GET /plain HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    "half of TLS": b"\x16\x03\x01",
}


@pytest.fixture(scope="module")
def trusting(gateway: Serving) -> ssl.SSLContext:
    """What a function trusts."""
    environment = gateway.describe()["environment"]
    bundles = {environment[name] for name in ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")}
    assert len(bundles) == 1
    assert Path(next(iter(bundles))).stat().st_mode & 0o077 == 0
    return ssl.create_default_context(cafile=next(iter(bundles)))


def connected(gateway: Serving) -> socket.socket:
    host, port = gateway.address.split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def test_who_does_not_go_on_is_let_go_of_and_nobody_else(impatient_gateway: Serving) -> None:
    began = time.monotonic()
    waiting = {what: connected(impatient_gateway) for what in HALVES}
    for what, half in HALVES.items():
        waiting[what].sendall(half)
    with httpx.Client(base_url=impatient_gateway.http("")) as client:
        assert client.get('items/7?do={"sleep":2}').status_code == 200, "a function may take longer than headers"
        for what, each in waiting.items():
            with each:
                assert each.recv(100) == b"", what
        assert time.monotonic() - began >= HEADERS_S
        assert client.get("items/7").status_code == 200


def test_who_sends_a_second_request_by_halves_is_let_go_of_too(impatient_gateway: Serving) -> None:
    with connected(impatient_gateway) as client:
        whole = f"GET /none HTTP/1.1\r\nHost: {impatient_gateway.address}\r\n\r\n".encode()
        client.sendall(whole)
        with client.makefile("rb") as answer:
            assert answer.readline().startswith(b"HTTP/1.1 404 ")
            while answer.readline() != b"\r\n":
                pass
            answer.read(len('{"message":"Not Found"}'))
        client.sendall(whole[:-2])
        assert client.recv(100) == b""


def test_the_same_port_speaks_tls(gateway: Serving, trusting: ssl.SSLContext) -> None:
    with httpx.Client(base_url=f"https://{gateway.address}", verify=trusting) as client:
        event = client.get('/items/7?do={"describe":true}').json()["event"]
        assert client.get("/items/7", headers={"Host": "evil.example"}).status_code == 421
    assert event["headers"]["x-forwarded-proto"] == "https"
    assert event["requestContext"]["domainName"] == gateway.address


async def test_a_function_posts_to_the_domain_that_its_event_names(gateway: Serving, trusting: ssl.SSLContext) -> None:
    for url, tls in ((gateway.websocket("plain"), None), (f"wss://{gateway.address}/plain", trusting)):
        async with connect(url, ssl=tls) as client:
            await client.send(json.dumps({"action": "act", "do": {"post": "grüße"}}))
            assert await client.recv() == "grüße"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Proto": "javascript", "X-Forwarded-For": "1.2.3.4", "X-Forwarded-Port": "1"},
        {"Forwarded": "proto=javascript", "X-Amzn-Trace-Id": "Root=forged"},
    ],
)
def test_a_client_does_not_say_how_it_came(gateway: Serving, headers: dict[str, str]) -> None:
    event = httpx.get(gateway.http('items/7?do={"describe":true}'), headers=headers).json()["event"]
    told = event["headers"]
    assert [told[f"x-forwarded-{name}"] for name in ("for", "port", "proto")] == ["127.0.0.1", "443", "http"]
    assert "forwarded" not in told
    assert "forged" not in told["x-amzn-trace-id"]


def test_the_credentials_are_their_users_own(gateway: Serving) -> None:
    file = file_of(gateway.printed)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
