"""Hands requests on to the services that stand in for AWS's: all of them while there is a fault plan, S3's always.

A request is signed for the address that it came to: it is verified here, and signed anew for theirs.
"""

import asyncio
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from xml.sax.saxutils import escape

import httpx
from botocore.exceptions import ClientError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from emulator.faults.call_faults import Calls
from emulator.gateway.guard import named
from emulator.gateway.server import Embedded
from emulator.limits import Limits
from emulator.services import post_policy
from emulator.services.services import Services
from emulator.services.signature import QUERY_OF_SIGNATURE, Received, Refused, Scope, sign, verify
from emulator.template.template import REGION

# Of one connection, not of what is said over it. Source: RFC 9110, 7.6.1.
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
# What a request is signed by, which is replaced; and where another service than the one that was signed for would look.
_SIGNED = ("host", "authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")
_METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
_TARGET = "x-amz-target"
STORAGE = "/s3"
_BUCKET = re.compile(rf"{STORAGE}/([a-z0-9][a-z0-9.-]+)(/.*)?", re.DOTALL)


class Forwarder:
    """Asks `services` what it is asked itself, without the `prefix` of the path."""

    def __init__(self, services: Services, prefix: str = "") -> None:
        self._endpoint = services.endpoint
        self._credentials = services.credentials
        self._prefix = prefix
        # Whatever proxy the shell names is not for this machine. No connection is kept: moto may close one at any time.
        # How long to wait is the caller's to say.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113

    async def stop(self) -> None:
        await self._client.aclose()

    async def answer(self, received: Received, scope: Scope) -> Response:
        """Give the services' answer to what was verified as signed for `scope`."""
        url = self._endpoint + received.path.removeprefix(self._prefix)
        pairs = (pair for pair in received.query.split("&") if pair.partition("=")[0] not in QUERY_OF_SIGNATURE)
        asked = replace(received, query="&".join(pairs))
        headers = [(name, value) for name, value in received.headers if _is_handed_on(name, but=_SIGNED)]
        request = self._client.build_request(
            received.method,
            httpx.URL(url).copy_with(query=asked.query.encode("latin-1") or None),
            headers=[*headers, *sign(asked, url, scope, self._credentials).items()],
            content=received.body,
        )
        answered = await self._client.send(request, stream=True)
        try:
            # Raw: the body stays compressed if it was.
            content = b"".join([chunk async for chunk in answered.aiter_raw()])
        finally:
            await answered.aclose()
        response = Response(content, status_code=answered.status_code)
        own = [] if "content-length" in answered.headers else response.raw_headers
        kept = [(name.lower(), value) for name, value in answered.headers.raw if _is_handed_on(name.decode("latin-1"))]
        response.raw_headers = [*own, *kept]
        return response


class ServicesProxy:
    """What workers ask of the services, unless `calls` has another answer."""

    def __init__(self, services: Services, calls: Calls, limits: Limits) -> None:
        self._calls = calls
        self._credentials = services.credentials
        self._forwarder = Forwarder(services)
        self._server = Embedded(Starlette(routes=[Route("/{path:any}", self._answer, methods=_METHODS)]), limits)

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
        received = await Received.of(request)
        try:
            scope = verify(received, None, self._credentials, _now())
        except Refused as refused:
            told = {"__type": refused.code, "message": str(refused)}
            return JSONResponse(told, 403, {"x-amzn-ErrorType": refused.code})
        pass_on = partial(self._forwarder.answer, received, scope)
        target = received.header(_TARGET)
        return await self._calls.answer(request, target.rpartition(".")[2], pass_on) if target else await pass_on()


class StorageDoor:
    """S3 at the gateway's own address: what functions sign for a client is of use on the client's machine, too.

    It leads to the buckets that there are, for what this run has signed for S3: in the headers, in the address, or in
    a form. What users keep there is shown, and never run: it would be of the playground's own origin.
    """

    def __init__(self, services: Services) -> None:
        self._client = services.client("s3")
        self._credentials = services.credentials
        self._forwarder = Forwarder(services, STORAGE)
        self._origins: Mapping[str, Sequence[str]] = {}

    async def look(self) -> None:
        """Find the buckets, and the origins that their CORS rules name."""
        self._origins = await asyncio.to_thread(_buckets, self._client)

    def lets_in(self, origin: str) -> bool:
        """Whether a bucket's rules name an origin. Which answers its pages may read, the bucket says each time."""
        return any(named(origins)(origin) for origins in self._origins.values())

    async def answer(self, request: Request) -> Response:
        received = await Received.of(request)
        match = _BUCKET.fullmatch(received.path)
        if match is None or received.header(_TARGET):
            return _error(403, "AccessDenied", "There is nothing but buckets here.")
        bucket = match.group(1)
        if bucket not in self._origins:
            await self.look()
        if bucket not in self._origins:
            return _error(404, "NoSuchBucket", "The template declares no such bucket.")
        try:
            scope = self._verified(received, bucket)
        except Refused as refused:
            return _error(403, refused.code, str(refused))
        response = await self._forwarder.answer(received, scope)
        response.headers.update({"content-security-policy": "sandbox", "x-content-type-options": "nosniff"})
        return response

    def _verified(self, received: Received, bucket: str) -> Scope:
        """Raises Refused."""
        now = _now()
        own = Scope(self._credentials.access_key, f"{now:%Y%m%d}", REGION, "s3")
        if received.method == "OPTIONS":  # Browsers sign no preflight.
            return own
        if post_policy.is_form(received):
            post_policy.verify(received, bucket, self._credentials, now)
            return own
        return verify(received, "s3", self._credentials, now)


def _buckets(client: Any) -> dict[str, tuple[str, ...]]:
    return {bucket["Name"]: _origins(client, bucket["Name"]) for bucket in client.list_buckets()["Buckets"]}


def _origins(client: Any, bucket: str) -> tuple[str, ...]:
    try:
        rules = client.get_bucket_cors(Bucket=bucket)["CORSRules"]
    except ClientError:  # It has none.
        return ()
    return tuple(origin for rule in rules for origin in rule["AllowedOrigins"])


def _error(status: int, code: str, message: str) -> Response:
    text = f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    return Response(text, status, media_type="application/xml")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _is_handed_on(name: str, but: Sequence[str] = ()) -> bool:
    return name.lower() not in (*_HOP_BY_HOP, *but)
