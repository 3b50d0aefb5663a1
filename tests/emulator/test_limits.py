"""Limits: AWS's numbers, and how a command line changes them."""

import pytest

from emulator.limits import Limits, override


def test_limits_are_awss_unless_told_otherwise() -> None:
    limits = Limits()
    assert limits.integration_timeout_s == 29
    assert (limits.idle_s, limits.life_s) == (600, 7200)
    assert (limits.frame_bytes, limits.message_bytes) == (32_768, 131_072)
    assert limits.http_timeout_s == 30
    assert (limits.invoke_payload_bytes, limits.event_payload_bytes) == (6_291_456, 1_048_576)


def test_setting_changes_one_limit_and_keeps_its_type() -> None:
    assert override(Limits(), ["idle_s=2", "frame_bytes=100"]) == Limits(idle_s=2.0, frame_bytes=100)


@pytest.mark.parametrize("setting", ["idle=2", "idle_s=soon", "idle_s"])
def test_setting_that_cannot_be_used_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match=r"idle|float"):
        override(Limits(), [setting])
