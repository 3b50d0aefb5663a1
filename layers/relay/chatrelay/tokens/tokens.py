"""Who sends a token: a JWT that one of the deployment's issuers has signed."""

import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jwt
from aws_lambda_powertools import Logger

from chatrelay.domain.errors import TokenReason, TokenRefused
from chatrelay.domain.identity import Identity
from chatrelay.domain.text import join_surrogates
from chatrelay.settings import Issuer
from chatrelay.tokens.claims import identity
from chatrelay.tokens.documents import Documents
from chatrelay.tokens.issuer_keys import IssuerKeys
from chatrelay.tokens.key_set import ALGORITHMS, Key
from chatrelay.wire.limits import CREDENTIAL_LIMIT

COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
"""RFC 7515 7.1, and RFC 7519 6, where there is no signature."""
TYPES = {"jwt", "at+jwt"}  # RFC 7519 5.1, RFC 9068 2.1
SHOWN = 500


class Tokens:
    """Tokens of `issuers`. What is refused, and why, is in `logger`'s log. `clock` is in seconds since 1970.

    A call may fetch the issuer's keys, and so take twice ``documents.TIMEOUT_S``.
    """

    def __init__(
        self,
        issuers: Iterable[Issuer],
        documents: Documents,
        logger: Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuers = {issuer.url: (issuer, IssuerKeys(issuer, documents, clock)) for issuer in issuers}
        self._logger = logger
        self._clock = clock

    def verify(self, token: str) -> Identity:
        """Return who sends `token`. Raise ``TokenRefused``, whatever text that is."""
        header: dict[str, Any] = {}
        claims: dict[str, Any] = {}
        try:
            header, claims = _parse(token)
            return self._verify(token, header, claims)
        except TokenRefused as refusal:
            self._logger.warning(
                "token refused",
                reason=refusal.reason.value,
                advice=_shown(refusal.advice),
                issuer=_shown(claims.get("iss")),
                kid=_shown(header.get("kid")),
            )
            raise

    def _verify(self, token: str, header: Mapping[str, Any], claims: Mapping[str, Any]) -> Identity:
        name = claims.get("iss")
        found = self._issuers.get(name) if isinstance(name, str) else None
        if found is None:
            advice = (
                "OIDC_ISSUER must have an issuer exactly as its tokens name it, slashes too; for Entra, the tenant."
            )
            raise TokenRefused(TokenReason.ISSUER, advice)
        issuer, keys = found
        _check_header(header)
        _check_signature(token, keys.find(header.get("kid"), header["alg"]))
        return identity(claims, issuer, signed=token.rpartition(".")[0], now_s=self._clock())


def _parse(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims, none of which is verified."""
    if len(token) > CREDENTIAL_LIMIT:
        advice = f"Longer than {CREDENTIAL_LIMIT} bytes: have the issuer leave out claims, as groups and roles."
        raise TokenRefused(TokenReason.TOO_LONG, advice)
    if not COMPACT.fullmatch(token):
        # Without an audience, Auth0 issues what only it can read.
        advice = "No signed JWT of three parts. If it is opaque, ask the issuer for an access token with an audience."
        raise TokenRefused(TokenReason.MALFORMED, advice)
    try:
        decoded = jwt.decode_complete(token, options={"verify_signature": False})
    except jwt.PyJWTError as problem:
        raise TokenRefused(TokenReason.MALFORMED, f"No JWT: {type(problem).__name__}.") from problem
    return decoded["header"], decoded["payload"]


def _check_header(header: Mapping[str, Any]) -> None:
    """Raise for a header that asks for what is not done here. Keys in it (`jwk`, `jku`, `x5u`) mean nothing."""
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if isinstance(algorithm, str) and algorithm.startswith("HS"):
        advice = f"{algorithm} signs with a shared secret: move the project to asymmetric signing keys."  # old Supabase
        raise TokenRefused(TokenReason.ALGORITHM, advice)
    if algorithm not in ALGORITHMS:
        raise TokenRefused(TokenReason.ALGORITHM, f"Have the issuer sign with one of {', '.join(ALGORITHMS)}.")
    if "crit" in header:
        raise TokenRefused(TokenReason.MALFORMED, "Its header demands an extension (crit), and none is known here.")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in TYPES:
        raise TokenRefused(TokenReason.KIND, "Its header says another typ than JWT or at+jwt: send an access token.")


def _check_signature(token: str, key: Key) -> None:
    try:
        jwt.PyJWS().decode(token, key.public, key.algorithms)
    except jwt.PyJWTError as problem:
        advice = f"Not signed with the issuer's key: {type(problem).__name__}. It was changed, or is forged."
        raise TokenRefused(TokenReason.SIGNATURE, advice) from problem


def _shown(text: Any) -> str | None:
    """Return what the log has of a text from outside."""
    return join_surrogates(text[:SHOWN]) if isinstance(text, str) else None
