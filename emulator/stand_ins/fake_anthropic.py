"""A model by script: Anthropic's Messages API over real HTTP, with behaviour that the caller chooses.

It serves the real `anthropic` SDK in the tests and plays the demonstration in the local gateway. What it
checks in a request is what the real service refuses and what a caller with a long history easily gets wrong.

Source of the stream's grammar: https://docs.anthropic.com/en/api/messages-streaming
"""

import asyncio
import contextlib
import itertools
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope
from starlette.types import Send as SendMessage

from emulator.stand_ins.request_validation import PromptCache, fault_in
from emulator.stand_ins.script import Cut, Pause, Refuse, Script, Send, refuse

Choose = Callable[[dict[str, Any]], Script]


@dataclass
class Received:
    """One request as it came, and how its answer ended.

    Times are of `time.monotonic`. While the answer is being written `closed_at` is None. Afterwards
    `finished` says whether the script was played to its end; if not, the client went away first.
    """

    body: dict[str, Any]
    headers: dict[str, str]
    received_at: float = field(default_factory=time.monotonic)
    closed_at: float | None = None
    finished: bool = False


class ScriptedModel:
    """The ASGI application. `choose` sees a valid request's body and says what happens."""

    def __init__(self, choose: Choose) -> None:
        self.requests: list[Received] = []
        self._choose = choose
        self._cache = PromptCache()
        self._numbers = itertools.count(1)
        self._app = Starlette(routes=[Route("/v1/messages", self._messages, methods=["POST"])])

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        await self._app(scope, receive, send)

    async def _messages(self, request: Request) -> Response:
        number = next(self._numbers)
        try:
            body = json.loads(await request.body())
        except ValueError:
            body = None
        received = Received(body if isinstance(body, dict) else {}, dict(request.headers))
        self.requests.append(received)
        headers = received.headers
        # The SDK (measured: 2.12) sends a key as a bearer token; other clients send it as `x-api-key`.
        if not (headers.get("x-api-key", "") or headers.get("authorization", "").removeprefix("Bearer").strip()):
            script = refuse(401, message="authentication with an API key is required")
        elif "anthropic-version" not in headers:
            script = refuse(400, message="anthropic-version: header is required")
        elif fault := fault_in(body):
            script = refuse(400, message=fault)
        else:
            script = self._choose(received.body)

        # Not now: counting tokens fills the cache, and a request that fails before its first event fills none.
        def opening() -> dict[str, Any]:
            usage = self._cache.usage(received.body)
            return {"id": f"msg_{number:024}", "model": received.body["model"], "usage": usage}

        return Performance(script, received, opening, f"req_{number:024}")


class Performance(Response):
    """A script that is played until it ends or the client goes away, whichever is first.

    `opening` gives what a `message_start` leaves out; it is called only if one is sent.
    """

    def __init__(
        self, script: Script, received: Received, opening: Callable[[], dict[str, Any]], request_id: str
    ) -> None:
        self._script = script
        self._received = received
        self._opening = opening
        self._request_id = request_id
        self._streaming = False

    async def __call__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        play = asyncio.ensure_future(self._play(scope, receive, send))
        gone = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({play, gone}, return_when=asyncio.FIRST_COMPLETED)
            self._received.finished = play.done()
        finally:
            self._received.closed_at = time.monotonic()
            gone.cancel()
            play.cancel()
            # The server closes the connection when this returns, so nothing may still be writing then.
            outcomes = await asyncio.gather(play, gone, return_exceptions=True)
        if isinstance(outcomes[0], Exception):
            raise outcomes[0]

    async def _play(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        for step in self._script.steps:
            match step:
                case Refuse(status, kind, message, headers):
                    error = {"type": kind, "message": message}
                    body = {"type": "error", "error": error, "request_id": self._request_id}
                    refusal = JSONResponse(body, status, {"request-id": self._request_id, **headers})
                    await refusal(scope, receive, send)
                    return
                case Pause(seconds):
                    await asyncio.sleep(seconds)
                case Cut():
                    await self._begin(send)
                    # A server closes the connection of an application that returns before its body is complete.
                    return
                case Send(written):
                    await self._begin(send)
                    event = dict(written)
                    if event["type"] == "message_start":
                        event["message"] = self._opening() | event["message"]
                    line = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
                    await send({"type": "http.response.body", "body": line.encode(), "more_body": True})
        await self._begin(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, send: SendMessage) -> None:
        if self._streaming:
            return
        self._streaming = True
        headers = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-cache",
            "request-id": self._request_id,
        }
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": raw})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Server(uvicorn.Server):
    """A server that leaves the process's signals alone, and hangs up on its clients when it stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals belong to the program that this server is a part of

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # A script that stalls would keep its connection open for ever.
        for connection in self.server_state.connections:
            connection.transport.abort()
        await super().shutdown(sockets)


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """Serve `app` on the running loop at a free port of 127.0.0.1, whose base URL is the block's value."""
    with _listener() as listener:
        server = _server(app)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield _url(listener)
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def serving_in_thread(app: ASGIApp) -> Iterator[str]:
    """Serve `app` as `serving` does, from a thread with a loop of its own: for callers whose loop comes and goes."""
    with _listener() as listener:
        server = _server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="scripted-model")
        thread.start()
        try:
            yield _url(listener)
        finally:
            server.should_exit = True
            thread.join()


def _listener() -> socket.socket:
    """Return a socket that listens, so that a client may connect before the server has begun to accept."""
    return socket.create_server(("127.0.0.1", 0))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


def _server(app: ASGIApp) -> _Server:
    return _Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None))
