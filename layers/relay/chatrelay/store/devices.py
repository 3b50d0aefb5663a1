"""Phones that are notified of replies, each by the token that its push service knows.

A device is its user's and has an id: what another user's device is called means nothing to it. A token has one owner
at a time, the device that has registered it last: a device has a token exactly if the token's item ``OWNER`` names the
device. Every transaction here keeps that, and so a condition on one of the two items stands for the other, too.
"""

import hashlib
import time
from collections.abc import Callable, Iterator

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.domain.errors import Conflict, RateLimited
from chatrelay.domain.identity import Identity
from chatrelay.store.accounts import Account, Accounts
from chatrelay.store.attribute_values import Item
from chatrelay.store.item_keys import ACCOUNT, DEVICE, OWNER, PUSHTOKEN_PK, USER_PK, beginning_with, name_in
from chatrelay.store.table import IF_ABSENT, Delete, Put, Table, Write
from chatrelay.wire.registration import Registration

HAS_TOKEN = "device_token = :token AND platform = :platform"  # noqa: S105  a condition
TRIES = 10
"""How often a write is tried that others overtake. Each time, one of them has succeeded."""


class Devices:
    """The devices of all users."""

    def __init__(self, table: Table, accounts: Accounts, clock: Callable[[], float] = time.time) -> None:
        self._table = table
        self._accounts = accounts
        self._clock = clock

    def register(self, identity: Identity, registration: Registration, most: int | None = None) -> None:
        """Make the device its user's, and the owner of its token, in one transaction.

        Whoever has had the token loses the device that had it. Idempotent. Raise ``RateLimited`` if the user has as
        many other devices as `most`, ``Unauthorized`` if the user's credential is not good any more, and ``Conflict``
        if others register the same every time.
        """
        if most == 0:
            raise RateLimited("You may have no device.")
        device = Device(
            id=registration.device_id,
            user=identity.user,
            token=registration.token,
            platform=registration.platform,
            environment=PushEnvironment.PRODUCTION,
            registered_at_ms=int(self._clock() * 1000),
            credential=identity.credential,
        )
        entering = self._accounts.enter(identity, "devices", device.id, most)
        for _ in range(TRIES):
            before = self._table.get(USER_PK + device.user, DEVICE + device.id)
            owner = self._table.get(_token_pk(device), OWNER)
            kept = [*_kept(device, before), *_handed_over(device, owner)]
            refused = self._table.transact(*kept, *entering)
            if not refused:
                return
            if any(write in entering for write in refused):
                self._make_room(self._accounts.admit(identity), most)
        raise Conflict(f"device {device.id}")

    def _make_room(self, account: Account, most: int | None) -> None:
        """Count what the user has lost or removed no longer. Raise ``RateLimited`` if that is nothing."""
        gone = account.devices - {device.id for device in self.all(account.user)}
        if not gone:
            raise RateLimited(f"You may have {most} devices. Remove one of them first.")
        self._table.transact(self._accounts.leave(account.user, "devices", *gone))

    def all(self, user: str) -> list[Device]:
        """Return the user's devices, in the order of their ids."""
        return [_device(user, item) for item in self._items(user)]

    def reachable(self, user: str) -> list[Device]:
        """Return the devices that are sent what the user is told: none if the user is blocked."""
        items = list(self._table.query(USER_PK + user, ACCOUNT, beginning_with(DEVICE)[1]))
        if any("blocked_at_ms" in item for item in items):
            return []
        return [_device(user, item) for item in items if item["sk"] != ACCOUNT]

    def delete(self, user: str, device_id: str) -> bool:
        """Stop notifying the device. Return False if the user has no such device. Raise ``Conflict``."""
        return self._remove_all(user, "sk", lambda sk: sk == DEVICE + device_id) > 0

    def revoke(self, user: str, is_ended: Callable[[str], bool]) -> int:
        """Remove the user's devices that credentials have registered which are ended, and return how many.

        Raise ``Conflict``.
        """
        return self._remove_all(user, "credential", is_ended)

    def forget(self, device: Device, before_ms: int) -> bool:
        """Remove the device, whose token is dead.

        Return False if the device has another token by now, or has registered at `before_ms` or later.
        """
        return self._remove(device, "registered_at_ms < :before", {":before": before_ms})

    def found(self, device: Device, environment: PushEnvironment) -> None:
        """Record the environment in which a push has found the device's token."""
        self._table.update(
            USER_PK + device.user,
            DEVICE + device.id,
            "SET environment = :environment",
            {":environment": environment.value, **_token(device)},
            condition=HAS_TOKEN,
        )

    def _items(self, user: str) -> Iterator[Item]:
        return self._table.query(USER_PK + user, *beginning_with(DEVICE))

    def _remove_all(self, user: str, attribute: str, is_wanted: Callable[[str], bool]) -> int:
        """Remove the user's devices of which `attribute` is wanted, and return how many."""
        count = 0
        for _ in range(TRIES):
            items = [item for item in self._items(user) if is_wanted(item[attribute])]
            unchanged = f"{attribute} = :value"
            removed = [self._remove(_device(user, item), unchanged, {":value": item[attribute]}) for item in items]
            count += sum(removed)
            if all(removed):
                return count
        raise Conflict(f"devices of {user}")

    def _remove(self, device: Device, condition: str, values: Item) -> bool:
        """Remove the device and the owner of its token, if the device has the token still and `condition` holds."""
        condition, values = f"{HAS_TOKEN} AND {condition}", {**_token(device), **values}
        return not self._table.transact(
            Delete(USER_PK + device.user, DEVICE + device.id, condition, values),
            Delete(_token_pk(device), OWNER),
            self._accounts.leave(device.user, "devices", device.id),
        )


