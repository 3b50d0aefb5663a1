import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.push.payloads import apns_payload, fcm_payload
from chatrelay.push.service import Notification

LIMIT_BYTES = 4096


def saying(text: str, **more: str) -> Notification:
    return Notification(**{"reply": "31ce", "conversation": "c1", "agent": "claude", "text": text, **more})


def at_apple(notification: Notification) -> tuple[Any, str]:
    """What the phone shows, and what it reads."""
    payload = json.loads(apns_payload(notification))
    return payload["aps"]["alert"].get("body"), payload["preview"]


def at_google(notification: Notification) -> tuple[Any, str]:
    message = json.loads(fcm_payload(notification, "token"))["message"]
    return message["notification"].get("body"), message["data"]["preview"]


@pytest.mark.parametrize(
    ("text", "preview"),
    [
        ("Hi", "Hi"),
        ("x" * 100, "x" * 100),
        ("x" * 101, "x" * 100 + "..."),
        ("早" * 1000, "早" * 100 + "..."),
        ("🌅" * 101, "🌅" * 100 + "..."),
        ('"\\\n' * 100, '"\\\n' * 33 + '"...'),
        ("x" * 99 + "\U0001f1e9\U0001f1ea and more", "x" * 99 + "..."),
        ("x" * 99 + "e\u0301 and more", "x" * 99 + "..."),
        ("x" * 98 + "\U0001f1e9\U0001f1ea and more", "x" * 98 + "\U0001f1e9\U0001f1ea..."),
    ],
)
def test_a_preview_is_the_first_hundred_characters(text: str, preview: str) -> None:
    assert at_apple(saying(text)) == at_google(saying(text)) == (preview, preview)


def test_without_a_text_there_is_a_title_and_nothing_of_the_reply() -> None:
    payload = json.loads(apns_payload(saying("")))

    assert payload["aps"] == {"alert": {"title": "New message from Claude"}, "sound": "default", "badge": 1}
    assert (payload["type"], payload["sender"], payload["preview"]) == ("new_message", "Claude", "")
    assert at_google(saying("")) == (None, "")


@given(
    text=st.text(st.characters(codec="utf-8"), max_size=300),
    conversation=st.text(st.characters(codec="utf-8"), min_size=1, max_size=128),
    long=st.integers(0, 3000),
)
def test_a_payload_fits_and_is_cut_between_characters(text: str, conversation: str, long: int) -> None:
    notification = saying(text, conversation=conversation + "x" * long)

    apple, google = apns_payload(notification), fcm_payload(notification, "t" * 4096)

    message = json.loads(google)["message"]
    del message["token"]
    assert len(apple) <= LIMIT_BYTES
    assert len(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()) <= LIMIT_BYTES
    body, preview = at_apple(notification)
    assert (body or "") == preview
    assert preview == text or text.startswith(preview.removesuffix("..."))


@pytest.mark.parametrize("character", ["x", "é", "早", "🌅", '"', "\x01"])
def test_a_preview_fills_the_room_that_there_is(character: str) -> None:
    payload = apns_payload(crowded := saying(character * 101, conversation="c" * 3800))

    one_more_bytes = 2 * (len(json.dumps(character, ensure_ascii=False).encode()) - 2)
    assert LIMIT_BYTES - one_more_bytes < len(payload) <= LIMIT_BYTES
    assert at_apple(crowded)[1].endswith(f"{character}...")
