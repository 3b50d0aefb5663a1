from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.attachments import Attachment, Loaded
from chatrelay.history import Turn, estimate_tokens, messages, spoken, told, window


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def turn(key: str, tokens: int) -> Turn:
    return Turn(key, f"question {key}", [said(f"answer {key}")], tokens)


def test_a_conversation_within_its_budget_is_told_whole() -> None:
    turns = [turn("1", 40), turn("2", 30), turn("3", 30)]

    assert window(turns, 100) == turns


def test_a_conversation_over_its_budget_is_cut_to_half_of_it() -> None:
    turns = [turn("1", 30), turn("2", 30), turn("3", 20), turn("4", 20), turn("5", 10)]

    assert [kept.key for kept in window(turns, 100)] == ["3", "4", "5"]


def test_a_cut_keeps_a_turn_that_just_fits() -> None:
    turns = [turn("1", 1), turn("2", 40), turn("3", 5), turn("4", 5), turn("5", 50)]

    assert [kept.key for kept in window(turns, 100)] == ["5"]


@pytest.mark.parametrize("turns", [[turn("1", 500)], [turn("1", 10), turn("2", 500)]], ids=["alone", "after another"])
def test_the_last_turn_is_told_however_long_it_is(turns: list[Turn]) -> None:
    assert [kept.key for kept in window(turns, 100)] == [turns[-1].key]


@given(st.lists(st.integers(min_value=0, max_value=120), min_size=1), st.integers(min_value=1, max_value=300))
def test_a_window_is_the_end_of_the_conversation_and_fits(tokens: list[int], budget: int) -> None:
    turns = [turn(str(number), count) for number, count in enumerate(tokens)]

    kept = window(turns, budget)

    assert kept[-1] is turns[-1]
    assert list(kept) == turns[-len(kept) :]
    assert len(kept) == 1 or sum(each.tokens for each in kept) <= budget


def test_the_beginning_stays_the_same_for_many_turns_between_cuts() -> None:
    kept: list[Turn] = []
    beginnings = []
    for number in range(100):
        kept = list(window([*kept, turn(str(number), 10)], 200))
        beginnings.append(kept[0].key)

    stays = [beginnings.count(key) for key in dict.fromkeys(beginnings)]
    assert stays[0] == 20
    assert set(stays[1:-1]) == {11}


def test_a_conversation_is_told_by_turns() -> None:
    turns = [turn("1", 1), Turn("2", "and?")]

    assert messages(turns) == [
        {"role": "user", "content": [said("question 1")]},
        {"role": "assistant", "content": [said("answer 1")]},
        {"role": "user", "content": [said("and?")]},
    ]


def test_turns_that_were_never_answered_are_joined_to_the_next() -> None:
    turns = [Turn("1", "hello?"), Turn("2", "anyone?"), turn("3", 1), Turn("4", "one"), Turn("5", "two")]

    assert messages(turns) == [
        {"role": "user", "content": [said("hello?"), said("anyone?"), said("question 3")]},
        {"role": "assistant", "content": [said("answer 3")]},
        {"role": "user", "content": [said("one"), said("two")]},
    ]


def test_blocks_are_told_exactly_as_they_came() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"q": [1.5, None]}},
        {"type": "text", "text": "  so\n", "citations": None},
    ]

    assert messages([Turn("1", "q", blocks), Turn("2", "r")])[1] == {"role": "assistant", "content": blocks}


def test_blank_texts_which_the_service_would_refuse_are_left_out() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    turns = [Turn("1", "a", [thought, said(""), said("yes")]), Turn("2", "b", [said(" \n")]), Turn("3", "c")]

    assert messages(turns) == [
        {"role": "user", "content": [said("a")]},
        {"role": "assistant", "content": [thought, said("yes")]},
        {"role": "user", "content": [said("b"), said("c")]},
    ]


@given(st.lists(st.booleans(), min_size=1, max_size=12))
def test_roles_alternate_whatever_was_answered(answered: list[bool]) -> None:
    turns = [Turn(str(n), f"q{n}", [said(f"a{n}")] if was else []) for n, was in enumerate([*answered, False])]

    told = messages(turns)

    roles = [message["role"] for message in told]
    assert roles == [["user", "assistant"][n % 2] for n in range(len(roles))]
    assert roles[-1] == "user"
    assert [block["text"] for message in told if message["role"] == "user" for block in message["content"]] == [
        f"q{n}" for n in range(len(turns))
    ]


def test_telling_a_conversation_does_not_change_it() -> None:
    turns = [Turn("1", "a"), Turn("2", "b", [said("c")]), Turn("3", "d")]
    before = repr(turns)

    assert messages(turns) == messages(turns)
    assert repr(turns) == before


def test_a_conversation_is_spoken_without_what_only_one_model_knows() -> None:
    blocks: list[dict[str, Any]] = [{"type": "thinking"}, said(" One."), {"type": "new"}, said(" So.")]
    turns = [Turn("1", "a", blocks), Turn("2", "b", [said(" \n")]), Turn("3", "c"), Turn("4", "d", [said("e")])]

    assert spoken(turns) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": " One. So."},
        {"role": "user", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": "e"},
    ]


@pytest.mark.parametrize(("text", "tokens"), [("", 1), ("hello world!", 5), ("漢字", 3), ("😀", 2)])
def test_tokens_are_estimated_rather_too_high(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


PICTURE = Loaded(Attachment("0" * 32, "a.png", "image/png", 6), b"pixels")
NOTES = Loaded(Attachment("1" * 32, "b.txt", "text/plain", 4), b"text")


def test_files_come_before_the_words_that_came_with_them() -> None:
    (asked,) = messages([Turn("1", "look", files=(PICTURE, NOTES))])
    assert [block["type"] for block in asked["content"]] == ["image", "text", "text"]
    assert [block["text"] for block in asked["content"][1:]] == ["b.txt:\n\ntext", "look"]


def test_a_picture_without_words_is_no_blank_text() -> None:
    (asked,) = messages([Turn("1", "", files=(PICTURE,))])
    assert [block["type"] for block in asked["content"]] == ["image"]
    assert told(Turn("1", "", files=(PICTURE,))) == "[a.png (image/png) is attached and cannot be shown here.]"


def test_files_are_told_as_text_to_a_model_that_reads_nothing_else() -> None:
    (asked,) = spoken([Turn("1", "look", files=(PICTURE, NOTES))])
    assert asked["content"] == "[a.png (image/png) is attached and cannot be shown here.]\n\nb.txt:\n\ntext\n\nlook"
