"""The keys of an issuer: where they are, and how long they are good."""

import threading
from collections.abc import Callable

from chatrelay.domain.errors import TokenReason, TokenRefused, Unavailable
from chatrelay.settings import KEYS_URL, Issuer
from chatrelay.tokens.documents import Documents
from chatrelay.tokens.key_set import Key, usable_keys

FRESH_S = 24 * 3600
STALE_S = 3600
"""How much longer keys are used while the issuer does not answer."""
UNKNOWN_KEY_S = 30
"""How often, at most, keys are fetched because a token names one that is unknown."""
FAILED_S = 5
"""How soon, at the earliest, keys are fetched again after a failure."""


class IssuerKeys:
    """The keys of `issuer`, kept in an execution environment. `clock` is in seconds since 1970."""

    def __init__(self, issuer: Issuer, documents: Documents, clock: Callable[[], float]) -> None:
        self._issuer = issuer
        self._documents = documents
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[Key, ...] = ()
        self._fetched_s = self._asked_s = float("-inf")
        self._failure = ""

    def find(self, kid: str | None, algorithm: str) -> Key:
        """Return the key of a token that names `kid`, or the only key for `algorithm` if it names none.

        Raise ``TokenRefused`` if there is no such key, if it is not for `algorithm`, or if keys cannot be fetched.
        """
        with self._lock:
            now_s = self._clock()
            if now_s - self._fetched_s >= FRESH_S:
                self._fetch(now_s, FAILED_S)
            if now_s - self._fetched_s >= FRESH_S + STALE_S:
                raise TokenRefused(TokenReason.KEYS, f"The issuer's keys cannot be fetched: {self._failure}.")
            if not self._named(kid):
                self._fetch(now_s, UNKNOWN_KEY_S)
            named, failure = self._named(kid), self._failure
        fitting = [key for key in named if algorithm in key.algorithms]
        if kid is None and len(fitting) != 1:
            advice = f"Names no key (kid), and {len(fitting)} of the issuer's are for {algorithm}."
            raise TokenRefused(TokenReason.KEY, advice)
        if not named and failure:
            raise TokenRefused(TokenReason.KEYS, f"Its key is unknown, and keys cannot be fetched: {failure}.")
        if not named:
            advice = "The issuer has no usable key of this kid: the token is very old, or another's."
            raise TokenRefused(TokenReason.KEY, advice)
        if not fitting:
            allowed = " or ".join(named[0].algorithms)
            raise TokenRefused(TokenReason.ALGORITHM, f"Its key is for {allowed}, it is signed with {algorithm}.")
        return fitting[0]

    def _named(self, kid: str | None) -> list[Key]:
        return [key for key in self._keys if kid in (None, key.kid)]

    def _fetch(self, now_s: float, pause_s: float) -> None:
        """Fetch the keys, if the last time is `pause_s` ago. After a failure those that there are stay."""
        if now_s - self._asked_s < pause_s:
            return
        self._asked_s = now_s
        try:
            url = self._issuer.jwks_url or self._discover()
            keys = usable_keys(self._documents.fetch(url))
            if keys is None:
                raise Unavailable(f"{url} is no set of keys")
        except Unavailable as problem:
            self._failure = str(problem)
        else:
            self._keys, self._fetched_s, self._failure = keys, now_s, ""

    def _discover(self) -> str:
        """Return where the keys are. OpenID Connect Discovery 1.0, 4."""
        url = self._issuer.url.removesuffix("/") + "/.well-known/openid-configuration"
        found = self._documents.fetch(url)
        if found.get("issuer") != self._issuer.url:
            named = found.get("issuer")  # Entra's `common` has a {tenantid} in it
            raise Unavailable(f"{url} says {named!r}, OIDC_ISSUER must have exactly that; for Entra, with the tenant")
        keys_url = found.get("jwks_uri")
        if not isinstance(keys_url, str) or not KEYS_URL.fullmatch(keys_url):
            raise Unavailable(f"{url} has no jwks_uri that begins with https://: name one in OIDC_JWKS_URL")
        return keys_url
