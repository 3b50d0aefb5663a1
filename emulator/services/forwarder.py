"""The way of a request to the services that stand in for AWS's.

A request is signed for the address that it came to, so it is signed anew for theirs.
"""

from collections.abc import Sequence
from dataclasses import replace

import httpx
from starlette.responses import Response

from emulator.services.services import Services
from emulator.services.signature import QUERY_OF_SIGNATURE, Received, Scope, sign

METHODS = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
# Of one connection, not of what is said over it. Source: RFC 9110, 7.6.1.
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade")
# What a request is signed by, which is replaced; and where another service than the one that was signed for would look.
_SIGNED = ("host", "authorization", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256")


class Forwarder:
    """A client that asks `services` what it is asked itself, without the `prefix` of the path."""

    def __init__(self, services: Services, prefix: str = "") -> None:
        self._endpoint = services.endpoint
        self._credentials = services.credentials
        self._prefix = prefix
        # Whatever proxy the shell names is not for this machine. How long to wait is the caller's to say. A connection
        # is let go before the services do, which is after `Limits.headers_s`.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=5)
        self._client = httpx.AsyncClient(timeout=None, limits=limits, trust_env=False)  # noqa: S113

    async def stop(self) -> None:
        await self._client.aclose()

    async def answer(self, received: Received, scope: Scope) -> Response:
        """Return the services' answer to what was verified as signed for `scope`."""
        url = self._endpoint + received.path.removeprefix(self._prefix)
        # Taken out of the text, so that what is left stays encoded as it came.
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
        # The length of an answer to HEAD is that of the body which it does not have.
        own = [] if "content-length" in answered.headers else response.raw_headers
        kept = [(name.lower(), value) for name, value in answered.headers.raw if _is_handed_on(name.decode("latin-1"))]
        response.raw_headers = [*own, *kept]
        return response


def _is_handed_on(name: str, but: Sequence[str] = ()) -> bool:
    return name.lower() not in (*_HOP_BY_HOP, *but)
