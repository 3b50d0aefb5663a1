import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, product
from operator import eq

import pytest

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.domain.errors import Conflict, RateLimited, Unauthorized
from chatrelay.domain.identity import Identity
from chatrelay.store.accounts import Accounts
from chatrelay.store.attribute_values import Item
from chatrelay.store.devices import Devices
from chatrelay.store.store import Store
from chatrelay.store.table import Table, Write
from chatrelay.wire.registration import Registration
from tests.builders.doubles import Clock
from tests.builders.layer import scanned

NOW_S = 1_700_000_000
NOW_MS = NOW_S * 1000
PHONE = Registration("phone", "aa" * 32, Platform.IOS)
TABLET = Registration("tablet", "cR:x", Platform.ANDROID)
RENEWED = replace(PHONE, token="bb" * 32)
AS_STORED = Device("phone", "alice", "aa" * 32, Platform.IOS, PushEnvironment.PRODUCTION, NOW_MS, "key")


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def devices(table: Table, clock: Clock) -> Devices:
    return Store.over(table, clock).devices


def test_a_device_is_kept_as_it_registered(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)

    assert devices.all("alice") == [AS_STORED]


def test_a_user_may_have_several_devices_and_others_none_of_them(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)
    devices.register(who("alice"), TABLET)

    assert [device.id for device in devices.all("alice")] == ["phone", "tablet"]
    assert devices.all("bob") == devices.all("alic") == devices.all("alice#") == []


def test_a_device_that_registers_again_is_one_device(devices: Devices, clock: Clock) -> None:
    devices.register(who("alice"), PHONE)
    clock.now_s += 60
    devices.register(who("alice"), PHONE)

    assert devices.all("alice") == [replace(AS_STORED, registered_at_ms=NOW_MS + 60_000)]


@pytest.mark.parametrize("device_id", ["x" * 128, "漢字", "🌅" * 128, "~~", "a#b", "#", "\x00", "DEVICE#phone"])
def test_a_device_may_call_itself_anything(devices: Devices, device_id: str) -> None:
    devices.register(who("alice"), replace(PHONE, device_id=device_id))

    assert [device.id for device in devices.all("alice")] == [device_id]
    assert devices.delete("alice", device_id)
    assert devices.all("alice") == []


def test_the_same_characters_are_another_token_on_another_platform(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)
    devices.register(who("bob"), replace(PHONE, platform=Platform.ANDROID))
    devices.register(who("alice"), replace(PHONE, platform=Platform.ANDROID))

    assert ([device.platform for device in devices.all("alice")], devices.all("bob")) == ([Platform.ANDROID], [])


# --- who has a token --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """A device: the user, and what the device calls itself."""

    user: str
    id: str

    @property
    def credential(self) -> str:
        """By which it registers."""
        return "key" if self.id == "phone" else "sign-in"


TOKENS = {"s": "aa" * 32, "t": "bb" * 32}
NAMES = [Name(*each) for each in product(("alice", "bob"), ("phone", "tablet"))]
Owners = frozenset[tuple[str, Name]]
"""Who is the last to have registered each token: all that the relay has to know."""
NOBODY: Owners = frozenset()


@dataclass(frozen=True)
class Register:
    name: Name
    token: str

    def after(self, owners: Owners) -> Owners:
        """Nobody but the device and the token's owner loses anything."""
        others = {each for each in owners if each[0] != self.token and each[1] != self.name}
        return frozenset(others | {(self.token, self.name)})

    def happen(self, devices: Devices) -> None:
        registration = Registration(self.name.id, TOKENS[self.token], Platform.IOS)
        devices.register(who(self.name.user, self.name.credential), registration)


@dataclass(frozen=True)
class Unregister:
    name: Name

    def after(self, owners: Owners) -> Owners:
        return frozenset(each for each in owners if each[1] != self.name)

    def happen(self, devices: Devices) -> None:
        devices.delete(self.name.user, self.name.id)


@dataclass(frozen=True)
class Forget:
    """A push to the device has found that the token is dead."""

    name: Name
    token: str

    def after(self, owners: Owners) -> Owners:
        return owners - {(self.token, self.name)}

    def happen(self, devices: Devices) -> None:
        device = replace(AS_STORED, id=self.name.id, user=self.name.user, token=TOKENS[self.token])
        devices.forget(device, NOW_MS + 1)


@dataclass(frozen=True)
class Revoke:
    user: str
    credential: str

    def after(self, owners: Owners) -> Owners:
        return frozenset(each for each in owners if (each[1].user, each[1].credential) != (self.user, self.credential))

    def happen(self, devices: Devices) -> None:
        devices.revoke(self.user, partial(eq, self.credential))


Event = Register | Unregister | Forget | Revoke
EVENTS: list[Event] = [
    *(Register(name, token) for name, token in product(NAMES, TOKENS)),
    *(Unregister(name) for name in NAMES),
    *(Forget(name, token) for name, token in product(NAMES, TOKENS)),
    *(Revoke(user, credential) for user, credential in product(("alice", "bob"), ("key", "sign-in"))),
]


