"""Requests over plain HTTP: without the authorities' certificates, which take longer to read than an answer takes."""

import ssl
from typing import Any

import httpx

_NO_AUTHORITY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def request(method: str, url: str, *, timeout_s: float = 30.0, **more: Any) -> httpx.Response:
    """Ask once, on a connection of its own."""
    return httpx.request(method, url, timeout=timeout_s, verify=_NO_AUTHORITY, **more)
