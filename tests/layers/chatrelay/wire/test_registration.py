from typing import Any

import pytest

from chatrelay.domain.devices import Platform
from chatrelay.domain.errors import InvalidMessage, NoDevice
from chatrelay.wire.registration import Registration, parse

HEX = "0123456789abcdef" * 4
FCM = "cR_-:APA91b~x.y%2F" + "Z" * 100


@pytest.mark.parametrize("fields", [{"platform": "ios"}, {}, {"platform": None}, {"platform": ""}])
def test_the_existing_apps_registration_is_an_iphones(fields: dict[str, Any]) -> None:
    parsed = parse({"device_token": HEX, "device_id": "AB-12", **fields})

    assert parsed == Registration("AB-12", HEX, Platform.IOS)


def test_an_android_phone_brings_googles_token() -> None:
    parsed = parse({"device_token": FCM, "device_id": "早上 🌅", "platform": "android"})

    assert parsed == Registration("早上 🌅", FCM, Platform.ANDROID)


def test_a_token_in_capitals_is_the_same_token() -> None:
    assert parse({"device_token": HEX.upper(), "device_id": "d"}).token == HEX


@pytest.mark.parametrize("length", [64, 66, 160, 200])
def test_an_iphones_token_has_an_even_length(length: int) -> None:
    assert parse({"device_token": "a" * length, "device_id": "d"}).token == "a" * length


@pytest.mark.parametrize("length", [1, 152, 4096])
def test_an_android_phones_token_may_be_long(length: int) -> None:
    assert parse({"device_token": "a" * length, "device_id": "d", "platform": "android"}).token == "a" * length


@pytest.mark.parametrize("device_id", ["d", "d" * 128, "a#b/../c", "\x00", "..."])
def test_a_device_may_call_itself_anything(device_id: str) -> None:
    assert parse({"device_token": HEX, "device_id": device_id}).device_id == device_id


def test_half_of_a_surrogate_pair_in_a_name_is_replaced() -> None:
    assert parse({"device_token": HEX, "device_id": "a\ud83d"}).device_id == "a\ufffd"


@pytest.mark.parametrize("missing", ["device_token", "device_id"])
@pytest.mark.parametrize("value", [None, "", 0, False, [], ...])
def test_a_registration_without_a_token_or_a_device_is_told_so_in_the_apps_words(missing: str, value: Any) -> None:
    fields = {"device_token": HEX, "device_id": "d", missing: value}
    if value is ...:
        del fields[missing]

    with pytest.raises(NoDevice, match=r"^Missing device_token or device_id$"):
        parse(fields)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"device_id": 7}, "device_id: must be a string"),
        ({"device_id": " \n"}, "device_id: must not be empty"),
        ({"device_id": "."}, 'device_id: must not be "." or "..", which no address can name'),
        ({"device_id": ".."}, 'device_id: must not be "." or "..", which no address can name'),
        ({"device_id": "d" * 129}, "device_id: must have at most 128 characters, has 129"),
        ({"platform": "windows"}, "platform: must be one of android, ios"),
        ({"platform": "IOS"}, "platform: must be one of android, ios"),
        ({"platform": ["ios"]}, "platform: must be one of android, ios"),
        ({"device_token": 7}, "device_token: must be a string"),
        ({"device_token": [HEX]}, "device_token: must be a string"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        parse({"device_token": HEX, "device_id": "d", **fields})

    assert str(raised.value) == problem
    assert raised.value.field == problem.partition(":")[0]


@pytest.mark.parametrize("token", ["a" * 62, "a" * 65, "a" * 202, "g" * 64, HEX + "\n", "../" * 24, "٣" * 64])
def test_what_is_no_token_of_apples_is_refused(token: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        parse({"device_token": token, "device_id": "d"})

    assert str(raised.value) == (
        f"device_token: must be 64 to 200 hexadecimal digits, an even number of them; this has {len(token)} characters"
    )


@pytest.mark.parametrize("token", ["a" * 4097, "a b", "a/b", "é", "a\n", "\ud83d", "٣"])
def test_what_is_no_token_of_googles_is_refused(token: str) -> None:
    with pytest.raises(InvalidMessage) as raised:
        parse({"device_token": token, "device_id": "d", "platform": "android"})

    assert str(raised.value) == (
        f"device_token: must be URL-safe text of at most 4096 characters; this has {len(token)} characters"
    )
