"""What stands in for the world around the relay: over a real port each, or as a port of the relay itself."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chatrelay.domain.errors import Gone, PostError
from chatrelay.wire.limits import FRAME_LIMIT_BYTES

GONE = 410
ERRORS = {GONE: "GoneException", 413: "PayloadTooLargeException", 429: "LimitExceededException", 500: "InternalFailure"}


class Clock:
    """Stands still until it is set."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True)
class Posted:
    """One post, with the times of the event loop's clock between which it was under way."""

    frame: bytes
    started_s: float
    ended_s: float

    @property
    def json(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.frame)
        return decoded


class Reader:
    """A port of the outbox that takes `post_s` for every frame.

    It refuses the first posts with `refusals`, and is gone once it has taken `gone_after` frames.
    """

    def __init__(
        self, *, post_s: float = 0.0, refusals: Iterable[PostError] = (), gone_after: int | None = None
    ) -> None:
        self.posts: list[Posted] = []
        self.refused: list[bytes] = []
        self.refused_s: list[float] = []
        self.most_under_way = 0
        self._under_way = 0
        self._post_s = post_s
        self._refusals = list(refusals)
        self._gone_after = gone_after

    async def __call__(self, frame: bytes) -> None:
        assert len(frame) <= FRAME_LIMIT_BYTES
        now_s = asyncio.get_running_loop().time
        started_s = now_s()
        self._under_way += 1
        self.most_under_way = max(self.most_under_way, self._under_way)
        try:
            await asyncio.sleep(self._post_s)
        finally:
            self._under_way -= 1
        if len(self.posts) == self._gone_after:
            raise Gone
        if self._refusals:
            self.refused.append(frame)
            self.refused_s.append(now_s())
            raise self._refusals.pop(0)
        self.posts.append(Posted(frame, started_s, now_s()))

    def refuse(self, *refusals: PostError) -> None:
        """Refuses the next posts."""
        self._refusals += refusals

    @property
    def frames(self) -> list[dict[str, Any]]:
        return [post.json for post in self.posts]

    @property
    def types(self) -> list[str]:
        return [frame["type"] for frame in self.frames]

    @property
    def texts(self) -> list[str]:
        return [frame["content"] for frame in self.frames if frame["type"] == "message"]


class Sockets:
    """API Gateway's Management API: an ASGI application that keeps what is posted to each connection.

    `refusals` are statuses that the next requests for a connection get; one that is gone stays so. Posts take `post_s`,
    or what `slow_s` says for their connection. Beside it is Lambda's Invoke API: `invoked` has what ``message`` was
    called with, `rung` what ``notify`` was; neither may be, if it `forbids`. `order` is in which order everybody was
    reached, `on_post` is called when a post has taken its time.
    """

    def __init__(self) -> None:
        self.url = ""
        self.post_s = 0.0
        self.slow_s: dict[str, float] = {}
        self.forbids = False
        self.order: list[str] = []
        self.on_post: Callable[[], None] = lambda: None
        self.posts: dict[str, list[Posted]] = defaultdict(list)
        self.refusals: dict[str, list[int]] = defaultdict(list)
        self.closed: list[str] = []
        self.invoked: list[dict[str, Any]] = []
        self.rung: list[dict[str, Any]] = []
        self.under_way: list[bytes] = []
        self._app = Starlette(
            routes=[
                Route("/@connections/{id}", self._answer, methods=["POST", "DELETE"]),
                Route("/2015-03-31/functions/{name}/invocations", self._invoke, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def texts(self, connection_id: str) -> list[str]:
        """The frames of a connection as they came."""
        return [post.frame.decode() for post in self.posts[connection_id]]

    def frames(self, connection_id: str) -> list[dict[str, Any]]:
        """The frames of a connection, all of which are JSON."""
        return [post.json for post in self.posts[connection_id]]

    async def _invoke(self, request: Request) -> Response:
        assert request.headers["X-Amz-Invocation-Type"] == "Event"
        if self.forbids:
            return JSONResponse({"Message": "no"}, 403, {"x-amzn-ErrorType": "AccessDeniedException"})
        name = request.path_params["name"]
        (self.rung if name == "notify" else self.invoked).append(await request.json())
        self.order.append(name)
        return Response(status_code=202)

    async def _answer(self, request: Request) -> Response:
        connection_id, started_s = request.path_params["id"], time.monotonic()
        frame = await request.body()
        self.under_way.append(frame)
        await asyncio.sleep(self.slow_s.get(connection_id, self.post_s))
        self.under_way.remove(frame)
        self.on_post()
        if refusals := self.refusals[connection_id]:
            status = refusals[0] if refusals[0] == GONE else refusals.pop(0)
            return JSONResponse({"message": "no"}, status, {"x-amzn-ErrorType": ERRORS[status]})
        if request.method == "DELETE":
            self.closed.append(connection_id)
            return Response(status_code=204)
        self.posts[connection_id].append(Posted(frame, started_s, time.monotonic()))
        self.order.append(connection_id)
        return Response()


class Secret:
    """The stored key, which has been rotated: `renew` finds the next one."""

    def __init__(self) -> None:
        self.renewals: list[bool] = []

    async def __call__(self, *, renew: bool = False) -> str:
        self.renewals.append(renew)
        return f"key-{sum(self.renewals)}"


class Address:
    """What stands at `url` for many tests, each with an application of its own: servers are slow to stop."""

    app: ASGIApp
    url: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Clocked:
    """An application in front of `app` that notes when it wrote the last part in which `mark` is."""

    def __init__(self, app: ASGIApp, mark: bytes) -> None:
        self.written_s = 0.0
        self._app = app
        self._mark = mark

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def noting(message: Message) -> None:
            if self._mark in message.get("body", b""):
                self.written_s = time.monotonic()
            await send(message)

        await self._app(scope, receive, noting)


def assembled(frames: Iterable[dict[str, Any]]) -> str:
    """The log as a client has it, put together by offset, in UTF-16. A gap or a repeat does not assemble."""
    units = b""
    for frame in frames:
        if "part" in frame or frame["type"] == "message":
            assert frame["offset"] == len(units) // 2
            units += frame["content"].encode("utf-16-le")
    return units.decode("utf-16-le")
