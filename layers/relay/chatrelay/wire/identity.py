"""Who is this: credentials as the ways in carry them, and API keys. Pure but for the randomness of a new key."""

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

from chatrelay.domain.text import pasted
from chatrelay.wire.limits import SUBPROTOCOL

KEY_PREFIX = "crk_"
BEARER = "bearer "
SUBPROTOCOLS = "sec-websocket-protocol"


def new_key() -> str:
    """A new API key: 256 random bits, so that a plain hash of it is safe to store."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def key_hash(key: str) -> str:
    """What is stored of a key: SHA-256, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def credential(headers: Mapping[str, str]) -> str | None:
    """The first credential in `headers`, whose names are in lower case; None if there is none at all.

    In this order: ``Authorization``, ``X-API-Key``, and the subprotocol ``bearer.<base64url>`` for browsers, which
    cannot set headers on a WebSocket. A subprotocol that is no base64url is an empty credential: present, and wrong.
    Wherever it stands, it is taken as ``pasted``.
    """
    if authorization := headers.get("authorization"):
        scheme = authorization[: len(BEARER)].lower()
        return pasted(authorization[len(BEARER) :] if scheme == BEARER else authorization)
    if key := headers.get("x-api-key"):
        return pasted(key)
    for offer in subprotocols(headers):
        if offer.startswith("bearer."):
            return pasted(_base64url(offer.removeprefix("bearer.")))
    return None


def subprotocols(headers: Mapping[str, str]) -> list[str]:
    """What the client offers in ``Sec-WebSocket-Protocol``."""
    return [offer.strip() for offer in headers.get(SUBPROTOCOLS, "").split(",") if offer.strip()]


def speaks_version_1(headers: Mapping[str, str]) -> bool:
    """Whether the client offers this protocol by name."""
    return SUBPROTOCOL in subprotocols(headers)


def origin_allowed(origin: str | None, allowed: frozenset[str]) -> bool:
    """Whether a handshake may come from `origin`. Native clients send none; a browser's must be on the list."""
    return origin is None or origin in allowed


def lower_case(headers: Mapping[str, str] | None) -> dict[str, str]:
    """`headers` under lower-case names, as HTTP means them."""
    return {name.lower(): value for name, value in (headers or {}).items()}


def handshake_headers(event: Mapping[str, Any]) -> dict[str, str]:
    """The headers in a WebSocket API's event under lower-case names; of the subprotocols all, as one list.

    They may come in several lines (RFC 6455 11.3.4), of which API Gateway gives the last in ``headers`` and all in
    ``multiValueHeaders``.
    """
    headers = lower_case(event.get("headers"))
    several = (event.get("multiValueHeaders") or {}).items()
    offers = [line for name, lines in several if name.lower() == SUBPROTOCOLS for line in lines]
    return {**headers, SUBPROTOCOLS: ", ".join(offers)} if offers else headers


def _base64url(text: str) -> str:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except ValueError:  # not base64, not ASCII, not UTF-8
        return ""
