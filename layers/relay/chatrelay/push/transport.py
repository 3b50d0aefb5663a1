"""The way to a push service: HTTP/2 that survives the freezes of a function.

After a freeze the first request on an old connection fails, or gets no answer. So connections that were idle for too
long by the wall clock, which goes on during a freeze, are closed. A request that fails in transport is repeated once:
httpcore (measured: 1.0.9) does not reuse a connection that has failed or timed out.
"""

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from chatrelay.domain.errors import SettingError, Unanswered

IDLE_S = 5.0  # after a longer time, as in a freeze, the other side may have closed the connection
IMPOSSIBLE = (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError)
"""What httpx (0.28) raises for an address or a header that it cannot send."""
TIMEOUT = httpx.Timeout(5.0, connect=3.0)


@dataclass(frozen=True)
class PushResponse:
    """The answer of a push service. `body` is empty if it is no JSON object."""

    status: int
    body: dict[str, Any]
    retry_after_s: float | None

    @property
    def is_good(self) -> bool:
        return httpx.codes.is_success(self.status)

    @property
    def is_passing(self) -> bool:
        """Whether the service is overloaded or has failed for the moment."""
        return self.status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(self.status)


class PushTransport:
    """The connections to push services, for one event loop.

    `trust` says which certificates are valid: those of the system's authorities by default.
    """

    def __init__(
        self,
        trust: ssl.SSLContext | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._trust = trust or ssl.create_default_context()
        self._timeout = timeout
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._used_s = 0.0
        self._under_way = 0

    async def post(self, url: str, headers: Mapping[str, str], content: bytes) -> PushResponse:
        """Return the answer, whatever its status. Raise ``Unanswered`` if two requests got none.

        Raise ``SettingError`` if `url` or `headers` cannot be sent: both come from the deployment's settings.
        """
        try:
            answer = await self._post(url, headers, content)
        except IMPOSSIBLE as problem:
            raise SettingError(f"the service cannot be asked: {problem}") from problem
        except httpx.TransportError:  # as after a freeze, which a second request does not meet again
            try:
                answer = await self._post(url, headers, content)
            except httpx.TransportError as failure:
                raise Unanswered(type(failure).__name__) from failure
        return PushResponse(answer.status_code, _object(answer.content), _retry_after_s(answer, self._clock()))

    async def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _post(self, url: str, headers: Mapping[str, str], content: bytes) -> httpx.Response:
        # Other requests on these connections may be under way.
        if not self._under_way and self._clock() - self._used_s > IDLE_S:
            await self.close()
        if self._client is None:
            limits = httpx.Limits(keepalive_expiry=IDLE_S)
            self._client = httpx.AsyncClient(http2=True, verify=self._trust, timeout=self._timeout, limits=limits)
        self._under_way += 1
        try:
            return await self._client.post(url, headers=headers, content=content)
        finally:
            self._under_way -= 1
            self._used_s = self._clock()


def _object(content: bytes) -> dict[str, Any]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after_s(answer: httpx.Response, now_s: float) -> float | None:
    """Return how long the service asks to wait, in seconds or by a date; None without a valid ``retry-after``."""
    said = answer.headers.get("retry-after", "")
    if said.isascii() and said.isdecimal():
        return float(said)
    try:
        # The date may have passed by now.
        return max(0.0, parsedate_to_datetime(said).timestamp() - now_s)
    except ValueError:
        return None
