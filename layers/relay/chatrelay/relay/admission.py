"""Who comes in, by socket and by HTTP alike."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from aws_lambda_powertools import Logger

from chatrelay.domain.errors import Ended, Unauthorized
from chatrelay.domain.identity import Identity
from chatrelay.store.accounts import Account
from chatrelay.store.store import Store
from chatrelay.wire.identity import KEY_PREFIX

if TYPE_CHECKING:
    from chatrelay.tokens.tokens import Tokens

INVALID = "Invalid API key"
"""The existing app shows these words."""


class Admission:
    """The check of credentials: API keys, and tokens where the deployment names an issuer.

    `tokens` gives what checks them, None where there is no issuer. A socket is good for at least `session_s` seconds
    after its credential was checked. `logger` says why somebody whose credential is right is not let in.
    """

    def __init__(
        self,
        store: Store,
        tokens: "Callable[[], Tokens | None]",
        session_s: int,
        logger: Logger,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._session_s = session_s
        self._logger = logger
        self._clock = clock

    def admit(self, credential: str) -> tuple[Identity, Account]:
        """Return whose credential this is, and that user's account. Raise ``Unauthorized``."""
        identity = self.identify(credential)
        try:
            return identity, self._store.accounts.admit(identity)
        except Ended as ended:
            self._logger.warning("credential refused", reason=ended.reason, credential=identity.credential)
            raise

    def good_until(self, identity: Identity) -> int | None:
        """Return until when a socket is good that comes by `identity`, in seconds since 1970; None: for ever."""
        if identity.expires_at is None:
            return None
        return max(identity.expires_at, int(self._clock()) + self._session_s)

    def identify(self, credential: str) -> Identity:
        """Return whose credential this is, though it may have been revoked. Raise ``Unauthorized``."""
        if not credential:
            raise Unauthorized(INVALID)
        is_token = "." in credential and not credential.startswith(KEY_PREFIX)
        identity = None if is_token else self._store.api_keys.identity_of(credential)
        if identity is not None:
            return identity
        if credential.startswith(KEY_PREFIX) or (tokens := self._tokens()) is None:
            raise Unauthorized(INVALID)
        return tokens.verify(credential)
