"""What a phone sends to be notified of replies, checked. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chatrelay.domain.devices import Platform
from chatrelay.domain.errors import InvalidMessage, NoDevice
from chatrelay.wire.fields import given, must_be_name
from chatrelay.wire.limits import DEVICE_LIMIT

SHAPES = {
    Platform.IOS: re.compile(r"(?:[0-9a-fA-F]{2}){32,100}"),
    Platform.ANDROID: re.compile(r"[\w.~:%-]{1,4096}", re.ASCII),
}
"""Apple says that its tokens may grow; Google says nothing of the shape of its own."""
SAID = {
    Platform.IOS: "must be 64 to 200 hexadecimal digits, an even number of them",
    Platform.ANDROID: "must be URL-safe text of at most 4096 characters",
}


@dataclass(frozen=True)
class Registration:
    """A phone that wants to be notified."""

    device_id: str
    token: str
    platform: Platform


def parse(fields: Mapping[str, Any]) -> Registration:
    """Read ``{"device_token", "device_id", "platform"?}``. Raise ``NoDevice`` and ``InvalidMessage``."""
    if not fields.get("device_token") or not fields.get("device_id"):
        raise NoDevice
    named = given(fields, "platform")
    if named is None:  # the app that existed first is an iOS app, and older ones may not say so
        named = Platform.IOS
    if named not in list(Platform):
        raise InvalidMessage("platform", f"must be one of {', '.join(sorted(Platform))}")
    platform, device, token = Platform(named), device_id(fields["device_id"]), fields["device_token"]
    if not isinstance(token, str):
        raise InvalidMessage("device_token", "must be a string")
    if not SHAPES[platform].fullmatch(token):
        raise InvalidMessage("device_token", f"{SAID[platform]}; this has {len(token)} characters")
    # Hexadecimal digits have no case, and one phone shall have one token.
    return Registration(device, token.lower() if platform is Platform.IOS else token, platform)


def device_id(value: Any) -> str:
    """Return the name that a phone gave itself. Raise ``InvalidMessage``."""
    return must_be_name({"device_id": value}, "device_id", DEVICE_LIMIT)
