"""Every kind of block, streamed and stored: the two give one log. Blocks: Anthropic's API, read as of 2026-11-28."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.agents.accumulator import Accumulator
from chatrelay.domain.blocks import RESULT_LENGTH, log_of
from chatrelay.domain.log import Log, Part
from chatrelay.domain.text import utf16_length
from tests.builders.written import log_in

Block = dict[str, Any]

HALVES = st.text(st.sampled_from('aé漢😀"\\\n\x00\ud83d\ude00'), max_size=8)
"""With lone halves of surrogate pairs, which a stream may cut at any place."""
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | HALVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HALVES, inner, max_size=3),
    max_leaves=5,
)
CITATIONS = st.fixed_dictionaries(
    {"type": st.just("web_search_result_location"), "url": st.sampled_from(["https://a.example/", "b", ""])},
    optional={"title": st.none() | HALVES, "cited_text": HALVES, "encrypted_index": HALVES},
)
BLOCKS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("text"), "text": HALVES},
        optional={"citations": st.lists(CITATIONS, max_size=3) | st.none()},
    ),
    st.fixed_dictionaries({"type": st.just("thinking"), "thinking": HALVES, "signature": st.just("c2ln")}),
    st.fixed_dictionaries({"type": st.just("redacted_thinking"), "data": st.just("c2Vj")}),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["server_tool_use", "tool_use", "mcp_tool_use"]),
            "id": st.sampled_from(["t1", "t2"]),
            "name": HALVES,
            "input": st.dictionaries(HALVES, JSON, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["web_search_tool_result", "mcp_tool_result", "code_execution_tool_result"]),
            "tool_use_id": st.sampled_from(["t1", "t2"]),
            "content": JSON | st.just({"type": "web_search_tool_result_error", "error_code": "unavailable"}),
        },
        optional={"is_error": st.booleans()},
    ),
    st.fixed_dictionaries({"type": st.sampled_from(["container_upload", "brand_new"]), "content": JSON}),
)


def streamed(blocks: list[Block], cut: int) -> tuple[Log, list[Block]]:
    """The log that a stream of `blocks` gives, in deltas of `cut` characters, and the blocks that are stored."""
    message = Accumulator()
    events = [{"type": "message_start", "message": {}}]
    for index, block in enumerate(blocks):
        events += block_events(index, block, cut)
    events.append({"type": "message_stop"})
    written = [each for event in events for each in message.feed(event)]
    return log_in(written), message.blocks


def block_events(index: int, block: Block, cut: int) -> list[Any]:
    begun, deltas = dict(block), []
    match block["type"]:
        case "text" | "thinking" as kind:
            begun[kind] = ""
            deltas = [{"type": f"{kind}_delta", kind: piece} for piece in pieces(block[kind], cut)]
            cited = begun.pop("citations", None) or []
            deltas[1:1] = [{"type": "citations_delta", "citation": each} for each in cited]
        case "server_tool_use" | "tool_use" | "mcp_tool_use":
            begun["input"] = {}
            asked = json.dumps(block["input"])
            deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces(asked, cut)]
    return [
        {"type": "content_block_start", "index": index, "content_block": begun},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def pieces(text: str, cut: int) -> list[str]:
    return [text[at : at + cut] for at in range(0, len(text), cut)]


@given(st.lists(BLOCKS, max_size=6), st.integers(1, 5))
def test_a_stored_answer_reads_as_it_was_streamed(blocks: list[Block], cut: int) -> None:
    log, stored = streamed(blocks, cut)

    assert log_of(json.loads(json.dumps(stored))).parts == log.parts
    assert all(part.content for part in log.parts)
    assert log.length == sum(utf16_length(part.content) for part in log.parts)


@given(st.lists(BLOCKS, max_size=4), st.lists(BLOCKS, max_size=4))
def test_what_came_before_the_stored_blocks_stays_before_them(first: list[Block], second: list[Block]) -> None:
    before, (_, stored) = streamed(first, 3)[0].parts, streamed(second, 3)

    log = log_of(stored, before)

    assert log.parts[: len(before)] == before
    assert len(log.parts) == len(before) + len(log_of(stored).parts)


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ({"type": "text", "text": "Hi"}, Part("message", "Hi")),
        ({"type": "thinking", "thinking": "Hm", "signature": "s"}, Part("reasoning", "Hm")),
        ({"type": "thinking", "thinking": "", "signature": "s"}, None),
        ({"type": "redacted_thinking", "data": "x"}, None),
        (
            {"type": "server_tool_use", "id": "t", "name": "web_search", "input": {"query": "早"}},
            Part("tool", '{"query": "早"}', {"call": "t", "name": "web_search", "by": "model"}),
        ),
        (
            {"type": "tool_use", "id": "t", "name": "n" * 600, "input": None},
            Part("tool", "{}", {"call": "t", "name": "n" * 512, "by": "client"}),
        ),
        ({"type": "server_tool_use", "id": "t", "name": "web_search"}, None),
        (
            {
                "type": "web_search_tool_result",
                "tool_use_id": "t",
                "content": [{"url": "u", "encrypted_content": "x"}],
            },
            Part("tool_result", '[{"url": "u"}]', {"call": "t", "is_error": False}),
        ),
        (
            {"type": "web_search_tool_result", "tool_use_id": "t", "content": {"type": "x_error"}},
            Part("tool_result", '{"type": "x_error"}', {"call": "t", "is_error": True}),
        ),
        (
            {"type": "mcp_tool_result", "tool_use_id": "t", "is_error": True, "content": ""},
            Part("tool_result", '""', {"call": "t", "is_error": True}),
        ),
        (
            {"type": "mcp_tool_result", "tool_use_id": "t", "content": "x" * 300_000},
            Part(
                "tool_result",
                '"' + "x" * (RESULT_LENGTH - 1),
                {"call": "t", "is_error": False, "truncated": True},
            ),
        ),
        ({"type": "brand_new", "text": "?"}, None),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_a_block_is_that_part(block: Block, part: Part | None) -> None:
    assert log_of([block]).parts == ([] if part is None else [part])


def written(*events: dict[str, Any]) -> list[tuple[str, str]]:
    message = Accumulator()
    log = log_in(each for event in events for each in message.feed(event))
    return [(part.kind, part.content) for part in log.parts]


def start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": more}


BEGUN = {"type": "message_start", "message": {}}
STOP = {"type": "content_block_stop", "index": 0}


def test_a_tool_without_arguments_is_a_part_though_its_only_delta_is_empty() -> None:
    tool = start(0, type="mcp_tool_use", id="t", name="clock", input={})
    assert written(BEGUN, tool, delta(0, type="input_json_delta", partial_json=""), STOP) == [("tool", "{}")]


def test_the_stop_of_an_earlier_block_ends_no_other() -> None:
    events = (start(0, type="text", text="So "), start(1, type="text", text="it "), STOP)
    assert written(BEGUN, *events, delta(1, type="text_delta", text="is")) == [("message", "So it is")]
