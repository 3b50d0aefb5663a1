"""What the command lines print, line by line, and what of it is the answer: without a process."""

import json
from typing import Any

import pytest

from infra.bridgehub.clis import (
    OUTPUT_CHARS,
    PIECE_CHARS,
    PREFIX,
    VALUE_CHARS,
    Event,
    EventReader,
    Failed,
    PayloadReader,
    Reader,
    last_words,
)

NO_ANSWER = "BridgeHub gave something that is no answer."


def read(reader: Reader, *lines: bytes) -> list[str]:
    """The texts."""
    return [event["text"] for line in lines for event in reader.read(line) if event["type"] == "text"]


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ('{"ok": true, "summary": "Codex responded", "data": {"output": "Yes"}}', "Yes"),
        ('{"ok": true, "summary": "In short: yes", "data": {"output": ""}}', "In short: yes"),
        ('{"ok": true, "action": "freeform", "summary": "In short: yes"}', "In short: yes"),
        ('{"ok": true, "data": {"output": "so \\ud83d"}}', "so \ud83d"),
    ],
    ids=["an output", "an empty output", "no output", "half a character"],
)
def test_the_answer_is_what_the_payload_says(payload: str, text: str) -> None:
    reader = PayloadReader()

    assert read(reader, b"[BridgeHub] log\n", PREFIX + payload.encode() + b"\n") == [text]
    assert reader.used == {}


def test_what_only_mentions_a_payload_is_log() -> None:
    reader = PayloadReader()

    assert read(reader, b"[BridgeHub] " + PREFIX + b"{} comes next\n") == []
    assert reader.used is None


def test_a_second_payload_is_a_second_paragraph() -> None:
    answers = [PREFIX + b'{"ok": true, "data": {"output": "%s"}}\n' % text for text in (b"One.", b"Two.")]

    assert read(PayloadReader(), answers[0], b"[BridgeHub] more\n", answers[1]) == ["One.", "\n\nTwo."]


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b'{"ok": false, "reason": "quota", "details": "at relay.ts:12"}\n', "BridgeHub could not answer: quota"),
        (b'{"ok": false}\n', NO_ANSWER),
        (b'{"ok": tru\n', NO_ANSWER),
        (b'{"ok":true,"summary":"caf\xe9"}\n', NO_ANSWER),
        (b"[" * 100_000 + b"\n", NO_ANSWER),
        (b'["ok"]\n', NO_ANSWER),
        (b'{"ok": true, "summary": "", "data": {"output": ""}}\n', NO_ANSWER),
        (b'{"ok":true,"da', NO_ANSWER),
    ],
    ids=["refused", "refused mutely", "no JSON", "no UTF-8", "deep", "a list", "empty", "cut"],
)
def test_a_payload_without_an_answer_says_why(payload: bytes, sentence: str) -> None:
    with pytest.raises(Failed) as failure:
        read(PayloadReader(), PREFIX + payload)

    assert str(failure.value) == sentence


@pytest.mark.parametrize(
    ("stderr", "words"),
    [
        (b"", ""),
        (b"Error: no session\n    at scenes (relay.js:9)\n\nNode.js v22.1.0\n", "Error: no session"),
        (
            b"/relay.js:9\n  scenes[scene]();\n  ^\n\nTypeError: not a function\n    at relay.js\n",
            "TypeError: not a function",
        ),
        (b"thread panicked\nnote: run with `RUST_BACKTRACE=1`\n", "thread panicked"),
        (b"nothing to say\n\n  at all\n", "nothing to say"),
        (b"x" * 9000, "x" * 300),
        (b"Not\a \x1b[1;31mlogged\x1b[0m in\r\n", "Not  logged in"),
        (b"caf\xe9\n", "caf\ufffd"),
    ],
    ids=["nothing", "a stack", "a stack with its source", "a panic", "an aside", "much", "colours", "no UTF-8"],
)
def test_last_words_are_the_reason_on_one_line(stderr: bytes, words: str) -> None:
    assert last_words(stderr) == words


