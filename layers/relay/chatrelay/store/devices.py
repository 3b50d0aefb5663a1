"""Phones that are notified of replies, each by the token that its push service knows.

A phone has one user at a time. Its item ``OWNER`` names that user, and the phone's item in another user's partition
does not count. So a phone changes hands in a single write.
"""

import time
from collections.abc import Callable

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import DEVICE, DEVICE_PK, OWNER, USER_PK, beginning_with, name_in
from chatrelay.store.table import Table
from chatrelay.wire.registration import Registration


class Devices:
    """The devices of all users.

    A device that is given up gets an ``expires_at`` in the past, and a registration removes it again. So neither can
    undo the other.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def register(self, user: str, registration: Registration) -> None:
        """Make the phone `user`'s, reached by this token only. Idempotent."""
        device_id, now_ms = registration.device_id, int(self._clock() * 1000)
        known = self._table.get(USER_PK + user, DEVICE + device_id)
        environment = PushEnvironment.PRODUCTION
        if known is not None and known["device_token"] == registration.token:
            environment = PushEnvironment(known["environment"])  # as a push has found it
        # The device before its owner, which is what makes the device count.
        self._table.put(
            {
                "pk": USER_PK + user,
                "sk": DEVICE + device_id,
                "device_token": registration.token,
                "platform": registration.platform.value,
                "environment": environment.value,
                "registered_at_ms": now_ms,
            }
        )
        previous = self._table.get(DEVICE_PK + device_id, OWNER)
        self._table.put({"pk": DEVICE_PK + device_id, "sk": OWNER, "user_id": user, "registered_at_ms": now_ms})
        if previous is not None and previous["user_id"] != user:
            pk = USER_PK + previous["user_id"]
            self._expire(pk, DEVICE + device_id, "registered_at_ms < :now", {":now": now_ms})

    def all(self, user: str) -> list[Device]:
        """Return the user's phones. A phone that has registered under several ids counts once, by the latest."""
        devices = []
        for item in self._table.query(USER_PK + user, *beginning_with(DEVICE)):
            if "expires_at" in item:  # given up
                continue
            # The owner decides: two partitions cannot change in one plain write, so a former user's still lists it.
            owner = self._table.get(DEVICE_PK + name_in(item["sk"]), OWNER)
            if owner is not None and owner["user_id"] == user:
                devices.append(_device(user, item))
        by_token = {device.token: device for device in sorted(devices, key=lambda device: device.registered_at_ms)}
        return list(by_token.values())

    def delete(self, user: str, device_id: str) -> bool:
        """Stop notifying the phone. Return False if the user has no such phone."""
        item = self._table.delete(USER_PK + user, DEVICE + device_id)
        if item is None or "expires_at" in item:
            return False
        self._disown(_device(user, item))
        return True

    def forget(self, device: Device, before_ms: int) -> bool:
        """Give up the device, whose token is dead.

        Return False if the device has another token by now, or has registered at `before_ms` or later.
        """
        forgotten = self._expire(
            USER_PK + device.user,
            DEVICE + device.id,
            "device_token = :token AND registered_at_ms < :before",
            {":token": device.token, ":before": before_ms},
        )
        if forgotten:
            self._disown(device)
        return forgotten

    def found(self, device: Device, environment: PushEnvironment) -> None:
        """Record the environment in which a push has found the device's token."""
        self._table.update(
            USER_PK + device.user,
            DEVICE + device.id,
            "SET environment = :environment",
            {":environment": environment.value, ":token": device.token},
            condition="device_token = :token",
        )

    def _disown(self, device: Device) -> None:
        """Give up the owner's item, unless the device has registered again."""
        values = {":user": device.user, ":at": device.registered_at_ms}
        self._expire(DEVICE_PK + device.id, OWNER, "user_id = :user AND registered_at_ms = :at", values)

    def _expire(self, pk: str, sk: str, condition: str, values: Item) -> bool:
        values = {":now_s": int(self._clock()), **values}
        return self._table.update(pk, sk, "SET expires_at = :now_s", values, condition=condition)


def _device(user: str, item: Item) -> Device:
    return Device(
        id=name_in(item["sk"]),
        user=user,
        token=item["device_token"],
        platform=Platform(item["platform"]),
        environment=PushEnvironment(item["environment"]),
        registered_at_ms=int(item["registered_at_ms"]),
    )
