"""What stands between the functions and the services while there is a fault plan: an HTTP proxy."""

from functools import partial

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.calls import Calls
from infra.local.server import Embedded

# Of one connection, not of what is said over it. Source: RFC 9110, 7.6.1.
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]


class ServicesProxy:
    """Hands on what workers ask of the services at `endpoint`, unless `calls` has another answer."""

    def __init__(self, endpoint: str, calls: Calls) -> None:
        self._endpoint = endpoint
        self._calls = calls
        self._server = Embedded(Starlette(routes=[Route("/{path:path}", self._answer, methods=_METHODS)]))
        # Whatever proxy the shell names is not for this machine. No connection is kept: moto may close one at any time.
        # How long to wait is the caller's to say.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113

    @property
    def address(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://{self._server.address}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self._server.stop()
        await self._client.aclose()

    async def _answer(self, request: Request) -> Response:
        target = request.headers.get("X-Amz-Target", "")
        if not target:
            return await self._hand_on(request)
        return await self._calls.answer(request, target.rpartition(".")[2], partial(self._hand_on, request))

    async def _hand_on(self, request: Request) -> Response:
        query = request.scope["query_string"].decode()
        asked = self._client.build_request(
            request.method,
            self._endpoint + request.scope["raw_path"].decode() + (f"?{query}" if query else ""),
            headers=[(name, value) for name, value in request.headers.raw if _is_handed_on(name)],
            content=await request.body(),
        )
        answered = await self._client.send(asked, stream=True)
        try:
            # Raw: the body stays compressed if it was.
            content = b"".join([chunk async for chunk in answered.aiter_raw()])
        finally:
            await answered.aclose()
        response = Response(content, status_code=answered.status_code)
        own = [] if "content-length" in answered.headers else response.raw_headers
        kept = [(name.lower(), value) for name, value in answered.headers.raw if _is_handed_on(name)]
        response.raw_headers = [*own, *kept]
        return response


def _is_handed_on(name: bytes) -> bool:
    return name.decode("latin-1").lower() not in (*_HOP_BY_HOP, "host")
