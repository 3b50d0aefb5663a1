"""Push services on loopback: HTTP/2 over TLS, one that answers, and one that breaks off or stays mute."""

import asyncio
import json
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h2.events
import hypercorn.asyncio
import trustme
from h2.config import H2Configuration
from h2.connection import H2Connection
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

ADDRESS = "127.0.0.1"


class Authority:
    """Whose certificates the tests trust."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self.certificate, self.roots = folder / "service.pem", folder / "roots.pem"
        self._authority.issue_cert(ADDRESS).private_key_and_cert_chain_pem.write_to_path(str(self.certificate))
        self._authority.cert_pem.write_to_path(str(self.roots))
        self.trust = ssl.create_default_context()
        self._authority.configure_trust(self.trust)


@dataclass(frozen=True)
class Received:
    """One request as it came."""

    path: str
    http_version: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """An answer: a body that is no text goes out as JSON."""

    status: int = 200
    body: Any = ""
    headers: dict[str, str] = field(default_factory=dict)


class PushService:
    """Keeps what it gets, and gives each path its replies in turn, then what `usual` says for ever."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests: list[Received] = []
        self.replies: dict[str, list[Reply]] = defaultdict(list)
        self.usual: Callable[[Received], Reply] = lambda _: Reply()
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])])

    def at(self, path: str) -> list[Received]:
        """The requests for `path`."""
        return [request for request in self.requests if request.path == path]

    async def _answer(self, request: Request) -> Response:
        path, body = request.url.path, await request.body()
        received = Received(path, request.scope["http_version"], dict(request.headers), body)
        self.requests.append(received)
        reply = self.replies[path].pop(0) if self.replies[path] else self.usual(received)
        content = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
        return Response(content, reply.status, reply.headers)


@contextmanager
def serving_in_thread(app: ASGIApp, authority: Authority) -> Iterator[str]:
    """Serves `app` from a thread with a loop of its own; gives the base URL."""
    listener = socket.create_server((ADDRESS, 0))
    config = Config()
    config.bind = [f"fd://{listener.fileno()}"]
    config.certfile = config.keyfile = str(authority.certificate)
    config.graceful_timeout = 0.1
    config.loglevel = "ERROR"
    ending = threading.Event()
    serving = hypercorn.asyncio.serve(app, config, shutdown_trigger=partial(asyncio.to_thread, ending.wait))  # type: ignore[arg-type]
    thread = threading.Thread(target=asyncio.run, args=[serving], name="push-service")
    thread.start()
    try:
        yield f"https://{ADDRESS}:{listener.getsockname()[1]}"
    finally:
        listener.detach()  # it is the server's by now
        ending.set()
        thread.join()


class Faulty:
    """Does with the requests of each connection what its plan says, the last plan and its last word for ever.

    ``answer``; ``mute``: never answers; ``abort``: cuts the connection; ``late`` and ``late-abort``: the same
    when `hurry` is set; ``farewell``: answers, then GOAWAY; ``refuse``: GOAWAY, and the request was not looked at;
    ``shutdown``: GOAWAY in the middle of the request.
    """

    def __init__(self, *plans: str) -> None:
        self.url = ""
        self.requests: list[tuple[int, str]] = []
        self.heard = asyncio.Event()
        self.hurry = asyncio.Event()
        self._plans = [plan.split() for plan in plans]
        self._writers: list[asyncio.StreamWriter] = []
        self._late: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def serving(self, authority: Authority) -> AsyncIterator["Faulty"]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority.certificate)
        context.set_alpn_protocols(["h2"])
        async with await asyncio.start_server(self._connected, ADDRESS, 0, ssl=context) as server:
            self.url = f"https://{ADDRESS}:{server.sockets[0].getsockname()[1]}"
            yield self
            for writer in self._writers:
                writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self._writers)
        self._writers.append(writer)
        words = list(self._plans[min(number, len(self._plans) - 1)])
        connection = H2Connection(H2Configuration(client_side=False))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await _read(reader):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.requests.append((number, dict(event.headers)[b":path"].decode()))
                if isinstance(event, h2.events.StreamEnded):
                    word = words.pop(0) if len(words) > 1 else words[0]
                    self._do(word, connection, event.stream_id, writer)
                    self.heard.set()
            writer.write(connection.data_to_send())

    def _do(self, word: str, connection: H2Connection, stream: int, writer: asyncio.StreamWriter) -> None:
        if word.startswith("late"):
            self._late.append(asyncio.create_task(self._do_late(word, connection, stream, writer)))
        if word in ("answer", "farewell"):
            connection.send_headers(stream, [(":status", "200")], end_stream=True)
        if word in ("farewell", "refuse", "shutdown"):
            connection.close_connection(last_stream_id=0 if word == "refuse" else stream)
            writer.write(connection.data_to_send())
            writer.close()
        if word == "abort":
            writer.transport.abort()

    async def _do_late(self, word: str, connection: H2Connection, stream: int, writer: asyncio.StreamWriter) -> None:
        await self.hurry.wait()
        self._do("abort" if word == "late-abort" else "answer", connection, stream, writer)
        writer.write(connection.data_to_send())


async def _read(reader: asyncio.StreamReader) -> bytes:
    """Nothing, if the client has gone."""
    try:
        return await reader.read(65536)
    except ConnectionError:
        return b""
