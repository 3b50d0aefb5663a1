"""What a phone is told of, and what became of telling it. Pure.

One adapter a push service stands behind ``Service``, all alike from the outside: a push that fails is an answer, not an
exception.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from chatrelay.domain.devices import Device, PushEnvironment


@dataclass(frozen=True)
class Notification:
    """A reply has come. `text` is the reply's, or its first 101 characters; empty where previews are turned off."""

    reply: str
    conversation: str
    agent: str
    text: str

    @property
    def sender(self) -> str:
        return self.agent.capitalize()

    @property
    def title(self) -> str:
        return f"New message from {self.sender}"


@dataclass(frozen=True)
class Delivered:
    """The service has it. `environment` is where the token turned out to be known."""

    environment: PushEnvironment


@dataclass(frozen=True)
class Dead:
    """The token reaches no phone any more, unless the device has registered at `before_ms` or later."""

    before_ms: int


@dataclass(frozen=True)
class Later:
    """Not now. `after_s` is what the service asks to wait, if it does."""

    reason: str
    after_s: float | None = None


@dataclass(frozen=True)
class Misconfigured:
    """This deployment's keys or settings are wrong. The device may be all right."""

    reason: str


@dataclass(frozen=True)
class Rejected:
    """The service does not understand what we send: our mistake, and trying again is none the better."""

    reason: str


Verdict = Delivered | Dead | Later | Misconfigured | Rejected

Secret = Callable[[], Awaitable[str]]
"""Gives the text of a secret. Raises ``RelayError`` if it is missing or may not be read."""


class Service(Protocol):
    """Reaches the phones of one platform."""

    async def send(self, device: Device, notification: Notification) -> Verdict:
        """One push. Comes to a verdict whatever happens; cancelling gives up, and the push may have arrived."""
        ...