def _kept(device: Device, before: Item | None) -> list[Write]:
    """Return the writes that keep the device and give up a token that it had, if its item is still `before`."""
    item: Item = {
        "pk": USER_PK + device.user,
        "sk": DEVICE + device.id,
        "credential": device.credential,
        "device_token": device.token,
        "platform": device.platform.value,
        "environment": device.environment.value,
        "registered_at_ms": device.registered_at_ms,
    }
    if before is None:
        return [Put(item, IF_ABSENT)]
    known = _device(device.user, before)
    if _token_pk(known) == _token_pk(device):
        environment = known.environment.value  # as a push has found it
        return [Put({**item, "environment": environment}, HAS_TOKEN, _token(known))]
    return [Put(item, HAS_TOKEN, _token(known)), Delete(_token_pk(known), OWNER)]


def _handed_over(device: Device, owner: Item | None) -> list[Write]:
    """Return the writes that take the token from `owner`, if it still has it, and give it to the device."""
    item: Item = {"pk": _token_pk(device), "sk": OWNER, "user_id": device.user, "device_id": device.id}
    if owner is None:
        return [Put(item, IF_ABSENT)]
    if (owner["user_id"], owner["device_id"]) == (device.user, device.id):
        return []
    former_pk, former_sk = USER_PK + owner["user_id"], DEVICE + owner["device_id"]
    return [Put(item), Delete(former_pk, former_sk, HAS_TOKEN, _token(device))]


def _token_pk(device: Device) -> str:
    """Return the partition of the device's token: a token may be longer than a key of DynamoDB."""
    named = f"{device.platform.value}#{device.token}"
    return PUSHTOKEN_PK + hashlib.sha256(named.encode()).hexdigest()


def _token(device: Device) -> Item:
    """Return the values of ``HAS_TOKEN``."""
    return {":token": device.token, ":platform": device.platform.value}


def _device(user: str, item: Item) -> Device:
    return Device(
        id=name_in(item["sk"]),
        user=user,
        token=item["device_token"],
        platform=Platform(item["platform"]),
        environment=PushEnvironment(item["environment"]),
        registered_at_ms=int(item["registered_at_ms"]),
        credential=item["credential"],
    )
