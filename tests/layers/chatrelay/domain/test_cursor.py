import json

from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain.cursor import Cursor, Stretch
from chatrelay.domain.log import Log, Part, Piece
from tests.builders.written import log_in, log_of_texts, text, thought, whole

AWKWARD = st.text(st.sampled_from('aé漢😀👩\u200d\u0301"\\\n\x00\u2028'))


def test_a_stretch_says_where_it_begins_in_utf16() -> None:
    log, cursor = log_of_texts("a😀漢字"), Cursor()
    cursor.advance(Stretch(0, log.parts[0], 0, "a😀"))

    assert cursor.next_stretch(log, lambda *_: 100) == Stretch(0, log.parts[0], 3, "漢字")


def test_what_did_not_arrive_is_taken_anew_with_what_has_gathered() -> None:
    log, cursor = log_of_texts("he"), Cursor()
    first = cursor.next_stretch(log, lambda *_: 100)
    log.append(text("llo"))

    assert first is not None
    assert first.content == "he"
    assert cursor.next_stretch(log, lambda *_: 100) == Stretch(0, log.parts[0], 0, "hello")


def test_nothing_is_next_when_all_is_read_and_what_comes_later_is() -> None:
    log, cursor = log_of_texts("all"), Cursor()
    assert [each.content for each in cursor.take(log, 10_000)] == ["all"]
    assert cursor.next_stretch(log, lambda *_: 100) is None

    log.append(thought("Hm"))
    log.append(text("more"))

    assert [(each.number, each.offset, each.content) for each in cursor.take(log, 10_000)] == [
        (1, 3, "Hm"),
        (2, 5, "more"),
    ]


def test_no_stretch_reaches_over_the_end_of_a_part() -> None:
    log = log_in([thought("Hm"), Piece("tool", "{}", {"call": "c"}), text("So.")])
    parts = log.parts

    assert Cursor().take(log, 10_000) == [
        Stretch(0, parts[0], 0, "Hm"),
        Stretch(1, parts[1], 2, "{}"),
        Stretch(2, parts[2], 4, "So."),
    ]


def test_what_a_reader_does_not_show_is_passed_over_and_not_counted() -> None:
    log = log_in([thought("Hm 😀"), text("So"), Piece("tool", "{}"), text("!")])
    cursor = Cursor(kinds={"message"})

    assert cursor.take(log, 10_000) == [Stretch(1, log.parts[1], 0, "So"), Stretch(3, log.parts[3], 2, "!")]
    assert cursor.next_stretch(log, lambda *_: 100) is None
    assert [each.content for each in Cursor.at(log, 1, {"message"}).take(log, 10_000)] == ["o", "!"]


def test_no_more_is_taken_than_there_is_room_for() -> None:
    log, cursor = log_in([thought("1" * 300), text("2" * 600)]), Cursor()

    assert [len(each.content) for each in cursor.take(log, 500)] == [300, 98]
    assert [len(each.content) for each in cursor.take(log, 500)] == [500]
    assert [len(each.content) for each in cursor.take(log, 500)] == [2]
    assert cursor.take(log, 500) == []


@given(st.lists(st.tuples(st.sampled_from([text, thought]), AWKWARD)), st.integers(0, 60))
def test_a_reader_who_has_so_much_misses_the_rest(written: list[tuple[object, str]], offset: int) -> None:
    log = log_in(make(content) for make, content in written)  # type: ignore[operator]
    units = whole(log).encode("utf-16-le")
    cursor = Cursor.at(log, offset)

    assert min(offset, log.length) - 1 <= cursor.offset <= min(offset, log.length)
    begins = cursor.offset
    rest = "".join(each.content for each in cursor.take(log, 10_000))
    assert units[2 * begins :].decode("utf-16-le") == rest


@given(AWKWARD, st.integers(min_value=6, max_value=64))
def test_stretches_put_together_by_offset_are_the_log(content: str, room_bytes: int) -> None:
    log, cursor, units = Log([Part("message", content)] if content else []), Cursor(), b""
    while stretch := cursor.next_stretch(log, lambda *_: room_bytes):
        assert stretch.offset == len(units) // 2
        units += stretch.content.encode("utf-16-le")
        cursor.advance(stretch)

    assert units.decode("utf-16-le") == content


def test_what_describes_a_part_counts_where_there_is_little_room() -> None:
    log = log_in(Piece("tool", "{}", {"call": "c" * 500, "name": str(number), "by": "model"}) for number in range(700))
    taken = Cursor().take(log, 300_000)

    size = sum(len(json.dumps([each.number, each.part.kind, dict(each.part.facts), each.content])) for each in taken)
    assert 200_000 < size < 300_000
