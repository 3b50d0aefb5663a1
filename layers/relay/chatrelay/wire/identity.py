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
    """Return a new API key."""
    return KEY_PREFIX + secrets.token_urlsafe(32)  # 256 random bits: nobody can guess a key from its plain hash


def key_hash(key: str) -> str:
    """Return what is stored of a key: SHA-256, hexadecimal."""
    # Half a surrogate pair, which a frame may bring, makes a wrong key and no exception.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def credential(headers: Mapping[str, str]) -> str | None:
    """Return the first credential in `headers`, whose names are in lower case; None if there is none at all.

    In this order: ``Authorization``, ``X-API-Key``, and the subprotocol ``bearer.<base64url>`` for browsers, which
    cannot set headers on a WebSocket. A subprotocol that is no base64url is an empty credential: present, and wrong.
    """
    if authorization := headers.get("authorization"):
        scheme = authorization[: len(BEARER)].lower()  # schemes have no case: RFC 9110 11.1
        # The BuilderOS app closes sessions with the bare key, without a scheme.
        return pasted(authorization[len(BEARER) :] if scheme == BEARER else authorization)
    if key := headers.get("x-api-key"):
        return pasted(key)
    for offer in subprotocols(headers):
        if offer.startswith("bearer."):
            text = offer.removeprefix("bearer.")
            try:
                key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
            except ValueError:  # not base64, not ASCII, not UTF-8
                return ""
            return pasted(key)
    return None


def subprotocols(headers: Mapping[str, str]) -> list[str]:
    """Return what the client offers in ``Sec-WebSocket-Protocol``."""
    return [offer.strip() for offer in headers.get(SUBPROTOCOLS, "").split(",") if offer.strip()]


def speaks_version_1(headers: Mapping[str, str]) -> bool:
    """Return whether the client offers this protocol by name."""
    return SUBPROTOCOL in subprotocols(headers)


def origin_allowed(origin: str | None, allowed: frozenset[str]) -> bool:
    """Return whether a handshake may come from `origin`. Native clients send none; a browser's must be on the list."""
    return origin is None or origin in allowed


def lower_case(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Return `headers` under lower-case names: HTTP's names have no case."""
    return {name.lower(): value for name, value in (headers or {}).items()}


def handshake_headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers in a WebSocket API's event under lower-case names, with all subprotocols as one list."""
    headers = lower_case(event.get("headers"))
    # Offers may come in several lines (RFC 6455 11.3.4), of which API Gateway has only the last in `headers`.
    several = (event.get("multiValueHeaders") or {}).items()
    offers = [line for name, lines in several if name.lower() == SUBPROTOCOLS for line in lines]
    return {**headers, SUBPROTOCOLS: ", ".join(offers)} if offers else headers
