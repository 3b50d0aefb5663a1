"""Who may ask what, by the headers of a request: names of this machine, pages of others, frames."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Scope
from starlette.websockets import WebSocket

from emulator.serving.guard import Door, Guard, Names, named

ADDRESS = "127.0.0.1:8080"
LAN = "192.168.1.20:8080"
NAMES = Names(ADDRESS, frozenset({"tunnel.example", "port.example:444"}))


@pytest.mark.parametrize(
    ("host", "scheme", "own"),
    [
        ("127.0.0.1:8080", "http", True),
        ("localhost:8080", "http", True),
        ("LOCALHOST:8080", "http", True),
        ("localhost.:8080", "http", True),
        ("127.8.9.10:8080", "http", True),
        ("[::1]:8080", "http", True),
        ("127.0.0.1:8080", "wss", True),
        ("tunnel.example", "http", True),
        ("Tunnel.Example:8080", "http", True),
        ("port.example:444", "http", True),
        ("port.example", "http", False),
        ("127.0.0.1", "http", False),
        ("127.0.0.1:80", "http", False),
        ("localhost:8081", "http", False),
        ("evil.example:8080", "http", False),
        ("localhost.evil.example:8080", "http", False),
        ("evil-localhost:8080", "http", False),
        ("127.0.0.1.evil.example:8080", "http", False),
        ("evil.example:8080@127.0.0.1:8080", "http", False),
        ("127.0.0.1:8080/evil.example", "http", False),
        ("127.0.0.1:8080, evil.example", "http", False),
        ("[::2]:8080", "http", False),
        ("192.168.1.20:8080", "http", False),
        ("0.0.0.0:8080", "http", False),
        ("2130706433:8080", "http", False),
        ("", "http", False),
        (":8080", "http", False),
    ],
)
def test_a_host_names_what_listens_here_or_it_does_not(host: str, scheme: str, own: bool) -> None:
    assert NAMES.own(host, scheme) is own


def test_the_port_of_a_scheme_need_not_be_said() -> None:
    assert Names("127.0.0.1:80").own("localhost", "http")
    assert Names("127.0.0.1:443").own("localhost", "https")
    assert not Names("127.0.0.1:80").own("localhost", "https")


def test_an_address_of_the_network_is_a_name_like_loopback() -> None:
    names = Names(LAN)
    assert [names.own(host, "http") for host in (LAN, "localhost:8080", "192.168.1.21:8080")] == [True, True, False]
    assert Names("[fd00::1]:8080").own("[FD00::1]:8080", "http")


async def answered(
    path: str = "/own", *, method: str = "GET", names: Names = NAMES, browsers: bool = True, **headers: str | list[str]
) -> tuple[int, str, dict[str, list[str]]]:
    """Return status, body and headers of an answer. `headers` have `_` for `-`; a list is one that is there twice."""

    def say(text: str) -> Any:
        return lambda _: PlainTextResponse(text, headers={"Content-Security-Policy": "sandbox"})

    doors = [
        Door([Route("/own", say("own")), Route("/posted", say("posted"), methods=["POST"])]),
        Door([Route("/kept", say("kept"))], named(["https://*.app.example"])),
        Door([Route("/{path:path}", say("template"))], named(["https://app.example"]), deployed=True),
    ]
    routes = [route for door in doors for route in door.routes]
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    pairs = {"host": names.address, **headers}
    raw = [
        (name.replace("_", "-").encode(), value.encode())
        for name, values in pairs.items()
        for value in ([values] if isinstance(values, str) else values)
    ]
    scope: Scope = {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": raw,
    }
    await Guard(Starlette(routes=routes), names, doors, browsers=browsers)(scope, receive, send)
    told: dict[str, list[str]] = {}
    for name, value in sent[0]["headers"]:
        told.setdefault(name.decode().lower(), []).append(value.decode())
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode(), told


OWN_PAGE: dict[str, Any] = {"origin": f"http://{ADDRESS}", "sec_fetch_site": "same-origin"}
NEIGHBOUR: dict[str, Any] = {"origin": "http://localhost:5173", "sec_fetch_site": "same-site"}
FOREIGN: dict[str, Any] = {"origin": "https://evil.example", "sec_fetch_site": "cross-site"}


@pytest.mark.parametrize(
    ("headers", "own", "kept", "template"),
    [
        ({}, 200, 200, 200),
        ({"sec_fetch_site": "none"}, 200, 200, 200),
        ({"sec_fetch_site": "same-origin"}, 200, 200, 200),
        ({"sec_fetch_site": "same-site"}, 403, 403, 200),
        ({"sec_fetch_site": "cross-site"}, 403, 403, 200),
        ({"sec_fetch_site": "new-word"}, 403, 403, 200),
        (OWN_PAGE, 200, 200, 200),
        ({"origin": f"http://localhost:{ADDRESS[-4:]}"}, 200, 200, 200),
        ({"origin": "https://tunnel.example"}, 200, 200, 200),
        (NEIGHBOUR, 403, 403, 200),
        (FOREIGN, 403, 403, 403),
        ({"origin": "null"}, 403, 403, 403),
        ({"origin": ""}, 403, 403, 403),
        ({"origin": "file://"}, 403, 403, 403),
        ({"origin": "chrome-extension://127.0.0.1:8080"}, 403, 403, 200),
        ({"origin": f"http://{ADDRESS}.evil.example"}, 403, 403, 403),
        ({"origin": [f"http://{ADDRESS}", "https://evil.example"]}, 403, 403, 403),
        ({"origin": "https://app.example", "sec_fetch_site": "cross-site"}, 403, 403, 200),
        ({"origin": "https://a.app.example", "sec_fetch_site": "cross-site"}, 403, 200, 403),
        ({"referer": "https://a.app.example/shop?q", "sec_fetch_site": "cross-site"}, 403, 200, 200),
        ({"referer": "http://[", "sec_fetch_site": "cross-site"}, 403, 403, 200),
        ({"referer": "https://evil.example/a.app.example", "sec_fetch_site": "cross-site"}, 403, 403, 200),
    ],
)
async def test_pages_may_ask_where_they_are_let_in(headers: Any, own: int, kept: int, template: int) -> None:
    assert [(await answered(path, **headers))[0] for path in ("/own", "/kept", "/other")] == [own, kept, template]


async def test_a_route_that_knows_another_method_only_is_no_way_around() -> None:
    assert (await answered("/posted", method="POST", **FOREIGN))[0] == 403
    assert (await answered("/posted", **OWN_PAGE))[1] == "template", "as the application has it, so the guard"


@pytest.mark.parametrize("hosts", [["evil.example:8080"], [ADDRESS, "evil.example"], [ADDRESS, ADDRESS], []])
async def test_what_is_not_for_this_machine_is_misdirected(hosts: list[str]) -> None:
    status, sentence, _ = await answered("/other", host=hosts)
    assert status == 421
    assert "--allow-host" in sentence


async def test_a_target_that_is_no_path_is_refused() -> None:
    assert (await answered(f"http://{ADDRESS}/own"))[0] == 400


async def test_a_refusal_names_the_cure_and_the_terminal_has_it_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "emulator")
    assert "--allow-host evil.example\n" in (await answered(host="evil.example:8080"))[1]
    assert "--allow-origin https://evil.example\n" in (await answered("/other", **FOREIGN))[1]
    assert [("--allow-host" in told, "--allow-origin" in told) for told in caplog.messages] == [
        (True, False),
        (False, True),
    ]


async def test_no_page_may_be_framed_whatever_else_its_policy_says() -> None:
    for path, headers in (("/own", {}), ("/other", {}), ("/own", FOREIGN)):
        status, _, told = await answered(path, **headers)
        assert told["x-frame-options"] == ["DENY"]
        policies = ["sandbox"] if status == 200 else []
        assert told["content-security-policy"] == [*policies, "frame-ancestors 'none'"]


@pytest.mark.parametrize("headers", [OWN_PAGE, {"sec_fetch_mode": "navigate"}, {"origin": "http://127.0.0.1:1"}])
async def test_where_only_functions_ask_no_browser_may(headers: Any) -> None:
    assert (await answered(browsers=False, **headers))[0] == 403
    assert (await answered(browsers=False))[0] == 200


async def test_a_handshake_is_refused_as_a_request_is_however_its_headers_are_written() -> None:
    async def serve(socket: WebSocket) -> None:
        await socket.accept()

    doors = [Door([WebSocketRoute("/v1", serve)], deployed=True)]
    application = Guard(Starlette(routes=doors[0].routes), NAMES, doors)

    async def first(*headers: tuple[bytes, bytes]) -> Any:
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {
            "type": "websocket",
            "scheme": "ws",
            "path": "/v1",
            "query_string": b"",
            "headers": list(headers),
        }
        scope["extensions"] = {"websocket.http.response": {}}
        await application(scope, receive, send)
        return sent[0].get("status", sent[0]["type"])

    host = (b"Host", ADDRESS.encode())
    assert await first(host) == "websocket.accept"
    assert await first(host, (b"Origin", b"http://localhost:5173")) == "websocket.accept"
    assert await first(host, (b"Origin", b"https://evil.example")) == 403
    assert await first((b"HOST", b"evil.example:8080")) == 421


def test_origins_are_named_as_buckets_name_them() -> None:
    assert named(["*"])("https://any.example")
    assert named(["http://[::1]:1"])("http://[::1]:1")
    assert not named(["https://app.example"])("https://app.example.evil.example")
    assert not named([])("https://app.example")
