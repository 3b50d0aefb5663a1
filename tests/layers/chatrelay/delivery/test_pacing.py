import pytest

from chatrelay.delivery.pacing import WIDEST_S, Window
from chatrelay.wire.dialect import Pacing
from chatrelay.wire.dialects import BUILDEROS, VERSION_1


def test_the_first_post_may_start_at_once() -> None:
    assert Window(VERSION_1.pacing).opens_at_s(ending=False) == float("-inf")


def test_the_relay_leaves_40_ms_between_the_starts_of_posts() -> None:
    window = Window(VERSION_1.pacing)
    window.posted(10.0, 10.020)

    assert window.opens_at_s(ending=False) == pytest.approx(10.040)


def test_a_slow_post_is_followed_at_once() -> None:
    window = Window(VERSION_1.pacing)
    window.posted(10.0, 10.300)

    assert window.opens_at_s(ending=False) == pytest.approx(10.300)


def test_the_relay_does_not_hold_back_the_end_of_a_reply() -> None:
    window = Window(VERSION_1.pacing)
    window.posted(10.0, 10.020)

    assert window.opens_at_s(ending=True) == pytest.approx(10.020)


@pytest.mark.parametrize("ending", [False, True], ids=["in the middle", "at the end"])
def test_the_builderos_app_has_150_ms_of_quiet_after_every_frame(ending: bool) -> None:
    window = Window(BUILDEROS.pacing)
    window.posted(10.0, 10.020)

    assert window.opens_at_s(ending=ending) == pytest.approx(10.170)


def test_throttling_widens_the_window_twofold_up_to_a_limit() -> None:
    window = Window(Pacing(min_interval_s=0.040, quiet_s=0.0))
    opened = []
    for _ in range(8):
        window.throttled(100.0)
        opened.append(window.opens_at_s(ending=False) - 100.0)

    assert opened == pytest.approx([0.040, 0.080, 0.160, 0.320, 0.640, 1.280, WIDEST_S, WIDEST_S])


def test_throttling_holds_back_the_end_of_a_reply_too() -> None:
    window = Window(VERSION_1.pacing)
    window.throttled(10.0)

    assert window.opens_at_s(ending=True) == pytest.approx(10.040)


def test_every_delivered_post_narrows_the_window_again() -> None:
    window = Window(VERSION_1.pacing)
    window.throttled(10.0)
    window.throttled(10.0)
    opened = []
    for _ in range(3):
        window.posted(20.0, 20.0)
        opened.append(window.opens_at_s(ending=True) - 20.0)

    assert opened == pytest.approx([0.072, 0.0648, 0.05832])
