"""What the bench shows of the hot path, held: in virtual time, so the figures are the same everywhere."""

from collections.abc import Callable

import pytest

from tests.bench.hot_path import RATES, Delta, bursty, even, one_post_a_delta, ours, ran

POST_S = 0.020
WINDOW_S = 0.040
TICK_S = 1e-6


@pytest.mark.parametrize("shape", [even, bursty])
@pytest.mark.parametrize("rate", RATES)
def test_no_character_is_later_than_two_posts_and_the_window_and_posts_are_few(
    shape: Callable[[int, float], list[Delta]], rate: int
) -> None:
    run = ran(ours, shape(rate, 3.0), POST_S)

    assert max(run.lags_s) <= 2 * POST_S + WINDOW_S + TICK_S
    assert run.posts_a_second <= 1 / WINDOW_S + TICK_S
    assert run.last_lag_s <= 2 * POST_S + TICK_S


def test_one_post_a_delta_falls_behind_and_we_do_not() -> None:
    deltas = even(200, 3.0)

    assert ran(one_post_a_delta, deltas, POST_S).last_lag_s >= 20 * ran(ours, deltas, POST_S).last_lag_s
