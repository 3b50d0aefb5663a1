import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.agents.requests import Request
from chatrelay.agents.requests.claude import continued, messages, to_anthropic, to_bedrock
from chatrelay.agents.requests.plain_text import as_plain_messages, as_text
from chatrelay.domain.attachments import Attachment, Loaded
from chatrelay.domain.turns import Turn, plain
from chatrelay.settings import Claude
from emulator.stand_ins.request_validation import fault_in


def said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def turn(key: str, tokens: int) -> Turn:
    return Turn(key, f"question {key}", [said(f"answer {key}")], tokens)


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


SEARCHED: list[dict[str, Any]] = [
    {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "rain"}},
    {
        "type": "web_search_tool_result",
        "tool_use_id": "s1",
        "content": [
            {"type": "web_search_result", "title": "W", "url": "https://w.example/", "encrypted_content": "ZW5j"},
        ],
    },
]
CITED = {"type": "web_search_result_location", "url": "https://w.example/", "title": None}
CITED |= {"encrypted_index": "aW5k", "cited_text": "It rains."}


def told_of(*blocks: dict[str, Any], **how: Any) -> list[dict[str, Any]]:
    """What a later request has of an answer with these blocks."""
    asked = messages([Turn("1", "q", list(blocks), **how), Turn("2", "r")])
    return [block for message in asked if message["role"] == "assistant" for block in message["content"]]


def test_a_search_and_what_it_cites_go_back_as_they_came() -> None:
    text = {**said(" It rains.\n"), "citations": [CITED]}

    assert told_of(*SEARCHED, text) == [*SEARCHED, text]


def test_thoughts_of_earlier_turns_stay_here() -> None:
    thoughts = [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
    ]

    assert told_of(*thoughts, said("So.")) == [said("So.")]


@pytest.mark.parametrize(
    "blocks",
    [
        [said("Looking"), SEARCHED[0]],
        [SEARCHED[1], said("Looking")],
        [SEARCHED[1], said("Looking"), SEARCHED[0]],
        [said("Looking"), {**SEARCHED[0], "input": None}, SEARCHED[1]],
        [said("Looking"), SEARCHED[0], {**SEARCHED[1], "content": [{"type": "web_search_result"}]}],
        [said("Looking"), {"type": "tool_use", "id": "t1", "name": "sum", "input": {}}],
        [said("Looking"), {"type": "new_block", "deep": [{"x": 1.5}]}],
        [{**said("Looking"), "citations": None, "parsed_output": None}],
        [said(""), said("Looking"), said(" \n")],
    ],
    ids=[
        "a search without a result",
        "a result without a search",
        "a result before its search",
        "a search whose input was cut off",
        "a result that is none",
        "a tool that nobody has answered",
        "a block that is not known",
        "fields that are not known",
        "blank texts",
    ],
)
def test_what_the_service_would_refuse_stays_here(blocks: list[dict[str, Any]]) -> None:
    assert told_of(*blocks) == [said("Looking")]


def test_fields_that_a_request_does_not_know_stay_here() -> None:
    use, result = SEARCHED
    (page,) = result["content"]
    odd = [
        {**use, "new": 1, "caller": 7},
        {**result, "new": 1, "content": [{**page, "new": 1, "page_age": 7}]},
        {**said("So."), "citations": [{**CITED, "new": 1}, 7]},
    ]

    assert told_of(*odd) == [*SEARCHED, {**said("So."), "citations": [CITED]}]


def test_fields_that_a_request_knows_go_back_as_they_came() -> None:
    use, result = SEARCHED
    (page,) = result["content"]
    told = [
        {**use, "caller": {"type": "direct"}},
        {**result, "content": [{**page, "page_age": "2 days"}], "caller": {"type": "direct"}},
    ]

    assert told_of(*told) == told


def test_a_search_that_comes_twice_goes_back_once() -> None:
    assert told_of(*SEARCHED, *SEARCHED) == SEARCHED
    twice = messages([Turn("1", "q", SEARCHED), Turn("2", "r", [*SEARCHED, said("So.")]), Turn("3", "s")])
    assert [message["content"] for message in twice if message["role"] == "assistant"] == [SEARCHED, [said("So.")]]


def test_a_plain_answer_is_its_text() -> None:
    cited = {**said("It rains."), "citations": [CITED]}

    assert told_of(*SEARCHED, cited, plain=True) == [said("It rains.")]
    assert messages([Turn("1", "q", [*SEARCHED, cited]), Turn("2", "r")], searches=False)[1]["content"] == [
        said("It rains.")
    ]


def test_an_answer_without_anything_to_tell_joins_its_question_to_the_next() -> None:
    turns = [Turn("1", "a", [said(" \n"), SEARCHED[0]]), Turn("2", "b")]

    assert messages(turns) == [{"role": "user", "content": [said("a"), said("b")]}]


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

    assert as_plain_messages(turns) == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": " One. So."},
        {"role": "user", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "user", "content": "d"},
        {"role": "assistant", "content": "e"},
    ]


PICTURE = Loaded(Attachment("0" * 32, "a.png", "image/png", 6), b"pixels")
NOTES = Loaded(Attachment("1" * 32, "b.txt", "text/plain", 4), b"text")


def test_files_come_before_the_words_that_came_with_them() -> None:
    (asked,) = messages([Turn("1", "look", files=(PICTURE, NOTES))])
    assert [block["type"] for block in asked["content"]] == ["image", "text", "text"]
    assert [block["text"] for block in asked["content"][1:]] == ["b.txt:\n\ntext", "look"]


def test_a_picture_without_words_is_no_blank_text() -> None:
    (asked,) = messages([Turn("1", "", files=(PICTURE,))])
    assert [block["type"] for block in asked["content"]] == ["image"]
    assert as_text(Turn("1", "", files=(PICTURE,))) == "[a.png (image/png) is attached and cannot be shown here.]"


