"""Items as OpenAI's documents show them, and the tools that they are. Pure: over HTTP it is in test_openai.py."""

from typing import Any

import pytest

from chatrelay.agents.output_items import tools
from chatrelay.domain.blocks import RESULT_LENGTH

Item = dict[str, Any]


def item(kind: str, **fields: Any) -> Item:
    return {"type": kind, "id": "i", "status": "completed", **fields}


SEARCH = {"type": "search", "query": "早"}
RESULTS = [{"file_id": "f", "filename": "a.txt", "score": 0.5, "text": "x"}]


@pytest.mark.parametrize(
    ("found", "name", "asked", "result", "is_error"),
    [
        (item("web_search_call", action=SEARCH), "web_search", '{"type": "search", "query": "早"}', None, False),
        (
            item("web_search_call", action={**SEARCH, "sources": [{"type": "url", "url": "u"}]}),
            "web_search",
            '{"type": "search", "query": "早"}',
            '[{"type": "url", "url": "u"}]',
            False,
        ),
        (item("web_search_call", status="failed"), "web_search", "{}", '{"status": "failed"}', True),
        (
            item("code_interpreter_call", code="1 + 1", container_id="c", outputs=[{"type": "logs", "logs": "2"}]),
            "code_interpreter",
            '{"code": "1 + 1"}',
            '[{"type": "logs", "logs": "2"}]',
            False,
        ),
        (item("code_interpreter_call", code="1", outputs=None), "code_interpreter", '{"code": "1"}', None, False),
        (
            item("file_search_call", queries=["a"], results=RESULTS),
            "file_search",
            '{"queries": ["a"]}',
            '[{"file_id": "f", "filename": "a.txt", "score": 0.5, "text": "x"}]',
            False,
        ),
        (
            item("mcp_call", server_label="docs", name="find", arguments='{"a":1}', output="Found \ud83d"),
            "docs.find",
            '{"a": 1}',
            '"Found \ufffd"',
            False,
        ),
        (
            item("mcp_call", name="find", arguments="", error={"type": "http_error", "code": 500, "message": "Oh"}),
            "find",
            "{}",
            '{"type": "http_error", "code": 500, "message": "Oh"}',
            True,
        ),
    ],
)
def test_a_tool_of_the_service_is_a_call_and_what_came_back(
    found: Item, name: str, asked: str, result: str | None, is_error: bool
) -> None:
    call, back = tools(found)

    assert (call.kind, call.content, call.facts) == ("tool", asked, {"call": "i", "name": name, "by": "model"})
    told = result or '{"status": "completed"}'
    assert (back.kind, back.content, back.facts) == ("tool_result", told, {"call": "i", "is_error": is_error})


@pytest.mark.parametrize(
    ("found", "content", "facts"),
    [
        (
            item("function_call", call_id="c", name="look", arguments='{"at": "早"}'),
            '{"at": "早"}',
            {"call": "c", "name": "look", "by": "client"},
        ),
        (
            item("custom_tool_call", call_id="c", name="sql", input="SELECT 1"),
            '"SELECT 1"',
            {"call": "c", "name": "sql", "by": "client"},
        ),
        (item("function_call_output", call_id="c", output="Seen"), '"Seen"', {"call": "c", "is_error": False}),
        (
            item("custom_tool_call_output", call_id="c", output=[{"type": "input_text", "text": "1"}]),
            '[{"type": "input_text", "text": "1"}]',
            {"call": "c", "is_error": False},
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) and "type" in value else "",
)
def test_a_function_is_a_call_and_its_output_an_item_of_its_own(found: Item, content: str, facts: Item) -> None:
    (piece,) = tools(found)

    assert (piece.content, piece.facts) == (content, facts)


@pytest.mark.parametrize(
    "found",
    [
        item("message", content=[]),
        item("reasoning", summary=[]),
        item("image_generation_call", result="iVBORw0KGgo="),
        item("brand_new"),
        item("code_interpreter_call", code="1 +", status="incomplete"),
        item("function_call", call_id="c", name="n", arguments='{"a', status="incomplete"),
        item("mcp_call", name="n", arguments='{"a'),
        item("mcp_call", name="n", arguments='{"a": NaN}'),
        item("function_call", call_id="c", name="n", arguments="[" * 100_000),
    ],
    ids=["a text", "a thought", "a picture", "unknown", "cut off", "a cut call", "no JSON", "no number", "too deep"],
)
@pytest.mark.usefixtures("undisturbed")
def test_what_is_no_tool_or_was_never_whole_is_nothing(found: Item) -> None:
    assert list(tools(found)) == []


def test_a_result_is_as_long_as_one_is_shown() -> None:
    _, back = tools(item("mcp_call", name="n", output="x" * 90_000))

    assert (len(back.content), back.facts["truncated"]) == (RESULT_LENGTH, True)