def is_tried(owners: Owners) -> bool:
    """Whether nobody has a token, or alice has s: any other state is one of these by other names."""
    return not owners or any(token == "s" and name.user == "alice" for token, name in owners)


def route(start: Owners, untried: dict[Owners, set[Event]]) -> list[Event]:
    """The shortest way to an event that has not happened in such a state; empty if all have."""
    waiting: deque[tuple[Owners, list[Event]]] = deque([(start, [])])
    seen = {start}
    while waiting:
        owners, events = waiting.popleft()
        for event in EVENTS:
            after = event.after(owners)
            if is_tried(owners) and event in untried.setdefault(owners, set(EVENTS)):
                return [*events, event]
            if after not in seen:
                seen.add(after)
                waiting.append((after, [*events, event]))
    return []


def stored(owners: Owners) -> list[Item]:
    """All that the table has then."""
    items: list[Item] = []
    for token, name in owners:
        digest = hashlib.sha256(f"ios#{TOKENS[token]}".encode()).hexdigest()
        items.append({"pk": f"PUSHTOKEN#{digest}", "sk": "OWNER", "user_id": name.user, "device_id": name.id})
        device = {"credential": name.credential, "device_token": TOKENS[token], "platform": "ios"}
        at = {"environment": "production", "registered_at_ms": NOW_MS}
        items.append({"pk": f"USER#{name.user}", "sk": f"DEVICE#{name.id}", **device, **at})
    return in_order(items)


def who(user: str, credential: str = "key") -> Identity:
    return Identity(user, credential, 1)


def told(table: Table) -> list[Item]:
    """What the table has but for the users themselves."""
    return [item for item in scanned(table) if item["sk"] not in ("ACCOUNT", "PROFILE")]


def in_order(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: (item["pk"], item["sk"]))


def test_whatever_happens_in_whatever_order_a_token_is_the_last_ones_who_registered_it(
    devices: Devices, table: Table
) -> None:
    """Two users, two devices each, two tokens: a walk on which every event happens in every state.

    After each event the table has exactly what the state says. So no more of the past can decide what happens next, and
    these are all orders, however long.
    """
    owners, untried = NOBODY, dict[Owners, set[Event]]()
    while events := route(owners, untried):
        for event in events:
            untried.get(owners, set()).discard(event)
            owners = event.after(owners)
            event.happen(devices)
            assert in_order(told(table)) == stored(owners), event
    assert len(untried) == 1 + 2 + 2 * 3  # neither token has an owner, one has, both have


# --- at the same time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Overtaken(Table):
    """Before each of its transactions, the next of `rivals` happens."""

    rivals: Iterator[Callable[[], object]]

    def transact(self, *writes: Write) -> list[Write]:
        next(self.rivals, lambda: None)()
        return super().transact(*writes)


def overtaken(devices: Devices, table: Table, rivals: Iterable[Event]) -> Devices:
    happening = (partial(rival.happen, devices) for rival in rivals)
    return Store.over(Overtaken(table.client, table.name, happening), Clock(NOW_S)).devices


ALICES, BOBS = Name("alice", "phone"), Name("bob", "phone")


@pytest.mark.parametrize(
    ("event", "rival"),
    [
        (Register(ALICES, "s"), Forget(ALICES, "s")),
        (Register(ALICES, "s"), Register(ALICES, "t")),
        (Register(ALICES, "s"), Register(BOBS, "s")),
        (Register(ALICES, "t"), Register(ALICES, "t")),
        (Register(ALICES, "t"), Register(BOBS, "s")),
        (Register(ALICES, "t"), Register(BOBS, "t")),
        (Register(BOBS, "s"), Unregister(ALICES)),
        (Register(BOBS, "s"), Register(ALICES, "t")),
        (Register(BOBS, "s"), Register(BOBS, "t")),
        (Unregister(ALICES), Register(ALICES, "t")),
        (Unregister(ALICES), Register(BOBS, "s")),
        (Forget(ALICES, "s"), Register(ALICES, "t")),
        (Forget(ALICES, "s"), Register(BOBS, "s")),
        (Revoke("alice", "key"), Register(ALICES, "t")),
        (Revoke("alice", "key"), Register(BOBS, "s")),
    ],
    ids=repr,
)
def test_what_is_overtaken_happens_after_its_rival(devices: Devices, table: Table, event: Event, rival: Event) -> None:
    Register(ALICES, "s").happen(devices)

    event.happen(overtaken(devices, table, [rival]))

    assert in_order(told(table)) == stored(event.after(rival.after(frozenset({("s", ALICES)}))))


@pytest.mark.parametrize(
    ("event", "rivals"),
    [
        (Register(ALICES, "s"), [Register(BOBS, "s"), Unregister(BOBS)]),
        (Unregister(ALICES), [Register(ALICES, "t"), Register(ALICES, "s")]),
    ],
    ids=["register", "unregister"],
)
def test_who_is_overtaken_every_time_gives_up(
    devices: Devices, table: Table, event: Event, rivals: list[Event]
) -> None:
    Register(ALICES, "s").happen(devices)

    with pytest.raises(Conflict):
        event.happen(overtaken(devices, table, cycle(rivals)))


