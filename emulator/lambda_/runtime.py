"""The Runtime API: what AWS's own runtime client (`awslambdaric`) in one environment talks to.

The client cannot show who it is: it calls by two libraries, of which only one takes a path or a user in the address. So
each environment has a port of its own, which no browser may ask, and an answer counts once, for the event in flight.

Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
from dataclasses import dataclass
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.limits import Limits
from emulator.serving.server import Embedded

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


@dataclass(frozen=True)
class _Waiting:
    """An event, and what will be its answer."""

    invocation: Invocation
    answer: "asyncio.Future[Answer]"


class RuntimeApi:
    """One environment's Runtime API, on a port of its own: the protocol has no other way to tell who asks."""

    def __init__(self, limits: Limits) -> None:
        self.ready = asyncio.Event()
        self.init_error: bytes | None = None
        self._invocations: asyncio.Queue[_Waiting | None] = asyncio.Queue()
        self._in_flight: _Waiting | None = None
        self._asks = False
        post = ["POST"]
        application = Starlette(
            routes=[
                Route(f"{_PREFIX}/invocation/next", self._next),
                Route(
                    f"{_PREFIX}/invocation/{{request_id}}/response", partial(self._answer, failed=False), methods=post
                ),
                Route(f"{_PREFIX}/invocation/{{request_id}}/error", partial(self._answer, failed=True), methods=post),
                Route(f"{_PREFIX}/init/error", self._init_error, methods=post),
                Route(f"{_PREFIX}/restore/next", self._restore_next),
                Route(f"{_PREFIX}/restore/error", self._init_error, methods=post),
            ]
        )
        self._server = Embedded(application, limits)

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
        waiting = _Waiting(invocation, asyncio.get_running_loop().create_future())
        self._invocations.put_nowait(waiting)
        return await waiting.answer

    async def _next(self, _: Request) -> Response:
        # Whoever else asks on this port gets no event beside the worker, nor in its place while it waits.
        if self._asks or (self._in_flight is not None and not self._in_flight.answer.done()):
            return _error(403, "InvalidStateTransition", "The environment has an event, or asks for one already.")
        self._asks = True
        self.ready.set()
        try:
            self._in_flight = await self._invocations.get()
        finally:
            self._asks = False
        if self._in_flight is None:
            return Response(status_code=410)
        invocation = self._in_flight.invocation
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(invocation.deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.function_arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        return Response(invocation.payload, media_type="application/json", headers=headers)

    async def _answer(self, request: Request, *, failed: bool) -> Response:
        body = await request.body()
        waiting = self._in_flight  # only now: the event may have ended while the body came
        if (
            waiting is None
            or waiting.answer.done()
            or waiting.invocation.request_id != request.path_params["request_id"]
        ):
            return _error(400, "InvalidRequestID", "There is no such event in flight.")
        waiting.answer.set_result(Answer(body, failed))
        return _accepted()

    async def _init_error(self, request: Request) -> Response:
        body = await request.body()
        if self.ready.is_set():
            return _error(403, "InvalidStateTransition", "The environment has started.")
        self.init_error = body
        return _accepted()

    async def _restore_next(self, _: Request) -> Response:
        """Let the runtime go on: a snapshot of SnapStart would be taken here, and is restored at once."""
        return Response()


def _error(status: int, kind: str, message: str) -> Response:
    return JSONResponse({"errorType": kind, "errorMessage": message}, status_code=status)


def _accepted() -> Response:
    return JSONResponse({"status": "OK"}, status_code=202)
