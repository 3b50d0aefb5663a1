"""Who may ask: in front of everything that listens here, for any web page may send requests to this machine.

A request has to name this machine (a name that was rebound to it is another one's), and a page of another origin has to
be let in by whoever is asked: `gateway.doors` says who lets in whom. No page may show another one's in a frame.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from emulator import log
from emulator.serving.loopback import is_loopback

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(\d{1,5}))?")
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_FRAMES = "frame-ancestors 'none'"
Origins = Callable[[str], bool]
"""Whether the pages of an origin may ask."""


@dataclass(frozen=True)
class Names:
    """What this machine is called: `address` (`host:port`), loopback at that port, and `allowed` (`name[:port]`)."""

    address: str
    allowed: frozenset[str] = frozenset()

    def own(self, host: str, scheme: str) -> bool:
        """Whether a header Host, or the same part of an origin, names what listens here."""
        name, port = parts(host, scheme)
        if self._is_allowed(name, port):
            return True
        return port == parts(self.address, scheme)[1] and self._is_here(name)

    def own_origin(self, origin: str) -> bool:
        """Whether an origin is of a page that was loaded here."""
        scheme, _, host = origin.partition("://")
        return scheme in ("http", "https") and self.own(host, scheme)

    def on_this_machine(self, origin: str) -> bool:
        """Whether an origin is of a page that was loaded from this machine, by whatever serves it."""
        scheme, _, host = origin.partition("://")
        name, port = parts(host, scheme)
        return self._is_here(name) or self._is_allowed(name, port)

    def _is_here(self, name: str) -> bool:
        return is_loopback(name) or name == parts(self.address, "http")[0]

    def _is_allowed(self, name: str, port: int | None) -> bool:
        return bool(name) and not self.allowed.isdisjoint((name, f"{name}:{port}"))


@dataclass(frozen=True)
class Door:
    """Routes, and which pages may ask them beside this gateway's own: those of the origins that are let in.

    `deployed`: pages of this machine and plain links pass, as in AWS, and the template's own rules decide.
    """

    routes: Sequence[BaseRoute]
    lets_in: Origins = lambda _: False
    deployed: bool = False


class _Refused(Exception):
    """The request is not let in. The message says why, and what would let it in."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status

    def response(self) -> Response:
        return PlainTextResponse(f"{self}\n", self.status, {"X-Content-Type-Options": "nosniff"})


class Guard:
    """An ASGI application around another one, whose routes are those of `doors`. What has no door is closed."""

    def __init__(self, application: ASGIApp, names: Names, doors: Sequence[Door], *, browsers: bool = True) -> None:
        self._application = application
        self._names = names
        self._doors = doors
        self._browsers = browsers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A handshake's names of headers are as the client wrote them.
        headers = Headers(raw=[(name.lower(), value) for name, value in scope["headers"]])
        try:
            self._check(scope, headers)
        except _Refused as refused:
            # The console of a browser does not say why a response was blocked.
            log.notice(f"refused  {scope['path']}  {refused.status}  {refused}")
            if scope["type"] == "websocket":
                await WebSocket(scope, receive, send).send_denial_response(refused.response())
            else:
                await refused.response()(scope, receive, _unframed(send))
        else:
            await self._application(scope, receive, _unframed(send))

    def _check(self, scope: Scope, headers: Headers) -> None:
        if not scope["path"].startswith("/"):
            raise _Refused(400, "What is asked for has to be a path.")
        # Of two, the application might read the other one. Source: RFC 9112, 3.2.
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._names.own(hosts[0], scope["scheme"]):
            name = parts(hosts[0] if hosts else "", scope["scheme"])[0] or "NAME"
            raise _Refused(421, f"This is {self._names.address}. For another name of it: --allow-host {name}")
        if not self._browsers:
            if any(name == "origin" or name.startswith("sec-fetch-") for name in headers):
                raise _Refused(403, "Only functions may ask this, no browser.")
            return
        door, origins = self._door(scope), headers.getlist("origin")
        for origin in origins:
            own = self._names.on_this_machine(origin) if door.deployed else self._names.own_origin(origin)
            if not own and not door.lets_in(origin):
                by_name = f"Name it in the template's CORS, or with --allow-origin {origin}"
                cure = by_name if door.deployed else "Only this gateway's own pages may."
                raise _Refused(403, f"A page of {origin} may not ask this. {cure}")
        site = headers.get("sec-fetch-site", "none")
        if origins or door.deployed or site in ("same-origin", "none"):
            return
        # A picture, or a link: it has no Origin, and a Referer that a page may leave out, but not make up.
        if not door.lets_in(_origin(headers.get("referer", ""))):
            raise _Refused(403, "A page of elsewhere may not ask this. Open the address itself.")

    def _door(self, scope: Scope) -> Door:
        """Return the door of the route that the application takes: the first that matches, at least but for the method.

        A door without routes if none does.
        """
        others: list[Door] = []
        for door in self._doors:
            for route in door.routes:
                match, _ = route.matches(scope)
                if match is Match.FULL:
                    return door
                if match is Match.PARTIAL:
                    others.append(door)
        return others[0] if others else Door(())


def named(origins: Sequence[str]) -> Origins:
    """Let in the origins that are named; `*` is any, and stands for any text in a name, as in the rules of a bucket."""
    # A bracket is no pattern here, but how an IPv6 address is written.
    return lambda origin: any(fnmatch.fnmatchcase(origin, pattern.replace("[", "[[]")) for pattern in origins)


def parts(host: str, scheme: str) -> tuple[str, int | None]:
    """Return the name in small letters and the port, by default the scheme's. No name if it is no `host[:port]`."""
    match = _HOST.fullmatch(host.lower())
    if match is None:
        return "", None
    name, port = match.groups()
    return name.removesuffix("."), int(port) if port else _PORTS.get(scheme)


def _origin(referer: str) -> str:
    """Return the origin of a page; empty if its address is not one."""
    try:
        page = urlsplit(referer)
    except ValueError:
        return ""
    return f"{page.scheme}://{page.netloc}"


def _unframed(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message.get("headers", ())))
            # Beside a policy that is there already: a browser keeps to all of them.
            headers.append("Content-Security-Policy", _FRAMES)
            headers["X-Frame-Options"] = "DENY"
            message = {**message, "headers": headers.raw}
        await send(message)

    return sending
