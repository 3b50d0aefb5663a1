"""Phones that want to be told of replies, each by the token that a push service knows it by.

A phone is one user's at a time: its item ``OWNER`` says whose, and what another user's partition still has of it does
not count. So a phone changes hands in a single write.
"""

import time
from collections.abc import Callable

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.store.item_keys import DEVICE, DEVICE_PK, OWNER, USER_PK, beginning_with, name_in
from chatrelay.store.table import Item, Table
from chatrelay.wire.registration import Registration


class Devices:
    """The devices of all users.

    What is given up gets an end in the past, which a registration takes away again: the two cannot undo each other.
    """

    def __init__(self, table: Table, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._clock = clock

    def register(self, user: str, registration: Registration) -> None:
        """The phone is `user`'s from now on, and reached by this token only. Again does no harm."""
        pk, sk = USER_PK + user, DEVICE + registration.device_id
        owner_pk = DEVICE_PK + registration.device_id
        now_ms = int(self._clock() * 1000)
        environment = _environment(self._table.get(pk, sk), registration.token)
        self._table.put(
            {
                "pk": pk,
                "sk": sk,
                "device_token": registration.token,
                "platform": registration.platform.value,
                "environment": environment.value,
                "registered_at_ms": now_ms,
            }
        )
        previous = self._table.get(owner_pk, OWNER)
        self._table.put({"pk": owner_pk, "sk": OWNER, "user_id": user, "registered_at_ms": now_ms})
        if previous is not None and previous["user_id"] != user:
            self._expire(USER_PK + previous["user_id"], sk, "registered_at_ms < :now", {":now": now_ms})

    def all(self, user: str) -> list[Device]:
        """The user's phones. One that has registered under several names counts once, by the latest."""
        items = self._table.query(USER_PK + user, *beginning_with(DEVICE))
        devices = [
            _device(user, item) for item in items if "expires_at" not in item and self._owns(user, name_in(item["sk"]))
        ]
        by_token = {device.token: device for device in sorted(devices, key=lambda device: device.registered_at_ms)}
        return list(by_token.values())

    def delete(self, user: str, device_id: str) -> bool:
        """The phone is not to be told any more. False if the user has no such phone."""
        item = self._table.delete(USER_PK + user, DEVICE + device_id)
        if item is None or "expires_at" in item:
            return False
        self._disown(_device(user, item))
        return True

    def forget(self, device: Device, before_ms: int) -> bool:
        """The device's token is dead. False if it has another one by now, or has registered at `before_ms` or later."""
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
        """The device's token has turned out to belong to `environment`."""
        self._table.update(
            USER_PK + device.user,
            DEVICE + device.id,
            "SET environment = :environment",
            {":environment": environment.value, ":token": device.token},
            condition="device_token = :token",
        )

    def _owns(self, user: str, device_id: str) -> bool:
        owner = self._table.get(DEVICE_PK + device_id, OWNER)
        return owner is not None and owner["user_id"] == user

    def _disown(self, device: Device) -> None:
        values = {":user": device.user, ":at": device.registered_at_ms}
        self._expire(DEVICE_PK + device.id, OWNER, "user_id = :user AND registered_at_ms = :at", values)

    def _expire(self, pk: str, sk: str, condition: str, values: Item) -> bool:
        values = {":now_s": int(self._clock()), **values}
        return self._table.update(pk, sk, "SET expires_at = :now_s", values, condition=condition)


def _environment(known: Item | None, token: str) -> PushEnvironment:
    """What was found out of a token holds for as long as the phone has it."""
    if known is None or known["device_token"] != token:
        return PushEnvironment.PRODUCTION
    return PushEnvironment(known["environment"])


def _device(user: str, item: Item) -> Device:
    return Device(
        id=name_in(item["sk"]),
        user=user,
        token=item["device_token"],
        platform=Platform(item["platform"]),
        environment=PushEnvironment(item["environment"]),
        registered_at_ms=int(item["registered_at_ms"]),
    )
