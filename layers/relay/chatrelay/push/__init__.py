"""Push notifications: what a phone is told of a reply, and what became of telling it. Pure.

One adapter a service stands behind ``Service``, all alike from the outside: a push that fails is an answer, not an
exception.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from chatrelay.text import beginning, fitting

PAYLOAD_LIMIT_BYTES = 4096
"""Of both services. https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification"""
Payload = dict[str, Any]
PREVIEW_LENGTH = 100
ELLIPSIS = "..."
KEPT_S = 7 * 24 * 60 * 60
"""How long a service tries to reach a phone: as long as the reply is found by its id."""


class Platform(StrEnum):
    """What a phone runs, and so which service reaches it."""

    IOS = "ios"
    ANDROID = "android"


class Environment(StrEnum):
    """Which of Apple's two services knows the token: an app from Xcode has another than one from the store."""

    PRODUCTION = "production"
    SANDBOX = "sandbox"

    @property
    def other(self) -> "Environment":
        return Environment.SANDBOX if self is Environment.PRODUCTION else Environment.PRODUCTION


@dataclass(frozen=True)
class Device:
    """A user's phone as it registered last, in milliseconds since 1970."""

    id: str
    user: str
    token: str
    platform: Platform
    environment: Environment
    registered_at_ms: int


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


# --- what becomes of a push -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Delivered:
    """The service has it. `environment` is where the token turned out to be known."""

    environment: Environment


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


# --- what a phone gets ------------------------------------------------------------------------------------------------


def apns_payload(notification: Notification) -> bytes:
    """The JSON for Apple's service. The existing app reads ``type``, ``sender`` and ``preview``."""
    return _encoded(_fitted(notification, _apns))


def fcm_payload(notification: Notification, token: str) -> bytes:
    """The JSON for Google's service. The token does not count in the limit."""
    return _encoded({"message": {"token": token, **_fitted(notification, _fcm)}})


def _apns(notification: Notification, preview: str) -> Payload:
    alert = _alert(notification, preview)
    return {"aps": {"alert": alert, "sound": "default", "badge": 1}, **_data(notification, preview)}


def _fcm(notification: Notification, preview: str) -> Payload:
    """A second push with the same tag replaces the first on the phone, as the collapse id does at Apple's."""
    shown = {"tag": notification.reply, "sound": "default", "notification_count": 1}
    return {
        "notification": _alert(notification, preview),
        "data": _data(notification, preview),
        "android": {"priority": "HIGH", "ttl": f"{KEPT_S}s", "notification": shown},
    }


def _alert(notification: Notification, preview: str) -> dict[str, str]:
    return {"title": notification.title, **({"body": preview} if preview else {})}


def _data(notification: Notification, preview: str) -> dict[str, str]:
    return {
        "type": "new_message",
        "sender": notification.sender,
        "preview": preview,
        "conversation": notification.conversation,
        "reply": notification.reply,
    }


def _fitted(notification: Notification, build: Callable[[Notification, str], Payload]) -> Payload:
    """The payload with as much of the preview, which is in it twice, as there is room for."""
    room_bytes = PAYLOAD_LIMIT_BYTES - len(_encoded(build(notification, ELLIPSIS)))
    return build(notification, _preview(notification.text, room_bytes // 2))


def _preview(text: str, room_bytes: int) -> str:
    """The beginning of `text`: at most `room_bytes` in a JSON string before the dots that say there is more."""
    shown = beginning(text, len(fitting(text[:PREVIEW_LENGTH], room_bytes)))
    return shown if len(shown) == len(text) else shown + ELLIPSIS


def _encoded(payload: Payload) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
