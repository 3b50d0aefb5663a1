"""Phones that are notified of replies."""

from dataclasses import dataclass
from enum import StrEnum


class Platform(StrEnum):
    """The system of a phone, and so the service that reaches it."""

    IOS = "ios"
    ANDROID = "android"


class PushEnvironment(StrEnum):
    """Which of Apple's two services knows the token: one for apps from Xcode, one for apps from the store."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"

    @property
    def other(self) -> "PushEnvironment":
        """The service that may know a token when this one does not."""
        return PushEnvironment.SANDBOX if self is PushEnvironment.PRODUCTION else PushEnvironment.PRODUCTION


@dataclass(frozen=True)
class Device:
    """A user's phone as it registered last, and by which credential. `registered_at_ms` is since 1970."""

    id: str
    user: str
    token: str
    platform: Platform
    environment: PushEnvironment
    registered_at_ms: int
    credential: str
