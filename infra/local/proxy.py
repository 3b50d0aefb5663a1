"""Hands requests on to the services that stand in for AWS's: all of them while there is a fault plan, S3's always."""

from functools import partial

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from infra.local.calls import Calls
from infra.local.server import Embedded
from infra.local.signature import is_signed

# Of one connection, not of what is said over it. Source: RFC 9110, 7.6.1.
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
STORAGE = "/s3"


class Forwarder:
    """Asks `endpoint` what it is asked itself, without the `prefix` of the path."""

    def __init__(self, endpoint: str, prefix: str = "") -> None:
        self._endpoint = httpx.URL(endpoint)
        self._prefix = prefix
        # Whatever proxy the shell names is not for this machine. No connection is kept: moto may close one at any time.
        # How long to wait is the caller's to say.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113

    async def stop(self) -> None:
        await self._client.aclose()

    async def answer(self, request: Request) -> Response:
        query = request.scope["query_string"]
        path = request.scope["raw_path"].removeprefix(self._prefix.encode())
        asked = self._client.build_request(
            request.method,
            self._endpoint.copy_with(raw_path=path + (b"?" + query if query else b"")),
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


class ServicesProxy:
    """What workers ask of the services at `endpoint`, unless `calls` has another answer."""

    def __init__(self, endpoint: str, calls: Calls) -> None:
        self._calls = calls
        self._forwarder = Forwarder(endpoint)
        self._server = Embedded(Starlette(routes=[Route("/{path:path}", self._answer, methods=_METHODS)]))

    @property
    def address(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://{self._server.address}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        self._server.stop()
        await self._forwarder.stop()

    async def _answer(self, request: Request) -> Response:
        target = request.headers.get("X-Amz-Target", "")
        if not target:
            return await self._forwarder.answer(request)
        return await self._calls.answer(request, target.rpartition(".")[2], partial(self._forwarder.answer, request))


class StorageDoor:
    """S3 at the gateway's own address: what functions sign for a client is of use on the client's machine, too.

    Only to requests that are signed, in one of S3's three ways. What users keep there is shown, and never run: it would
    be of the playground's own origin.
    """

    def __init__(self, endpoint: str) -> None:
        self._forwarder = Forwarder(endpoint, STORAGE)

    async def answer(self, request: Request) -> Response:
        signed = is_signed(request, "s3") or "X-Amz-Signature" in request.query_params or _is_form(request)
        # The route knows only the decoded path: a slash that was encoded leads nowhere.
        if not (signed and request.scope["raw_path"].startswith(f"{STORAGE}/".encode())):
            return PlainTextResponse("AccessDenied", 403)
        response = await self._forwarder.answer(request)
        response.headers.update({"content-security-policy": "sandbox", "x-content-type-options": "nosniff"})
        return response


def _is_form(request: Request) -> bool:
    """Its signature is one of its fields."""
    is_multipart = request.headers.get("content-type", "").startswith("multipart/form-data")
    return request.method == "POST" and is_multipart and not request.url.query


def _is_handed_on(name: bytes) -> bool:
    return name.decode("latin-1").lower() not in (*_HOP_BY_HOP, "host")
