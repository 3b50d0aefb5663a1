from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.store.devices import Devices
from chatrelay.store.table import Table
from chatrelay.wire.registration import Registration
from tests.builders.doubles import Clock
from tests.builders.layer import scanned

NOW_S = 1_700_000_000
NOW_MS = NOW_S * 1000
PHONE = Registration("phone", "aa" * 32, Platform.IOS)
TABLET = Registration("tablet", "cR:x", Platform.ANDROID)
RENEWED = replace(PHONE, token="bb" * 32)
AS_STORED = Device("phone", "alice", "aa" * 32, Platform.IOS, PushEnvironment.PRODUCTION, NOW_MS)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def devices(table: Table, clock: Clock) -> Devices:
    return Devices(table, clock)


def test_a_device_is_kept_as_it_registered(devices: Devices) -> None:
    devices.register("alice", PHONE)

    assert devices.all("alice") == [AS_STORED]


def test_a_user_may_have_several_devices_and_others_none_of_them(devices: Devices) -> None:
    devices.register("alice", PHONE)
    devices.register("alice", TABLET)

    assert [device.id for device in devices.all("alice")] == ["phone", "tablet"]
    assert devices.all("bob") == devices.all("alic") == devices.all("alice#") == []


def test_a_device_that_registers_again_is_one_device(devices: Devices, clock: Clock) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    devices.register("alice", PHONE)

    assert devices.all("alice") == [replace(AS_STORED, registered_at_ms=NOW_MS + 60_000)]


def test_a_changed_token_replaces_the_one_before(devices: Devices) -> None:
    devices.register("alice", PHONE)
    devices.register("alice", RENEWED)

    assert devices.all("alice") == [replace(AS_STORED, token="bb" * 32)]


@pytest.mark.parametrize("theirs", [PHONE, RENEWED], ids=["the same token", "a changed token"])
def test_a_phone_that_changes_hands_is_told_of_the_new_users_replies_only(
    devices: Devices, clock: Clock, theirs: Registration
) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    devices.register("bob", theirs)

    assert devices.all("alice") == []
    assert [(device.id, device.user, device.token) for device in devices.all("bob")] == [("phone", "bob", theirs.token)]


def test_a_phone_may_come_back(devices: Devices, clock: Clock) -> None:
    for user in ("alice", "bob", "alice"):
        clock.now_s += 60
        devices.register(user, PHONE)

    assert ([device.id for device in devices.all("alice")], devices.all("bob")) == (["phone"], [])


def test_users_who_register_the_same_phone_at_once_do_not_both_have_it(devices: Devices) -> None:
    users = ["alice", "bob", "carol"]
    with ThreadPoolExecutor(9) as pool:
        list(pool.map(devices.register, users * 6, [PHONE] * 18))

    assert [len(devices.all(user)) for user in users].count(1) == 1


def test_a_phone_that_registered_under_two_names_counts_once_by_the_latest(devices: Devices, clock: Clock) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    devices.register("alice", replace(PHONE, device_id="again"))

    assert [device.id for device in devices.all("alice")] == ["again"]


@pytest.mark.parametrize("device_id", ["x" * 128, "漢字", "🌅" * 128, "~~", "a#b", "#", "\x00", "DEVICE#phone"])
def test_a_device_may_call_itself_anything(devices: Devices, device_id: str) -> None:
    devices.register("alice", replace(PHONE, device_id=device_id))

    assert [device.id for device in devices.all("alice")] == [device_id]
    assert devices.delete("alice", device_id)
    assert devices.all("alice") == []


# --- no more ----------------------------------------------------------------------------------------------------------


def test_a_device_that_is_deleted_is_no_more_and_the_others_stay(devices: Devices) -> None:
    devices.register("alice", PHONE)
    devices.register("alice", TABLET)

    assert [devices.delete("alice", "phone"), devices.delete("alice", "phone")] == [True, False]
    assert [device.id for device in devices.all("alice")] == ["tablet"]


def test_a_user_deletes_no_other_users_device(devices: Devices) -> None:
    devices.register("alice", PHONE)

    assert not devices.delete("bob", "phone")
    assert devices.all("alice") == [AS_STORED]


def test_a_user_deletes_no_device_that_has_become_anothers(devices: Devices, clock: Clock) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    devices.register("bob", PHONE)

    assert not devices.delete("alice", "phone")
    assert [device.id for device in devices.all("bob")] == ["phone"]


def test_a_device_whose_token_is_dead_is_forgotten(devices: Devices) -> None:
    devices.register("alice", PHONE)

    assert devices.forget(AS_STORED, NOW_MS + 1)
    assert devices.all("alice") == []


def test_a_device_that_has_another_token_by_now_is_kept(devices: Devices) -> None:
    devices.register("alice", RENEWED)

    assert not devices.forget(AS_STORED, NOW_MS + 1)
    assert [device.token for device in devices.all("alice")] == [RENEWED.token]


