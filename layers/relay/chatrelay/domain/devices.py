"""Phones that want to be told of replies."""

from dataclasses import dataclass
from enum import StrEnum


class Platform(StrEnum):
    """What a phone runs, and so which service reaches it."""

    IOS = "ios"
    ANDROID = "android"


class PushEnvironment(StrEnum):
    """Which of Apple's two services knows the token: an app from Xcode has another than one from the store."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"

    @property
    def other(self) -> "PushEnvironment":
        return PushEnvironment.SANDBOX if self is PushEnvironment.PRODUCTION else PushEnvironment.PRODUCTION


@dataclass(frozen=True)
class Device:
    """A user's phone as it registered last, in milliseconds since 1970."""

    id: str
    user: str
    token: str
    platform: Platform
    environment: PushEnvironment
    registered_at_ms: int