def message(kind: str, text: str) -> bytes:
    return b'{"type": "item.%s", "item": {"id": "i", "type": "agent_message", "text": "%s"}}\n' % (
        kind.encode(),
        text.encode(),
    )


def test_a_message_of_codexs_grows() -> None:
    growing = [message("started", ""), message("updated", "Gro"), message("completed", "Growing")]

    assert read(EventReader(), *growing) == ["Gro", "wing"]


@pytest.mark.parametrize(
    "line",
    [
        b"a line that is no event\n",
        b'{"type": "item.completed", "item": {"id": "i", "type": "error", "message": "no such tool"}}\n',
        b'{"type": "item.completed", "item": {"id": "i", "type": "brand_new", "text": "?"}}\n',
        b'{"type": "item.completed", "item": {"id": "i", "type": "reasoning", "text": null}}\n',
        b'{"type": "item.completed", "item": {"id": "i", "type": "command_execution", "command": ["ls"]}}\n',
        b'{"type": "item.completed", "item": {"id": 7, "type": "todo_list", "items": []}}\n',
        b'{"type": "item.started", "item": {"id": "i", "type": "web_search", "query": ""}}\n',
        b'{"type": "error", "message": "Reconnecting... 1/5"}\n',
    ],
    ids=[
        "no event",
        "an error of a tool",
        "a later version",
        "no thought",
        "another type",
        "another id",
        "a search that begins",
        "a connection that is tried again",
    ],
)
def test_what_nobody_has_to_know_is_no_event_and_no_end(line: bytes) -> None:
    reader = EventReader()

    assert (list(reader.read(line)), reader.used) == ([], None)


def happened(reader: Reader, *items: dict[str, Any], how: str = "completed") -> list[Event]:
    """What is told of these items, all of which have an id of their own unless they say so."""
    events = ({"type": f"item.{how}", "item": {"id": f"item_{at}", **item}} for at, item in enumerate(items))
    return [told for event in events for told in reader.read(json.dumps(event).encode())]