def test_files_are_told_as_text_to_a_model_that_reads_nothing_else() -> None:
    (asked,) = as_plain_messages([Turn("1", "look", files=(PICTURE, NOTES))])
    assert asked["content"] == "[a.png (image/png) is attached and cannot be shown here.]\n\nb.txt:\n\ntext\n\nlook"


def test_a_plain_question_tells_its_files_as_text() -> None:
    (asked,) = messages([Turn("1", "look", files=(PICTURE, NOTES), plain=True)])
    assert asked["content"] == [
        said("[a.png (image/png) is attached and cannot be shown here.]\n\nb.txt:\n\ntext\n\nlook")
    ]


# --- whatever is stored, whatever has become of it ------------------------------------------------------------------

IDS = st.sampled_from(["s1", "s2", "", None])
TEXTS = st.sampled_from(["", " ", "\n", "So.", "So. ", "漢字 😀"])
CITATIONS: st.SearchStrategy[Any] = st.sampled_from(
    [None, [], [CITED], [CITED | {"new": 1}], [{}], [7], 7, True, "x", {}]
)
PAGE = SEARCHED[1]["content"][0]
FOUND = st.sampled_from(
    [
        [PAGE],
        [PAGE | {"new": 1, "page_age": 7}],
        [PAGE | {"page_age": None}],
        [],
        [{}],
        {"type": "web_search_tool_result_error", "error_code": "unavailable", "new": 1},
        None,
        {},
        7,
    ]
)
CALLERS = st.sampled_from([{}, {"caller": {"type": "direct"}}, {"caller": None}, {"caller": 7}])
BLOCKS = st.one_of(
    st.builds(lambda text, cited: {**said(text), "citations": cited}, TEXTS, CITATIONS),
    st.builds(said, TEXTS),
    st.builds(lambda thought, sign: {"type": "thinking", "thinking": thought, "signature": sign}, TEXTS, TEXTS),
    st.just({"type": "redacted_thinking", "data": "eA=="}),
    st.builds(
        lambda use, given, by: {"type": "server_tool_use", "id": use, "name": "web_search", "input": given, **by},
        IDS,
        st.sampled_from([{}, {"query": "rain"}, None, ""]),
        CALLERS,
    ),
    st.builds(
        lambda use, found, by: {"type": "web_search_tool_result", "tool_use_id": use, "content": found, **by},
        IDS,
        FOUND,
        CALLERS,
    ),
    st.just({"type": "tool_use", "id": "t1", "name": "sum", "input": {}}),
    st.just({"type": "tool_result", "tool_use_id": "t2", "content": ""}),
    st.just({"type": "code_execution_tool_result", "tool_use_id": "s1", "content": {}}),
    st.just({"type": "new_block", "deep": [{"x": 1.5}]}),
)
FILES = st.sampled_from(
    [
        (),
        (Loaded(Attachment("0" * 32, "a.png", "image/png", 6), b"pixels"),),
        (Loaded(Attachment("1" * 32, "b.pdf", "application/pdf", 6), None),),
        (Loaded(Attachment("2" * 32, "c.txt", "text/plain", 1), b" "),),
    ]
)
TURNS = st.builds(
    lambda content, blocks, files, plain: Turn("1", content, blocks, files=files, plain=plain),
    st.sampled_from(["Hello", "漢字 😀"]),
    st.lists(BLOCKS, max_size=6),
    FILES,
    st.booleans(),
)


SETTINGS = Claude(False, "", "m", "", True, 3, 4096, "", 60, 100_000)


def refused(request: Request) -> str | None:
    """What the service would refuse of a request, which must be one that the SDK can encode."""
    return fault_in(json.loads(json.dumps(request, allow_nan=False, ensure_ascii=False).encode()))


@given(st.lists(TURNS, min_size=1, max_size=6), st.integers(0, 5), st.sampled_from(["", " ", "Be kind."]))
def test_no_history_makes_a_request_that_the_service_refuses(turns: list[Turn], cut: int, system: str) -> None:
    kept = turns[cut:] or turns[-1:]
    for told_of in (kept, plain(kept)):
        for prepare in (to_anthropic, to_bedrock):
            request = prepare([*told_of, Turn("2", "And?")], system, SETTINGS)

            assert refused(request) is None
            assert request["messages"][-1]["role"] == "user"
            assert request.get("system", "-").strip()
    blocks = [block for message in request["messages"] for block in message["content"]]
    assert not any("search" in str(block["type"]) for block in blocks), "Bedrock has no searches"
    assert "tools" not in request


@given(st.lists(BLOCKS, min_size=1, max_size=6))
def test_a_paused_turn_goes_back_as_it_came(blocks: list[dict[str, Any]]) -> None:
    numbered = [{**block, "number": number} for number, block in enumerate(blocks)]

    asked, *again = continued({"messages": [{"role": "user"}]}, numbered)["messages"]

    content = [block for message in again for block in message["content"]]
    kept = [block["number"] for block in content]
    assert asked == {"role": "user"}
    assert content == [numbered[number] for number in sorted(kept)]
    left_out = [block for block in numbered if block["number"] not in kept]
    assert all(block["type"] == "text" and not block["text"].strip() for block in left_out)


@given(st.lists(TURNS, min_size=1, max_size=6))
def test_models_that_read_only_text_are_told_texts_that_are_some(turns: list[Turn]) -> None:
    asked = as_plain_messages([*turns, Turn("2", "And?")])

    assert {message["role"] for message in asked} <= {"user", "assistant"}
    assert all(isinstance(message["content"], str) and message["content"].strip() for message in asked)