def test_a_device_that_has_registered_since_its_token_died_is_kept(devices: Devices) -> None:
    devices.register("alice", PHONE)

    assert not devices.forget(AS_STORED, NOW_MS)
    assert devices.all("alice") == [AS_STORED]


def test_a_device_that_is_another_users_by_now_is_kept(devices: Devices, clock: Clock) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    devices.register("bob", PHONE)

    devices.forget(AS_STORED, NOW_MS + 1)

    assert [device.id for device in devices.all("bob")] == ["phone"]


def test_a_device_that_was_deleted_is_not_forgotten_again(devices: Devices) -> None:
    devices.register("alice", PHONE)
    devices.delete("alice", "phone")

    assert not devices.forget(AS_STORED, NOW_MS + 1)
    assert devices.all("alice") == []


@pytest.mark.parametrize("how", ["deleted", "forgotten"])
def test_a_device_may_register_again_later(devices: Devices, clock: Clock, table: Table, how: str) -> None:
    devices.register("alice", PHONE)
    devices.delete("alice", "phone") if how == "deleted" else devices.forget(AS_STORED, NOW_MS + 1)
    clock.now_s += 60
    devices.register("alice", PHONE)

    assert [device.id for device in devices.all("alice")] == ["phone"]
    assert leftovers(table) == []


@pytest.mark.parametrize("how", ["deleted", "forgotten", "moved"])
def test_what_is_left_of_a_device_expires(devices: Devices, table: Table, clock: Clock, how: str) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    if how == "deleted":
        devices.delete("alice", "phone")
    if how == "forgotten":
        devices.forget(AS_STORED, NOW_MS + 1)
    if how == "moved":
        devices.register("bob", PHONE)

    expiring = leftovers(table)
    kept = [item for item in scanned(table) if item not in expiring]
    assert {item.get("user_id", item["pk"]) for item in kept} == ({"bob", "USER#bob"} if how == "moved" else set())
    assert {int(item["expires_at"]) for item in expiring} == {NOW_S + 60}


# --- at the same time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meanwhile(Table):
    """Lets something happen before its next update."""

    happening: list[Callable[[], object]] = field(default_factory=list)

    def update(self, *arguments: Any, **more: Any) -> bool:
        if self.happening:
            self.happening.pop()()
        return super().update(*arguments, **more)


def slow(table: Table, clock: Clock, meanwhile: Callable[[], object]) -> Devices:
    """Devices in whose next call `meanwhile` happens before what is left is cleared away."""
    return Devices(Meanwhile(table.client, table.name, [meanwhile]), clock)


def test_a_phone_that_comes_back_while_it_is_moved_stays(devices: Devices, table: Table, clock: Clock) -> None:
    devices.register("alice", PHONE)
    clock.now_s += 60
    later = Devices(table, Clock(NOW_S + 61))

    slow(table, clock, lambda: later.register("alice", PHONE)).register("bob", PHONE)

    assert ([device.id for device in devices.all("alice")], devices.all("bob")) == (["phone"], [])


@pytest.mark.parametrize(("user", "after_s"), [("alice", 1), ("bob", 0)])
def test_a_phone_that_registers_while_it_is_deleted_stays(
    devices: Devices, table: Table, clock: Clock, user: str, after_s: int
) -> None:
    devices.register("alice", PHONE)
    later = Devices(table, Clock(NOW_S + after_s))

    assert slow(table, clock, lambda: later.register(user, PHONE)).delete("alice", "phone")

    assert [device.id for device in devices.all(user)] == ["phone"]
    assert leftovers(table) == []


# --- the environment --------------------------------------------------------------------------------------------------


def test_the_environment_that_was_found_out_is_kept_as_long_as_the_token(devices: Devices) -> None:
    devices.register("alice", PHONE)

    devices.found(AS_STORED, PushEnvironment.SANDBOX)
    devices.register("alice", PHONE)
    assert devices.all("alice") == [replace(AS_STORED, environment=PushEnvironment.SANDBOX)]

    devices.register("alice", RENEWED)
    assert devices.all("alice") == [replace(AS_STORED, token=RENEWED.token)]


def test_the_environment_of_a_token_says_nothing_of_the_next_one(devices: Devices) -> None:
    devices.register("alice", RENEWED)

    devices.found(AS_STORED, PushEnvironment.SANDBOX)

    assert [device.environment for device in devices.all("alice")] == [PushEnvironment.PRODUCTION]


def test_finding_out_brings_no_device_back(devices: Devices) -> None:
    devices.register("alice", PHONE)
    devices.forget(AS_STORED, NOW_MS + 1)

    devices.found(AS_STORED, PushEnvironment.SANDBOX)

    assert devices.all("alice") == []


def leftovers(table: Table) -> list[dict[str, Any]]:
    return [item for item in scanned(table) if "expires_at" in item]
