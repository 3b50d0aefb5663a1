import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.delivery.pacing import WIDEST_S, Cursor, Piece, Window
from chatrelay.wire.dialect import Pacing
from chatrelay.wire.dialects import BUILDEROS, VERSION_1

AWKWARD = st.text(st.sampled_from('aé漢😀👩\u200d\u0301"\\\n\x00\u2028'))


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


def test_a_piece_says_where_it_begins_in_utf16() -> None:
    cursor = Cursor()
    cursor.advance(cursor.next_piece("a😀漢", 5))

    assert cursor.next_piece("a😀漢字", 100) == Piece("漢字", 3)


def test_a_piece_that_did_not_arrive_is_taken_anew_with_what_has_gathered() -> None:
    cursor = Cursor()

    assert [cursor.next_piece("he", 100), cursor.next_piece("hello", 100)] == [Piece("he", 0), Piece("hello", 0)]


def test_nothing_is_next_when_all_is_sent() -> None:
    cursor = Cursor()
    cursor.advance(cursor.next_piece("all", 100))

    assert cursor.next_piece("all", 100) == Piece("", 3)


@given(AWKWARD, st.integers(min_value=6, max_value=64))
def test_pieces_put_together_by_offset_are_the_text(text: str, room_bytes: int) -> None:
    cursor, units = Cursor(), b""
    while (piece := cursor.next_piece(text, room_bytes)).content:
        assert piece.offset == len(units) // 2
        units += piece.content.encode("utf-16-le")
        cursor.advance(piece)

    assert units.decode("utf-16-le") == text