def test_of_users_who_register_one_token_at_once_one_has_it(devices: Devices, table: Table) -> None:
    users = [who("alice"), who("bob")] * 3
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(devices.register, users, [PHONE] * 6))

    assert in_order(told(table)) in [stored(frozenset({("s", name)})) for name in (ALICES, BOBS)]


# --- how many ---------------------------------------------------------------------------------------------------------


def test_a_user_has_as_many_devices_as_the_limit_says_and_those_may_register_again(devices: Devices) -> None:
    devices.register(who("alice"), PHONE, 1)
    devices.register(who("alice"), replace(PHONE, token="cc" * 32), 1)

    with pytest.raises(RateLimited, match="1 devices"):
        devices.register(who("alice"), TABLET, 1)

    assert [device.id for device in devices.all("alice")] == ["phone"]


def test_who_may_have_no_device_has_none(devices: Devices) -> None:
    with pytest.raises(RateLimited, match="no device"):
        devices.register(who("alice"), PHONE, 0)


def test_a_device_that_has_gone_however_it_went_makes_room(devices: Devices) -> None:
    devices.register(who("alice"), PHONE, 1)
    devices.register(who("bob"), PHONE, 1)  # it is bob's phone now

    devices.register(who("alice"), TABLET, 1)

    assert [device.id for device in devices.all("alice")] == ["tablet"]


def test_who_is_blocked_registers_nothing_and_is_reached_nowhere(devices: Devices, table: Table) -> None:
    devices.register(who("alice"), PHONE)
    Accounts(table).block("alice")

    with pytest.raises(Unauthorized):
        devices.register(who("alice"), TABLET)
    assert devices.reachable("alice") == []

    Accounts(table).unblock("alice")
    assert devices.reachable("alice") == devices.all("alice") == [AS_STORED]


# --- no more ----------------------------------------------------------------------------------------------------------


def test_only_a_device_that_there_is_can_be_deleted(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)

    assert [devices.delete("bob", "phone"), devices.delete("alice", "tablet")] == [False, False]
    assert [devices.delete("alice", "phone"), devices.delete("alice", "phone")] == [True, False]


def test_a_credential_that_is_revoked_takes_its_devices_with_it_and_no_other(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)
    devices.register(who("alice"), replace(TABLET, device_id="robot"))
    devices.register(who("alice", "sign-in"), replace(PHONE, device_id="laptop", token="cc" * 32))
    devices.register(who("bob"), replace(PHONE, token="dd" * 32))

    assert [devices.revoke("alice", partial(eq, "key")), devices.revoke("alice", partial(eq, "key"))] == [2, 0]
    assert [device.id for user in ("alice", "bob") for device in devices.all(user)] == ["laptop", "phone"]


def test_a_device_that_registers_by_another_credential_outlives_the_first(devices: Devices, table: Table) -> None:
    again = partial(devices.register, who("alice", "sign-in"), PHONE)
    devices.register(who("alice"), PHONE)

    assert (
        Store.over(Overtaken(table.client, table.name, iter([again]))).devices.revoke("alice", partial(eq, "key")) == 0
    )
    assert devices.all("alice") == [replace(AS_STORED, credential="sign-in")]


def test_a_device_whose_token_is_dead_is_forgotten_once(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)

    assert [devices.forget(AS_STORED, NOW_MS + 1), devices.forget(AS_STORED, NOW_MS + 1)] == [True, False]
    assert devices.all("alice") == []


def test_a_device_that_has_registered_since_its_token_died_is_kept(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)

    assert not devices.forget(AS_STORED, NOW_MS)
    assert devices.all("alice") == [AS_STORED]


# --- the environment --------------------------------------------------------------------------------------------------


def test_the_environment_that_was_found_out_is_kept_as_long_as_the_token(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)

    devices.found(AS_STORED, PushEnvironment.SANDBOX)
    devices.register(who("alice"), PHONE)
    assert devices.all("alice") == [replace(AS_STORED, environment=PushEnvironment.SANDBOX)]

    devices.register(who("alice"), RENEWED)
    assert devices.all("alice") == [replace(AS_STORED, token=RENEWED.token)]


def test_the_environment_of_a_token_says_nothing_of_the_next_one(devices: Devices) -> None:
    devices.register(who("alice"), RENEWED)

    devices.found(AS_STORED, PushEnvironment.SANDBOX)

    assert [device.environment for device in devices.all("alice")] == [PushEnvironment.PRODUCTION]


def test_finding_out_brings_no_device_back(devices: Devices) -> None:
    devices.register(who("alice"), PHONE)
    devices.forget(AS_STORED, NOW_MS + 1)

    devices.found(AS_STORED, PushEnvironment.SANDBOX)

    assert devices.all("alice") == []
