from concurrent.futures import ThreadPoolExecutor

import pytest

from chatrelay.store.pushes import Claim, Pushes
from chatrelay.store.table import Table
from tests.builders.doubles import Clock

NOW_S = 1_700_000_000
DAY_S = 24 * 60 * 60


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW_S)


@pytest.fixture
def pushes(table: Table, clock: Clock) -> Pushes:
    return Pushes(table, clock)


def test_a_push_is_the_first_callers_alone(pushes: Pushes) -> None:
    assert [pushes.claim("r", "phone", 60) for _ in range(3)] == [Claim.OURS, Claim.ANOTHERS, Claim.ANOTHERS]


def test_pushes_of_other_replies_and_devices_are_other_pushes(pushes: Pushes) -> None:
    pushes.claim("r", "phone", 60)

    assert [pushes.claim("r", "tablet", 60), pushes.claim("s", "phone", 60)] == [Claim.OURS, Claim.OURS]


def test_of_callers_that_race_one_has_it(pushes: Pushes) -> None:
    with ThreadPoolExecutor(10) as pool:
        claims = list(pool.map(lambda _: pushes.claim("r", "phone", 60), range(10)))

    assert (claims.count(Claim.OURS), claims.count(Claim.ANOTHERS)) == (1, 9)


def test_a_claim_whose_owner_died_runs_out(pushes: Pushes, clock: Clock) -> None:
    pushes.claim("r", "phone", 60)

    clock.now_s += 60
    assert pushes.claim("r", "phone", 60) is Claim.ANOTHERS
    clock.now_s += 0.001
    assert pushes.claim("r", "phone", 60) is Claim.OURS
    clock.now_s += 60
    assert pushes.claim("r", "phone", 60) is Claim.ANOTHERS


def test_a_push_that_is_finished_is_nobodys_any_more(pushes: Pushes, clock: Clock) -> None:
    pushes.claim("r", "phone", 60)
    pushes.finish("r", "phone")

    assert pushes.claim("r", "phone", 60) is Claim.FINISHED
    clock.now_s += DAY_S
    assert pushes.claim("r", "phone", 60) is Claim.FINISHED


def test_a_push_is_known_for_days_and_then_expires(pushes: Pushes, table: Table) -> None:
    pushes.claim("r", "phone", 60)
    pushes.finish("r", "phone")

    item = table.get("PUSHED#r", "DEVICE#phone") or {}
    assert NOW_S + 2 * DAY_S < item["expires_at"] < NOW_S + 30 * DAY_S
