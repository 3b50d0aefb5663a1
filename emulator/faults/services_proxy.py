"""The address at which workers ask the services while there is a fault plan."""

import datetime
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.faults.call_faults import Calls
from emulator.limits import Limits
from emulator.services.forwarder import METHODS, Forwarder
from emulator.services.services import Services
from emulator.services.signature import Received, Refused, verify
from emulator.serving.server import Embedded


class ServicesProxy:
    """A port that answers workers as the services do, unless `calls` has another answer."""

    def __init__(self, services: Services, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._credentials = services.credentials
        self._forwarder = Forwarder(services)
        self._server = Embedded(Starlette(routes=[Route("/{path:any}", self._answer, methods=METHODS)]), limits)

    @property
    def address(self) -> str:
        """The address for AWS_ENDPOINT_URL."""
        return f"http://{self._server.address}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self._server.stop()
        await self._forwarder.stop()

    async def _answer(self, request: Request) -> Response:
        received = await Received.of(request)
        try:
            scope = verify(received, None, self._credentials, datetime.datetime.now(datetime.UTC))
        except Refused as refused:
            body = {"__type": refused.code, "message": str(refused)}
            return JSONResponse(body, 403, {"x-amzn-ErrorType": refused.code})
        pass_on = partial(self._forwarder.answer, received, scope)
        # Only protocols with this header name the operation there. Those without one pass as they are.
        target = received.header("x-amz-target")
        return await self._calls.answer(request, target.rpartition(".")[2], pass_on) if target else await pass_on()