def thought(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning", "text": text, **more}


RAN = {"type": "command_execution", "command": "ls", "aggregated_output": "", "exit_code": None}
SEARCHED = {"type": "web_search", "query": "rain", "action": {"type": "search", "query": "rain"}}
ASKED = {"type": "mcp_tool_call", "server": "docs", "tool": "find", "arguments": {"q": "早"}, "error": None}
CHANGED = {"type": "file_change", "changes": [{"path": "a.py", "kind": "add"}]}
STEPS = [{"text": "Look", "completed": True}]


@pytest.mark.parametrize(
    ("item", "name", "asked", "found", "is_error"),
    [
        (
            {**RAN, "aggregated_output": "a\n", "exit_code": 0, "status": "completed"},
            "command_execution",
            {"command": "ls"},
            {"exit_code": 0, "output": "a\n"},
            False,
        ),
        (
            {**RAN, "aggregated_output": "no", "exit_code": 2, "status": "failed"},
            "command_execution",
            {"command": "ls"},
            {"exit_code": 2, "output": "no"},
            True,
        ),
        (
            {**RAN, "aggregated_output": None, "status": "declined"},
            "command_execution",
            {"command": "ls"},
            {"exit_code": None, "output": ""},
            True,
        ),
        (
            {**CHANGED, "status": "failed"},
            "file_change",
            {"changes": CHANGED["changes"]},
            {"status": "failed"},
            True,
        ),
        (
            {**ASKED, "result": {"content": [{"type": "text", "text": "Found"}], "structured_content": None}},
            "docs.find",
            {"q": "早"},
            [{"type": "text", "text": "Found"}],
            False,
        ),
        ({**ASKED, "result": None, "status": "failed"}, "docs.find", {"q": "早"}, {"status": "failed"}, True),
        ({**ASKED, "error": {"message": "Gone"}}, "docs.find", {"q": "早"}, {"message": "Gone"}, True),
        (SEARCHED, "web_search", {"query": "rain"}, {"status": "completed"}, False),
        ({**SEARCHED, "results": [{"url": "u"}]}, "web_search", {"query": "rain"}, [{"url": "u"}], False),
        ({"type": "todo_list", "items": STEPS}, "todo_list", {"items": STEPS}, {"items": STEPS}, False),
    ],
)
def test_a_tool_of_codexs_is_a_call_and_what_came_back(
    item: dict[str, Any], name: str, asked: Any, found: Any, is_error: bool
) -> None:
    assert happened(EventReader(), item) == [
        {"type": "tool", "call": "item_0", "name": name, "input": asked},
        {"type": "tool_result", "call": "item_0", "content": found, "is_error": is_error},
    ]


def test_a_call_is_told_once_when_it_begins_and_its_result_when_it_ends() -> None:
    reader, grown = EventReader(), {**RAN, "aggregated_output": "a"}

    told = [
        [event["type"] for event in happened(reader, grown, how=how)] for how in ("started", "updated", "completed")
    ]

    assert told == [["tool"], [], ["tool_result"]]


def test_thoughts_that_follow_each_other_are_paragraphs() -> None:
    told = happened(EventReader(), thought("One"), thought("Two"), RAN, thought("Three"), thought(""), thought("Four"))

    thoughts = [event["text"] for event in told if event["type"] == "reasoning"]
    assert thoughts == ["One", "\n\nTwo", "Three", "\n\nFour"]


def test_a_thought_grows_as_a_message_does() -> None:
    assert happened(EventReader(), thought("Wea", id="i"), thought("Weather", id="i")) == [
        {"type": "reasoning", "text": "Wea"},
        {"type": "reasoning", "text": "ther"},
    ]


def test_thoughts_and_tools_do_not_change_where_a_text_begins() -> None:
    reader = EventReader()
    happened(reader, thought("Hm"), RAN)

    assert read(reader, message("completed", "One.")) == ["One."]


def test_what_is_long_is_told_as_its_beginning_or_in_several_events() -> None:
    long = "\x00漢" * 400_000
    ran = {**RAN, "command": long, "aggregated_output": "x" * 90_000}
    call, result = happened(EventReader(), ran)
    thoughts = happened(EventReader(), thought(long))
    _, searched = happened(EventReader(), {**SEARCHED, "results": [long]})

    assert call["input"] == json.dumps({"command": long}, ensure_ascii=False)[:VALUE_CHARS]
    assert result["content"] == {"exit_code": None, "output": "x" * OUTPUT_CHARS}
    assert searched["content"] == json.dumps([long], ensure_ascii=False)[:VALUE_CHARS]
    assert "".join(event["text"] for event in thoughts) == long
    assert [len(event["text"]) for event in thoughts] == [PIECE_CHARS, 800_000 - PIECE_CHARS]
    assert max(len(json.dumps(event)) for event in [call, result, searched, *thoughts]) < 8 * 1024 * 1024


@pytest.mark.parametrize("number", ["NaN", "1e999", "[" * 3000 + "]" * 3000])
def test_a_value_that_cannot_be_written_again_is_none(number: str) -> None:
    line = f'{{"type": "item.completed", "item": {{"id": "i", "type": "todo_list", "items": [{number}]}}}}'

    assert [event.get("input") for event in EventReader().read(line.encode())] in ([], [None, None])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ([b'{"type": "turn.failed", "error": {"message": "You have hit your limit."}}'], "You have hit your limit."),
        ([b'{"type": "error", "message": "Reset."}', b'{"type": "turn.failed", "error": null}'], "Reset."),
        ([b'{"type": "turn.failed"}'], "it does not say why."),
    ],
    ids=["with a reason", "without", "without anything"],
)
def test_a_turn_of_codexs_that_failed_says_why(lines: list[bytes], reason: str) -> None:
    with pytest.raises(Failed) as failure:
        read(EventReader(), *lines)

    assert str(failure.value) == f"Codex could not answer: {reason}"
