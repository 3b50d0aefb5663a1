import pytest

from chatrelay.domain.log import LONGEST, Cited, Log, NewTry, Part, Piece
from tests.builders.written import log_in, log_of_texts, text, thought, whole

TOOL = Piece("tool", '{"query": "rain"}', {"call": "c1", "name": "web_search", "by": "model"})


def test_a_log_is_what_it_was_given() -> None:
    log = log_of_texts("Good ", "早上 ", "🌅", "")

    assert (log.parts, log.text, log.length) == ([Part("message", "Good 早上 🌅")], "Good 早上 🌅", 10)
    assert log.sha256 == "a68f9c176b11145835461ff74263dc7bbb873ae8d8c7138ac95019cc536c2831"


def test_an_empty_log_has_the_hash_of_nothing() -> None:
    assert (Log().parts, Log().length) == ([], 0)
    assert Log().sha256 == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_what_is_of_one_kind_and_grows_is_one_part() -> None:
    log = log_in([thought("H"), thought("m"), text("So "), text("it is."), TOOL, TOOL, text("Yes")])

    assert [(part.kind, part.content) for part in log.parts] == [
        ("reasoning", "Hm"),
        ("message", "So it is."),
        ("tool", TOOL.content),
        ("tool", TOOL.content),
        ("message", "Yes"),
    ]
    assert log.text == "So it is.Yes"
    assert log.length == len(whole(log))


def test_what_is_empty_is_no_part() -> None:
    assert log_in([text(""), thought(""), Piece("tool", "")]).parts == []


def test_sources_follow_their_text_once_each() -> None:
    log = log_in(
        [
            thought("Hm"),
            text("It rains."),
            Cited("https://a.example/", "A", 9),
            Cited("https://b.example/", "B", 9),
            text(" It pours."),
            Cited("https://a.example/", "A again", 10),
            thought("Done"),
            text("So."),
            Cited("https://a.example/", "A", 3),
        ]
    )

    assert [(part.kind, part.content, part.facts) for part in log.parts] == [
        ("reasoning", "Hm", {}),
        ("message", "It rains. It pours.", {}),
        ("source", "https://a.example/", {"title": "A", "from": 2, "to": 11}),
        ("source", "https://b.example/", {"title": "B", "from": 2, "to": 11}),
        ("reasoning", "Done", {}),
        ("message", "So.", {}),
        ("source", "https://a.example/", {"title": "A", "from": 61, "to": 64}),
    ]


def test_a_new_try_begins_parts_of_its_own() -> None:
    log = log_in([NewTry(), thought("Hm"), NewTry(), thought("Well"), text("So")])

    assert [(part.kind, part.content) for part in log.parts] == [
        ("reasoning", "Hm"),
        ("reasoning", "Well"),
        ("message", "So"),
    ]


def test_what_follows_parts_that_are_given_is_of_its_own() -> None:
    log = Log([Part("reasoning", "Hm")])
    log.append(thought("Well"))

    assert [part.content for part in log.parts] == ["Hm", "Well"]
    assert log.length == 6


@pytest.mark.parametrize(
    ("piece", "kept"),
    [
        (text("abcd"), ["x" * (LONGEST - 3), "abc"]),
        (text("ab😀"), ["x" * (LONGEST - 3), "ab"]),
        (Piece("tool", "abcd"), ["x" * (LONGEST - 3)]),
    ],
    ids=["cut", "not within a pair", "whole or not at all"],
)
def test_a_log_has_its_end(piece: Piece, kept: list[str]) -> None:
    log = Log([Part("reasoning", "x" * (LONGEST - 3))])
    assert not log.is_full

    log.append(piece)

    assert ([part.content for part in log.parts], log.is_full) == (kept, True)
    assert log.length == sum(len(part.content) for part in log.parts)


def test_a_full_log_has_no_empty_part_and_what_describes_parts_takes_room() -> None:
    log = Log([Part("reasoning", "x" * (LONGEST - 1))])
    log.append(text("😀😀"))
    log.append(text("😀"))
    assert ([part.kind for part in log.parts], log.is_full) == (["reasoning"], True)

    sources = Log()
    for number in range(2000):
        sources.append(Cited(f"https://{number}.example/", "t" * 500, 0))
    sources.settle()
    assert sources.is_full
    assert sum(len(part.facts["title"]) + len(part.content) for part in sources.parts) < LONGEST
