"""A service that speaks OpenAI's Responses API, as far as a test has written it down."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from emulator.stand_ins.fake_anthropic import Performance, Received
from emulator.stand_ins.script import Script


class Service:
    """Plays `script` for every request that is none of `refusals`, which are answers to the first ones."""

    def __init__(self) -> None:
        self.script = Script(())
        self.refusals: list[Response] = []
        self.requests: list[Received] = []
        self._app = Starlette(routes=[Route("/v1/responses", self._answer, methods=["POST"])])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        received = Received(await request.json(), dict(request.headers))
        self.requests.append(received)
        return self.refusals.pop(0) if self.refusals else Performance(self.script, received, dict, "req_1")
