"""The Runtime API: what AWS's own runtime client (`awslambdaric`) in one environment talks to.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.server import Embedded

_PREFIX = "/2018-06-01/runtime"


@dataclass(frozen=True)
class Invocation:
    """One event for one environment. `function_arn` as the caller gave it, qualifier included."""

    request_id: str
    function_arn: str
    payload: bytes
    deadline_ms: int
    trace_id: str


@dataclass(frozen=True)
class Answer:
    """What the runtime posted for an invocation: a result, or an error as JSON."""

    payload: bytes
    failed: bool


class RuntimeApi:
    """One environment's Runtime API, on a port of its own: the protocol has no other way to tell who asks."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.init_error: bytes | None = None
        self._invocations: asyncio.Queue[Invocation | None] = asyncio.Queue()
        self._answers: asyncio.Queue[Answer] = asyncio.Queue()
        self._server = Embedded(self._application())

    @property
    def address(self) -> str:
        """`host:port`, for AWS_LAMBDA_RUNTIME_API."""
        return self._server.address

    async def start(self) -> None:
        await self._server.start()

    def stop(self) -> None:
        """Close the port; a runtime that still waits for an event is told so and ends."""
        self._invocations.put_nowait(None)
        self._server.stop()

    async def handle(self, invocation: Invocation) -> Answer:
        """Hand an event to the runtime and wait for what comes back, however long that takes."""
        self._invocations.put_nowait(invocation)
        return await self._answers.get()

    def _application(self) -> Starlette:
        post = ["POST"]
        return Starlette(
            routes=[
                Route(f"{_PREFIX}/invocation/next", self._next),
                Route(f"{_PREFIX}/invocation/{{request_id}}/response", self._response, methods=post),
                Route(f"{_PREFIX}/invocation/{{request_id}}/error", self._error, methods=post),
                Route(f"{_PREFIX}/init/error", self._init_error, methods=post),
                Route(f"{_PREFIX}/restore/next", self._restore_next),
                Route(f"{_PREFIX}/restore/error", self._init_error, methods=post),
            ]
        )

    async def _next(self, _: Request) -> Response:
        self.ready.set()
        invocation = await self._invocations.get()
        if invocation is None:
            return Response(status_code=410)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        return Response(invocation.payload, media_type="application/json", headers=headers)

    async def _response(self, request: Request) -> Response:
        self._answers.put_nowait(Answer(await request.body(), failed=False))
        return _accepted()

    async def _error(self, request: Request) -> Response:
        self._answers.put_nowait(Answer(await request.body(), failed=True))
        return _accepted()

    async def _init_error(self, request: Request) -> Response:
        self.init_error = await request.body()
        return _accepted()

    async def _restore_next(self, _: Request) -> Response:
        """A SnapStart snapshot would be taken here; restoring it follows at once."""
        return Response()


def _accepted() -> Response:
    return JSONResponse({"status": "OK"}, status_code=202)
