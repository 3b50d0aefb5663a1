"""What every push service has in common: the notification, the verdicts, and the interface. Pure.

A push that fails has a verdict; it raises nothing.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from chatrelay.domain.devices import Device, PushEnvironment


@dataclass(frozen=True)
class Notification:
    """The news of a reply. `text` is the reply's, or its first 101 characters; empty if previews are turned off."""

    reply: str
    conversation: str
    agent: str
    text: str

    @property
    def sender(self) -> str:
        return self.agent.capitalize()


@dataclass(frozen=True)
class Delivered:
    """The service has taken the push. `environment` is the one that knows the token."""

    environment: PushEnvironment


@dataclass(frozen=True)
class Dead:
    """The token no longer reaches a phone, unless the device has registered at `before_ms` or later."""

    before_ms: int


@dataclass(frozen=True)
class Later:
    """The push may succeed later. `after_s` is how long the service asks to wait, if it says so."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True)
class Misconfigured:
    """This deployment's keys or settings are wrong. The device may be fine."""

    reason: str


@dataclass(frozen=True)
class Rejected:
    """The service does not understand the request: our mistake, which another try would repeat."""

    reason: str


Verdict = Delivered | Dead | Later | Misconfigured | Rejected

Secret = Callable[[], Awaitable[str]]
"""Return the text of a secret. Raise ``RelayError`` if the secret is missing or may not be read."""


class Service(Protocol):
    """A push service, which reaches the phones of one platform."""

    async def send(self, device: Device, notification: Notification) -> Verdict:
        """Send one push, and return a verdict whatever happens. A push that is cancelled may have arrived."""
        ...
