from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain.attachments import Attachment
from chatrelay.domain.turns import Turn, estimate_tokens, plain, shortened, window


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


@pytest.mark.parametrize(("text", "tokens"), [("", 1), ("hello world!", 5), ("漢字", 3), ("😀", 2)])
def test_tokens_are_estimated_rather_too_high(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


def test_a_conversation_that_is_too_long_is_cut_to_half_of_what_fits() -> None:
    turns = [turn("1", 30), turn("2", 30), turn("3", 20), turn("4", 10), turn("5", 10)]

    assert [kept.key for kept in shortened(turns, 0.9)] == ["3", "4", "5"]
    assert [kept.key for kept in shortened(turns, 0.01)] == ["5"]


def test_a_plain_history_leaves_the_last_message_as_it_is() -> None:
    picture = (Attachment("0" * 32, "a.png", "image/png", 6),)
    turns = [turn("1", 1), Turn("2", "look", attachments=picture), Turn("3", "and this", attachments=picture)]

    assert plain(turns) == [turns[0], replace(turns[1], plain=True), turns[2]]
    assert plain(plain(turns)) == plain(turns)
