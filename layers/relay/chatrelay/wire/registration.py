"""What a phone sends to be told of replies, checked. Pure."""

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
    """A phone that wants to be told."""

    device_id: str
    token: str
    platform: Platform


def parse(fields: Mapping[str, Any]) -> Registration:
    """``{"device_token", "device_id", "platform"?}`` as it came. Raises ``NoDevice`` and ``InvalidMessage``."""
    if not fields.get("device_token") or not fields.get("device_id"):
        raise NoDevice
    platform = _platform(given(fields, "platform"))
    return Registration(device_id(fields["device_id"]), _token(fields["device_token"], platform), platform)


def device_id(value: Any) -> str:
    """The name that a phone gave itself. Raises ``InvalidMessage``."""
    return must_be_name({"device_id": value}, "device_id", DEVICE_LIMIT)


def _platform(value: Any) -> Platform:
    """The app that existed first is an iOS app, and older ones may not say so."""
    if value is None:
        return Platform.IOS
    if value not in list(Platform):
        raise InvalidMessage("platform", f"must be one of {', '.join(sorted(Platform))}")
    return Platform(value)


def _token(value: Any, platform: Platform) -> str:
    if not isinstance(value, str):
        raise InvalidMessage("device_token", "must be a string")
    if not SHAPES[platform].fullmatch(value):
        raise InvalidMessage("device_token", f"{SAID[platform]}; this has {len(value)} characters")
    return value.lower() if platform is Platform.IOS else value
