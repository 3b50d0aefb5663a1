import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise

import pytest

from chatrelay.domain.devices import Device, Platform, PushEnvironment
from chatrelay.domain.errors import PushesPending, Upstream
from chatrelay.push.notifier import Notifier, NotServed, Outcome, PushedBefore
from chatrelay.push.service import Dead, Delivered, Later, Misconfigured, Notification, Rejected, Verdict
from chatrelay.store.devices import Devices
from chatrelay.store.pushes import Claim, Pushes
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire.registration import Registration
from tests.builders.doubles import Clock
from tests.builders.layer import by_key

NOW_S = 1_700_000_000.0
LONG_AFTER_MS = 4_000_000_000_000
HELLO = Notification("31ce", "c1", "claude", "Good morning")
DELIVERED = Delivered(PushEnvironment.PRODUCTION)
PHONE = Registration("phone", "aa" * 32, Platform.IOS)
TABLET = Registration("tablet", "bb" * 32, Platform.IOS)
ROBOT = Registration("robot", "cR:x", Platform.ANDROID)
BUDGET_S = 30.0


class Phones:
    """A service that gives each device its verdicts in turn, then delivers for ever. A verdict may be an action."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Notification]] = []
        self.verdicts: dict[str, list[Verdict | Callable[[], Awaitable[Verdict]]]] = defaultdict(list)

    async def send(self, device: Device, notification: Notification) -> Verdict:
        self.shown.append((device.id, notification))
        verdicts = self.verdicts[device.id]
        verdict = verdicts.pop(0) if verdicts else Delivered(device.environment)
        return await verdict() if callable(verdict) else verdict

    @property
    def told(self) -> list[str]:
        return sorted(device for device, _ in self.shown)


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def devices(table: Table) -> Devices:
    return Store.over(table).devices


@pytest.fixture
def pushes(table: Table, clock: Clock) -> Pushes:
    return Pushes(table, clock)


@pytest.fixture
def phones() -> Phones:
    return Phones()


@pytest.fixture
def notifier(devices: Devices, pushes: Pushes, phones: Phones) -> Notifier:
    services = {Platform.IOS: phones, Platform.ANDROID: phones}
    return Notifier(devices, pushes, services, previews=True, first_pause_s=0.01)


async def test_every_device_of_the_user_is_told_once(notifier: Notifier, devices: Devices, phones: Phones) -> None:
    for registration in (PHONE, TABLET, ROBOT):
        devices.register(by_key("alice"), registration)
    devices.register(by_key("bob"), replace(PHONE, device_id="bobs", token="dd" * 32))

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert phones.told == ["phone", "robot", "tablet"]
    assert [shown for _, shown in phones.shown] == [HELLO] * 3
    assert outcome == Outcome({"phone": DELIVERED, "robot": DELIVERED, "tablet": DELIVERED})
    outcome.raise_for_pending()


async def test_a_device_that_acknowledged_the_end_is_not_told(
    notifier: Notifier, devices: Devices, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), TABLET)

    await notifier.notify("alice", HELLO, {"phone", "somebody"}, BUDGET_S)

    assert phones.told == ["tablet"]


async def test_a_user_without_devices_is_no_trouble(notifier: Notifier) -> None:
    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert outcome == Outcome({})
    outcome.raise_for_pending()


async def test_without_previews_no_word_leaves_the_relay(devices: Devices, pushes: Pushes, phones: Phones) -> None:
    devices.register(by_key("alice"), PHONE)
    notifier = Notifier(devices, pushes, {Platform.IOS: phones}, previews=False)

    await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert phones.shown == [("phone", replace(HELLO, text=""))]


async def test_devices_are_told_at_the_same_time(notifier: Notifier, devices: Devices, phones: Phones) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), TABLET)
    meeting = asyncio.Barrier(2)

    async def wait_for_the_other() -> Verdict:
        await meeting.wait()
        return DELIVERED

    phones.verdicts = defaultdict(list, {"phone": [wait_for_the_other], "tablet": [wait_for_the_other]})

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert outcome.of(Delivered) == [DELIVERED, DELIVERED]


# --- once -------------------------------------------------------------------------------------------------------------


async def test_a_reply_that_is_told_again_is_told_nobody_twice(
    notifier: Notifier, devices: Devices, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    await notifier.notify("alice", HELLO, (), BUDGET_S)
    devices.register(by_key("alice"), TABLET)

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)
    await notifier.notify("alice", replace(HELLO, reply="next"), {"tablet"}, BUDGET_S)

    assert phones.told == ["phone", "phone", "tablet"]
    assert outcome == Outcome({"phone": PushedBefore(), "tablet": DELIVERED})


async def test_calls_that_race_tell_once(notifier: Notifier, devices: Devices, phones: Phones) -> None:
    devices.register(by_key("alice"), PHONE)

    outcomes = await asyncio.gather(*(notifier.notify("alice", HELLO, (), BUDGET_S) for _ in range(5)))

    assert phones.told == ["phone"]
    assert sum(len(outcome.of(Delivered)) for outcome in outcomes) == 1
    assert sum(len(outcome.of(PushedBefore)) for outcome in outcomes) == 4


async def test_a_push_that_another_call_is_at_is_owed(
    notifier: Notifier, devices: Devices, pushes: Pushes, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    pushes.claim("31ce", "phone", 60)

    outcome = await notifier.notify("alice", HELLO, (), budget_s=0.2)

    assert phones.told == []
    with pytest.raises(PushesPending, match="another call"):
        outcome.raise_for_pending()


async def test_a_push_whose_worker_died_in_the_middle_is_sent_by_the_next(
    notifier: Notifier, devices: Devices, phones: Phones, clock: Clock
) -> None:
    devices.register(by_key("alice"), PHONE)
    reached = asyncio.Event()

    async def never() -> Verdict:
        reached.set()
        await asyncio.Event().wait()
        return DELIVERED

    phones.verdicts["phone"] = [never]
    dying = asyncio.create_task(notifier.notify("alice", HELLO, (), BUDGET_S))
    await reached.wait()
    dying.cancel()
    await asyncio.wait({dying})

    clock.now_s += BUDGET_S + 6
    assert await notifier.notify("alice", HELLO, (), BUDGET_S) == Outcome({"phone": DELIVERED})


async def test_a_claim_lasts_as_long_as_its_push_may_take(
    notifier: Notifier, devices: Devices, pushes: Pushes, phones: Phones, clock: Clock
) -> None:
    devices.register(by_key("alice"), PHONE)
    claims: list[Claim] = []

    async def meanwhile() -> Verdict:
        clock.now_s += BUDGET_S
        claims.append(pushes.claim("31ce", "phone", 1))
        return DELIVERED

    phones.verdicts["phone"] = [meanwhile]
    await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert claims == [Claim.ANOTHERS]


# --- again ------------------------------------------------------------------------------------------------------------


async def test_a_push_that_fails_for_now_is_tried_again(notifier: Notifier, devices: Devices, phones: Phones) -> None:
    devices.register(by_key("alice"), PHONE)
    phones.verdicts["phone"] = [Later("Shutdown"), Later("ReadTimeout"), Later("TooManyRequests", 0.02)]

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert outcome == Outcome({"phone": DELIVERED})
    assert phones.told == ["phone"] * 4


async def test_the_pauses_grow_and_are_as_long_as_the_service_asks(
    devices: Devices, pushes: Pushes, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    times_s: list[float] = []

    def noted(verdict: Verdict) -> Callable[[], Awaitable[Verdict]]:
        async def send() -> Verdict:
            times_s.append(asyncio.get_running_loop().time())
            return verdict

        return send

    answers: list[Verdict] = [Later("1"), Later("2"), Later("3", 0.5), DELIVERED]
    phones.verdicts["phone"] = [noted(answer) for answer in answers]
    notifier = Notifier(devices, pushes, {Platform.IOS: phones}, previews=True, first_pause_s=0.1)
    await notifier.notify("alice", HELLO, (), BUDGET_S)

    pauses_s = [later - earlier for earlier, later in pairwise(times_s)]
    assert [pause_s >= least_s for pause_s, least_s in zip(pauses_s, (0.1, 0.2, 0.5), strict=True)] == [True] * 3


async def test_a_wait_that_is_longer_than_the_budget_is_owed_at_once(
    notifier: Notifier, devices: Devices, phones: Phones, clock: Clock
) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), TABLET)
    phones.verdicts["phone"] = [Later("QUOTA_EXCEEDED", 3600)]

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert outcome == Outcome({"phone": Later("QUOTA_EXCEEDED", 3600), "tablet": DELIVERED})
    with pytest.raises(PushesPending, match="QUOTA_EXCEEDED"):
        outcome.raise_for_pending()
    clock.now_s += 60  # when Lambda tries again
    assert await notifier.notify("alice", HELLO, (), BUDGET_S) == Outcome(
        {"phone": DELIVERED, "tablet": PushedBefore()}
    )


async def test_a_service_that_never_answers_is_given_up_in_time(
    notifier: Notifier, devices: Devices, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)

    async def never() -> Verdict:
        await asyncio.Event().wait()
        return DELIVERED

    phones.verdicts["phone"] = [never]

    assert await notifier.notify("alice", HELLO, (), budget_s=0.2) == Outcome({"phone": Later("no time left")})


async def test_a_secret_that_cannot_be_read_fails_the_call_when_all_others_are_told(
    notifier: Notifier, devices: Devices, phones: Phones, clock: Clock
) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), TABLET)

    async def unreadable() -> Verdict:
        raise Upstream("The key cannot be read.")

    async def slow() -> Verdict:
        await asyncio.sleep(0.1)
        return DELIVERED

    phones.verdicts = defaultdict(list, {"phone": [unreadable], "tablet": [slow]})

    with pytest.raises(Upstream):
        await notifier.notify("alice", HELLO, (), BUDGET_S)
    clock.now_s += 60
    assert await notifier.notify("alice", HELLO, (), BUDGET_S) == Outcome(
        {"phone": DELIVERED, "tablet": PushedBefore()}
    )


# --- what a verdict does ----------------------------------------------------------------------------------------------


async def test_a_device_whose_token_is_dead_is_forgotten(notifier: Notifier, devices: Devices, phones: Phones) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), TABLET)
    phones.verdicts["phone"] = [Dead(LONG_AFTER_MS)]

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert [device.id for device in devices.all("alice")] == ["tablet"]
    assert len(outcome.of(Dead)) == 1
    outcome.raise_for_pending()


async def test_a_device_that_registers_while_its_old_token_dies_is_kept(
    notifier: Notifier, devices: Devices, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)

    async def renewed() -> Verdict:
        devices.register(by_key("alice"), replace(PHONE, token="dd" * 32))
        return Dead(LONG_AFTER_MS)

    phones.verdicts["phone"] = [renewed]
    await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert [device.token for device in devices.all("alice")] == ["dd" * 32]


async def test_a_token_that_died_before_the_device_registered_with_it_is_kept(
    notifier: Notifier, devices: Devices, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    phones.verdicts["phone"] = [Dead(1_600_000_000_000)]

    await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert [device.id for device in devices.all("alice")] == ["phone"]


async def test_the_environment_in_which_a_device_was_reached_is_kept(
    notifier: Notifier, devices: Devices, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    phones.verdicts["phone"] = [Delivered(PushEnvironment.SANDBOX)]

    await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert [device.environment for device in devices.all("alice")] == [PushEnvironment.SANDBOX]


@pytest.mark.parametrize("verdict", [Misconfigured("BadTopic"), Rejected("BadCollapseId")], ids=["ours", "our bug"])
async def test_what_is_our_fault_is_told_and_not_tried_again_and_the_device_is_kept(
    notifier: Notifier, devices: Devices, phones: Phones, verdict: Misconfigured | Rejected
) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), TABLET)
    phones.verdicts["phone"] = [verdict]

    outcome = await notifier.notify("alice", HELLO, (), BUDGET_S)
    again = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert ([wrong.reason for wrong in outcome.of(type(verdict))], outcome.of(Delivered)) == (
        [verdict.reason],
        [DELIVERED],
    )
    assert again.of(PushedBefore) == [PushedBefore()] * 2
    assert [device.id for device in devices.all("alice")] == ["phone", "tablet"]
    outcome.raise_for_pending()


async def test_a_platform_that_is_not_set_up_is_nobodys_fault_and_may_be_set_up_later(
    notifier: Notifier, devices: Devices, pushes: Pushes, phones: Phones
) -> None:
    devices.register(by_key("alice"), PHONE)
    devices.register(by_key("alice"), ROBOT)
    for_iphones = Notifier(devices, pushes, {Platform.IOS: phones}, previews=True)

    outcome = await for_iphones.notify("alice", HELLO, (), BUDGET_S)
    later = await notifier.notify("alice", HELLO, (), BUDGET_S)

    assert outcome == Outcome({"phone": DELIVERED, "robot": NotServed(Platform.ANDROID)})
    outcome.raise_for_pending()
    assert later == Outcome({"phone": PushedBefore(), "robot": DELIVERED})
