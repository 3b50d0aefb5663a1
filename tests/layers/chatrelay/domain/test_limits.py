from datetime import UTC, datetime

import pytest

from chatrelay.domain.errors import QuotaExceeded
from chatrelay.domain.limits import NAMES, Limits, amount, left_s, said
from chatrelay.domain.usage import Spent

NOON = datetime(2026, 12, 31, 12, 0, 30, tzinfo=UTC).timestamp()
HALF_A_DAY_S = 12 * 3600 - 30


def test_limits_are_read_as_the_template_writes_them() -> None:
    limits = Limits.parse("messages_per_minute=20 dollars_per_day=2.50\n tokens_per_day= devices=none sockets=0")

    assert limits == Limits(messages_per_minute=20, dollars_per_day=2_500_000, sockets=0)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("messages", "1", "messages: there is no such limit; there are messages_per_minute"),
        ("devices", "-1", "devices: must be a number from 0 on, or `none`; is '-1'"),
        ("devices", "1.5", "devices: must be"),
        ("devices", "1e400", "devices: must be"),
        ("devices", "NaN", "devices: must be"),
        ("devices", "many", "devices: must be"),
        ("dollars_per_day", "0.0000001", "dollars_per_day: must be"),
        ("dollars_per_day", "Infinity", "dollars_per_day: must be"),
    ],
)
def test_what_is_no_limit_is_named(name: str, text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem.replace("(", r"\(")):
        amount(name, text)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["none", "0", "1", "999999999"])
def test_what_is_said_is_what_is_read(name: str, text: str) -> None:
    assert said(name, amount(name, text)) == text


@pytest.mark.parametrize(
    ("limits", "today", "this_month", "wait_s"),
    [
        (Limits(), Spent(10**12, 10**12), Spent(10**12, 10**12), 0),
        (Limits(tokens_per_day=100), Spent(99), Spent(10**9), 0),
        (Limits(tokens_per_day=100), Spent(100), Spent(100), HALF_A_DAY_S),
        (Limits(dollars_per_day=5), Spent(cost=5), Spent(), HALF_A_DAY_S),
        (Limits(tokens_per_month=100), Spent(), Spent(101), HALF_A_DAY_S),
        (Limits(dollars_per_month=1), Spent(), Spent(cost=1), HALF_A_DAY_S),
        (Limits(tokens_per_day=0), Spent(), Spent(), None),
        (Limits(dollars_per_month=0), Spent(), Spent(), None),
        (Limits(messages_per_minute=0), Spent(), Spent(), None),
        (Limits(replies_at_once=0), Spent(), Spent(), None),
    ],
)
def test_a_day_or_a_month_that_is_used_up_says_when_the_next_begins(
    limits: Limits, today: Spent, this_month: Spent, wait_s: int | None
) -> None:
    problem = limits.quota(today, this_month, NOON)

    if wait_s == 0:
        assert problem is None
    else:
        assert isinstance(problem, QuotaExceeded)
        assert problem.retry_after_s == wait_s


def test_who_has_used_up_day_and_month_waits_for_the_month() -> None:
    now_s = datetime(2026, 11, 2, 23, 59, 59, tzinfo=UTC).timestamp()

    problem = Limits(tokens_per_day=1, dollars_per_month=2).quota(Spent(tokens=1), Spent(cost=2), now_s)

    assert problem is not None
    assert problem.retry_after_s == 28 * 24 * 3600 + 1


@pytest.mark.parametrize(("period", "left"), [("minute", 30), ("day", HALF_A_DAY_S), ("month", HALF_A_DAY_S)])
def test_every_period_begins_anew_within_itself(period: str, left: int) -> None:
    assert left_s(period, NOON) == left
    assert left_s(period, NOON + left - 0.001) == 1
    assert left_s(period, NOON + left) > 1
