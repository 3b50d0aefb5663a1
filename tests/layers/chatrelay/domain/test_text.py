import json
from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain.text import (
    SurrogateJoiner,
    beginning,
    join_surrogates,
    json_bytes,
    pasted,
    truncate_to_json,
    utf16_length,
)

CHARACTERS = {
    "flag": "\U0001f1e9\U0001f1ea",
    "family": "👩\u200d👩\u200d👧",
    "skin tone": "👍\U0001f3fd",
    "keycap": "1\ufe0f\u20e3",
    "accent": "e\u0301",
    "hangul": "\u1112\u1161\u11ab",
    "devanagari": "न\u093f",
    "line end": "\r\n",
}
"""That a person sees as one, and that are several code points."""
ANY_UNITS = st.text(st.characters(exclude_categories=()))
AWKWARD = st.text(st.sampled_from('aé漢😀👩\u200d\u0301"\\/\n\x00\x7f\u2028\ufeff\ufffd'))


@pytest.mark.parametrize(
    ("text", "units"),
    [("", 0), ("abc", 3), ("é", 1), ("e\u0301", 2), ("漢字", 2), ("😀", 2), ("👩‍👩‍👧", 8), ("\x00", 1)],
    ids=["nothing", "ascii", "accent", "combining mark", "cjk", "emoji", "family", "nul"],
)
def test_a_length_counts_utf16_units_as_the_clients_do(text: str, units: int) -> None:
    assert utf16_length(text) == units


@pytest.mark.parametrize(
    ("text", "size"),
    [("", 0), ("a", 1), ("é", 2), ("漢", 3), ("😀", 4), ('"', 2), ("\\", 2), ("\n", 2), ("\x01", 6), ("\x7f", 1)],
)
def test_a_size_counts_what_json_escapes(text: str, size: int) -> None:
    assert json_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "limit", "beginning"),
    [
        ("hello", 5, "hello"),
        ("hello", 4, "hell"),
        ("a😀", 4, "a"),
        ("a😀", 5, "a😀"),
        ("\n\n", 3, "\n"),
        ("漢字", 5, "漢"),
        ("abc", 0, ""),
    ],
)
def test_the_fitting_part_ends_with_a_whole_character(text: str, limit: int, beginning: str) -> None:
    assert truncate_to_json(text, limit) == beginning


@given(AWKWARD, st.integers(min_value=6, max_value=200))
def test_the_fitting_part_is_as_long_as_it_can_be(text: str, limit: int) -> None:
    part = truncate_to_json(text, limit)

    assert text.startswith(part)
    assert len(json.dumps(part, ensure_ascii=False).encode()) - 2 <= limit
    following = text[: len(part) + 1]
    assert following == part or len(json.dumps(following, ensure_ascii=False).encode()) - 2 > limit


@pytest.mark.parametrize("character", CHARACTERS.values(), ids=CHARACTERS)
def test_a_beginning_ends_between_what_people_see_as_characters(character: str) -> None:
    text = "x" * 9 + character + "and more"

    cut = [beginning(text, length) for length in range(9, 11 + len(character))]

    assert cut == ["x" * 9] * len(character) + ["x" * 9 + character, "x" * 9 + character + "a"]


@given(st.lists(st.sampled_from([*CHARACTERS.values(), "a", "漢", "😀", "\U0001f1eb"])), st.integers(0, 60))
def test_a_beginning_is_the_longest_that_cuts_no_character(parts: list[str], length: int) -> None:
    text = "".join(parts)
    ends = [found.end() for found in regex.finditer(r"\X", text)]

    part = beginning(text, length)

    assert text.startswith(part)
    assert len(part) == max((end for end in ends if end <= length), default=min(length, len(text)))


def test_a_character_that_is_longer_than_the_whole_beginning_is_cut() -> None:
    assert beginning("a" + "\u0301" * 100, 10) == "a" + "\u0301" * 9
    assert beginning("ab" + "\u0301" * 100, 10) == "a"


@pytest.mark.parametrize(
    "around",
    [
        "",
        " ",
        "\n",
        "\r\n",
        "\t",
        "\ufeff",
        "\ufeff \u00a0\n",
        "\ufeff \ufeff",
        "\u200b",
        "\u2060",
        "\u200e",
        "\x00",
        "\x1b",
    ],
    ids=ascii,
)
def test_what_copying_leaves_around_a_text_is_no_part_of_it(around: str) -> None:
    assert pasted(around + "sk test" + around) == "sk test"


@given(st.text(st.characters(categories=("Cc", "Cf", "Z"))), st.text(st.characters(categories=("Cc", "Cf", "Z"))))
def test_whatever_nobody_sees_is_no_part_of_a_pasted_text(before: str, after: str) -> None:
    assert pasted(f"{before}sk\u200b test{after}") == "sk\u200b test"
    assert pasted(before + after) == ""


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Z")), min_size=1))
def test_whatever_can_be_seen_stays(text: str) -> None:
    assert pasted(text) == text


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("\ud83d\ude00", "😀"),
        ("a\ud83d", "a\ufffd"),
        ("\ude00b", "\ufffdb"),
        ("\ud83dx", "\ufffdx"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
        ("\ud83d\ud83d\ude00", "\ufffd😀"),
        ("漢e\u0301\x00", "漢e\u0301\x00"),
    ],
    ids=[
        "a pair",
        "high at the end",
        "low at the start",
        "high alone",
        "the wrong order",
        "two highs",
        "nothing to do",
    ],
)
def test_a_half_that_is_alone_becomes_the_replacement_character(text: str, mended: str) -> None:
    assert join_surrogates(text) == mended


@given(ANY_UNITS)
def test_mending_keeps_every_offset(text: str) -> None:
    mended = join_surrogates(text)

    assert len(mended.encode()) >= len(mended)  # it can be encoded at all
    assert utf16_length(mended) == len(text.encode("utf-16-le", "surrogatepass")) // 2


@given(AWKWARD, st.lists(st.integers(min_value=0, max_value=40)))
def test_text_that_was_cut_anywhere_in_its_utf16_is_joined_again(text: str, cuts: list[int]) -> None:
    units = text.encode("utf-16-le")
    places = [0, *sorted(2 * min(cut, len(units) // 2) for cut in cuts), len(units)]
    deltas = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in pairwise(places)]
    joiner = SurrogateJoiner()

    joined = [joiner.feed(delta) for delta in deltas] + [joiner.flush()]

    assert "".join(joined) == text
    assert not any("\ud800" <= character <= "\udfff" for part in joined for character in part)


@given(st.lists(ANY_UNITS))
def test_whatever_a_stream_holds_comes_out_mended(deltas: list[str]) -> None:
    joiner = SurrogateJoiner()

    assert "".join([*map(joiner.feed, deltas), joiner.flush()]) == join_surrogates("".join(deltas))


def test_a_half_waits_for_its_other_half() -> None:
    joiner = SurrogateJoiner()

    assert [joiner.feed("a\ud83d"), joiner.feed(""), joiner.feed("\ude00b"), joiner.flush()] == ["a", "", "😀b", ""]


def test_a_half_that_never_finds_its_other_one_is_replaced_once() -> None:
    joiner = SurrogateJoiner()

    assert [joiner.feed("a\ud83d"), joiner.flush(), joiner.flush()] == ["a", "\ufffd", ""]
