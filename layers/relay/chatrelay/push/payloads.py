"""The JSON for each push service. Pure."""

import json
from collections.abc import Callable
from typing import Any

from chatrelay.domain.text import beginning, truncate_to_json
from chatrelay.push.service import Notification

PAYLOAD_LIMIT_BYTES = 4096
"""The limit of both services. https://developer.apple.com/documentation/usernotifications/generating-a-remote-notification"""
Payload = dict[str, Any]
PREVIEW_LENGTH = 100
ELLIPSIS = "..."
KEPT_S = 7 * 24 * 60 * 60
"""How long a service tries to reach a phone: as long as a reply can be found by its id."""


def apns_payload(notification: Notification) -> bytes:
    """Return the JSON for Apple's service. The existing app reads ``type``, ``sender`` and ``preview``."""
    return _encoded(_with_preview(notification, _apns))


def fcm_payload(notification: Notification, token: str) -> bytes:
    """Return the JSON for Google's service. The token does not count towards the limit."""
    return _encoded({"message": {"token": token, **_with_preview(notification, _fcm)}})


def _apns(notification: Notification, preview: str) -> Payload:
    alert = _alert(notification, preview)
    return {"aps": {"alert": alert, "sound": "default", "badge": 1}, **_data(notification, preview)}


def _fcm(notification: Notification, preview: str) -> Payload:
    # A second push with the same tag replaces the first on the phone, like a collapse id at Apple's.
    shown = {"tag": notification.reply, "sound": "default", "notification_count": 1}
    return {
        "notification": _alert(notification, preview),
        "data": _data(notification, preview),
        "android": {"priority": "HIGH", "ttl": f"{KEPT_S}s", "notification": shown},
    }


def _alert(notification: Notification, preview: str) -> dict[str, str]:
    return {"title": f"New message from {notification.sender}", **({"body": preview} if preview else {})}


def _data(notification: Notification, preview: str) -> dict[str, str]:
    return {
        "type": "new_message",
        "sender": notification.sender,
        "preview": preview,
        "conversation": notification.conversation,
        "reply": notification.reply,
    }


def _with_preview(notification: Notification, build: Callable[[Notification, str], Payload]) -> Payload:
    """Return the payload with as much of the reply's beginning as it has room for, before the dots for the rest."""
    text = notification.text
    room_bytes = PAYLOAD_LIMIT_BYTES - len(_encoded(build(notification, ELLIPSIS)))
    # Half of it, because the preview is in a payload twice.
    shown = beginning(text, len(truncate_to_json(text[:PREVIEW_LENGTH], room_bytes // 2)))
    return build(notification, shown if len(shown) == len(text) else shown + ELLIPSIS)


def _encoded(payload: Payload) -> bytes:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
