"""What the claims of a verified token must be, and whom they name. Pure.

Claims: RFC 7519 4.1, RFC 9068 2.2, OpenID Connect Core 1.0, 2; and what single providers make of them.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeGuard
from urllib.parse import quote

from chatrelay.domain.errors import TokenReason, TokenRefused
from chatrelay.domain.identity import Identity
from chatrelay.settings import Issuer

LEEWAY_S = 30
"""How far the clocks of an issuer and of this function may be apart."""
LATEST_S = 253_402_300_799  # the end of the year 9999, after which Python has no dates
LONGEST_NAME = 96
KINDS = {"token_use": "access", "typ": "Bearer"}
"""Claims in which Cognito and Keycloak say what a token is for, and what they say of access tokens."""
SESSIONS = ("sid", "session_id", "origin_jti")
"""Claims that name the session of a token. ``jti`` names the token alone."""


def identity(claims: Mapping[str, Any], issuer: Issuer, signed: str, now_s: float) -> Identity:
    """Return whom `claims` of `issuer` name. `signed` is the part of the token that its signature covers.

    Raise ``TokenRefused`` for a token that is not for this deployment, not of this time, or nobody's.
    """
    issued_at, expires_at = _validity(claims, now_s)
    _check_kind(claims, issuer)
    _check_audience(claims, issuer)
    for claim, value in issuer.required:
        if not _has(claims, claim, value):
            raise TokenRefused(TokenReason.CLAIM, f"The claim {claim} is not {value}, which OIDC_REQUIRE demands.")
    user = _user(claims, issuer)
    session = _session(claims, user)
    # Without the signature, which has several valid forms: the token is to be revoked whichever of them comes.
    credential = _quoted(session or hashlib.sha256(signed.encode()).hexdigest())
    return Identity(
        f"{issuer.name}:{_quoted(user)}", f"{issuer.name}:{credential}", issued_at, expires_at, session is not None
    )


def _validity(claims: Mapping[str, Any], now_s: float) -> tuple[int, int]:
    """Return when the token was issued, 0 if it does not say, and when it expires."""
    for claim in ("exp", "nbf", "iat"):
        if (claim in claims or claim == "exp") and not _is_date(claims.get(claim)):
            raise TokenRefused(TokenReason.CLAIM, f"The claim {claim} must be a time in seconds since 1970.")
    if now_s >= claims["exp"] + LEEWAY_S:
        seconds = now_s - claims["exp"]
        raise TokenRefused(TokenReason.EXPIRED, f"Expired {seconds:.0f} s ago: the client must renew its token sooner.")
    begin_s = max(claims.get("nbf", 0), claims.get("iat", 0))
    if begin_s > now_s + LEEWAY_S:
        seconds = begin_s - now_s
        advice = f"Valid in {seconds:.0f} s: the clock of its issuer is wrong."
        raise TokenRefused(TokenReason.NOT_YET_VALID, advice)
    return int(claims.get("iat", 0)), int(claims["exp"])


def _check_kind(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Raise for what is no access token. A kind that ``OIDC_REQUIRE`` names is checked with the other requirements."""
    if "events" in claims:  # OpenID Connect Back-Channel Logout 1.0, 2.4
        raise TokenRefused(TokenReason.KIND, "A logout token is nobody's credential: send an access token.")
    chosen = {claim for claim, _ in issuer.required}
    for claim, kind in KINDS.items():
        if claim in claims and claim not in chosen and not _has(claims, claim, kind):
            advice = f"Its {claim} is not {kind}: send an access token, or name another kind in OIDC_REQUIRE."
            raise TokenRefused(TokenReason.KIND, advice)


def _check_audience(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Raise for a token for somebody else. Cognito's access tokens say that in `client_id`, Clerk's in `azp`."""
    claim = next((claim for claim in ("aud", "client_id", "azp") if claim in claims), None)
    if claim is None and issuer.admits_no_audience:
        return
    if claim is None:
        advice = f"Names no audience: have the issuer add one, or allow that by {issuer.name}=none in OIDC_AUDIENCE."
        raise TokenRefused(TokenReason.AUDIENCE, advice)
    named = claims[claim] if claim == "aud" and isinstance(claims[claim], list) else [claims[claim]]
    if not any(isinstance(audience, str) and audience in issuer.audiences for audience in named):
        allowed = ", ".join(sorted(issuer.audiences)) or "none"
        given = ", ".join(audience for audience in named if isinstance(audience, str)) or "no text"
        advice = f"Its {claim} is {given}, OIDC_AUDIENCE allows {allowed} for {issuer.name}."
        raise TokenRefused(TokenReason.AUDIENCE, advice)


def _has(claims: Mapping[str, Any], claim: str, wanted: str) -> bool:
    """Return whether a claim is `wanted`, or has it in its list. Numbers and truth values count as JSON writes them."""
    value = claims.get(claim)
    return any(
        item == wanted or (isinstance(item, int | float) and json.dumps(item) == wanted)
        for item in (value if isinstance(value, list) else [value])
    )


def _user(claims: Mapping[str, Any], issuer: Issuer) -> str:
    user = claims.get(issuer.user_claim)
    if not isinstance(user, str) or not user:
        advice = f"The claim {issuer.user_claim} must be a text: have the issuer add it, or change OIDC_USER_CLAIM."
        raise TokenRefused(TokenReason.CLAIM, advice)
    if issuer.user_claim == "email" and claims.get("email_verified") is not True:
        advice = "The e-mail address is not verified, so it may be another person's: have the issuer verify it."
        raise TokenRefused(TokenReason.CLAIM, advice)
    return user


def _session(claims: Mapping[str, Any], user: str) -> str | None:
    """Return what tells a sign-in from others, and stays when its token is renewed; None if no claim does."""
    for claim in SESSIONS:
        session = claims.get(claim)
        if isinstance(session, str) and session:
            return session
    signed_in_s = claims.get("auth_time")
    if _is_date(signed_in_s):
        return f"{int(signed_in_s)}@{user}"  # others may have signed in within the same second
    return None


def _quoted(text: str) -> str:
    """Return `text` as it may be part of a key: percent-encoded, or hashed if that is too long."""
    quoted = quote(text, safe="", errors="surrogatepass")  # half a surrogate pair is a name like any other
    if len(quoted) <= LONGEST_NAME:
        return quoted
    # `quote` never writes %s, so no name looks like this.
    return "%sha256-" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _is_date(value: object) -> TypeGuard[float]:
    """Return whether `value` is a NumericDate; neither true nor NaN is."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LATEST_S
