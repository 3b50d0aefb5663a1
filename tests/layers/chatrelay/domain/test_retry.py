from collections.abc import Callable

import pytest

from chatrelay.domain.errors import Conflict, Gone, NotDelivered, PostError, Throttled, Unavailable
from chatrelay.domain.retry import retry


def failing(*failures: Exception) -> Callable[[], str]:
    """A call that fails in these ways, one after another, and then succeeds."""
    left = iter(failures)

    def call() -> str:
        for failure in left:
            raise failure
        return "done"

    return call


def test_a_call_that_succeeds_is_made_once() -> None:
    pauses: list[float] = []

    assert retry(failing(), (1.0, 2.0), on=Unavailable, sleep=pauses.append) == "done"

    assert pauses == []


def test_a_failure_that_may_pass_is_followed_by_the_next_pause_and_another_call() -> None:
    pauses: list[float] = []

    assert retry(failing(Unavailable(), Conflict()), (1.0, 2.0, 3.0), on=Unavailable, sleep=pauses.append) == "done"

    assert pauses == [1.0, 2.0]


def test_the_last_failure_goes_out_when_no_pause_is_left() -> None:
    pauses: list[float] = []
    failures = [Throttled(), NotDelivered("first"), NotDelivered("last")]

    with pytest.raises(NotDelivered, match="last"):
        retry(failing(*failures), (1.0, 2.0), on=(Throttled, NotDelivered), sleep=pauses.append)

    assert pauses == [1.0, 2.0]


def test_any_other_failure_goes_out_at_once() -> None:
    pauses: list[float] = []
    failures: list[PostError] = [Throttled(), Gone(), Throttled()]

    with pytest.raises(Gone):
        retry(failing(*failures), (1.0, 2.0, 3.0), on=Throttled, sleep=pauses.append)

    assert pauses == [1.0]
