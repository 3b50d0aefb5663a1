"""Who goes: what is revoked is closed, wherever it came in. What was accepted before is answered and stored."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial

from chatrelay.aws.management_api import PAUSES_S, ManagementApi
from chatrelay.domain.errors import NotDelivered, PostError, Throttled
from chatrelay.domain.identity import KEY, Identity
from chatrelay.domain.retry import retry
from chatrelay.store.store import Store


class Revocation:
    """The end of a credential, of a user's sign-ins, or of all that is a user's.

    Each writes first what lets nobody in any more, and closes then what had come in before: what comes in between is
    refused by its own transaction. Each can be repeated.
    """

    def __init__(self, store: Store, api: ManagementApi) -> None:
        self._store = store
        self._api = api

    def revoke(self, identity: Identity) -> int:
        """Take a credential no more. Return how many sockets were closed."""
        self._store.accounts.revoke(identity)
        return self._end(identity.user, lambda credential: credential == identity.credential)

    def end_session(self, identity: Identity) -> int:
        """End the sign-in that a credential is of, or the key that it is. Return how many sockets were closed.

        Where tokens do not say of which sign-in they are, end all of the user's.
        """
        closed = self.revoke(identity)
        return closed if identity.names_session else closed + self.sign_out(identity.user)

    def sign_out(self, user: str) -> int:
        """Take none of the user's tokens any more that were issued until now. Return how many sockets were closed."""
        self._store.accounts.sign_out(user)
        return self._end(user, lambda credential: not credential.startswith(KEY))

    def block(self, user: str) -> int:
        """Let the user in no more, and leave unanswered what waits. Return how many sockets were closed.

        The user's devices stay, and are sent nothing.
        """
        self._store.accounts.block(user)
        return self._close(user, lambda _: True)

    def _end(self, user: str, is_ended: Callable[[str], bool]) -> int:
        self._store.devices.revoke(user, is_ended)
        return self._close(user, is_ended)

    def _close(self, user: str, is_ended: Callable[[str], bool]) -> int:
        """Close the user's sockets that came by a credential that is ended."""
        account = self._store.accounts.get(user)
        ended = [each for each in self._store.connections.of(account) if is_ended(each.credential)]
        for connection in ended:
            self._store.connections.close(connection.id, at_once=True)
            with suppress(PostError):  # what it says is nobody's by now, and has it closed
                retry(partial(self._api.close, connection.id), PAUSES_S, on=(Throttled, NotDelivered))
        return len(ended)
