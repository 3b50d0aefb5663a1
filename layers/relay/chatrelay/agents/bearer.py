"""Requests to services that take JSON and a bearer token, and answer with a stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from chatrelay.agents import KeptText

CONNECT_S = 5.0
UNREACHABLE = (httpx.ConnectError, httpx.ConnectTimeout)
IDLE_S = 5.0
"""A function is frozen between two events; longer idle connections may have been closed by the other side."""


def client(base_url: str, read_timeout_s: float) -> httpx.AsyncClient:
    """Return a client of one service. `read_timeout_s` is the longest silence between two bytes."""
    timeout = httpx.Timeout(read_timeout_s, connect=CONNECT_S)
    return httpx.AsyncClient(base_url=base_url, timeout=timeout, limits=httpx.Limits(keepalive_expiry=IDLE_S))


@asynccontextmanager
async def posted(
    client: httpx.AsyncClient, secret_key: KeptText, path: str, body: dict[str, Any]
) -> AsyncIterator[httpx.Response]:
    """Yield the answer, whatever its status, with its body unread. Leaving the block closes the connection at once.

    Raise ``httpx.HTTPError``.
    """
    for renew in (False, True):  # the key may have been rotated: read again, once
        headers = {"authorization": f"Bearer {await secret_key(renew=renew)}"}
        request = client.build_request("POST", path, json=body, headers=headers)
        response = await client.send(request, stream=True)
        if renew or response.status_code != httpx.codes.UNAUTHORIZED:
            break
        await response.aclose()  # its body is unread, and would keep the connection
    try:
        yield response
    finally:
        await response.aclose()
