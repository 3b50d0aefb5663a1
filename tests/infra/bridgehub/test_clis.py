"""What the command lines print, line by line, and what of it is the answer: without a process."""

import pytest

from infra.bridgehub.clis import PREFIX, EventReader, Failed, PayloadReader, Reader, last_words

NO_ANSWER = "BridgeHub gave something that is no answer."


def read(reader: Reader, *lines: bytes) -> list[str]:
    """The texts, of which empty ones are log."""
    return [text for line in lines if (text := reader.read(line))]


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
        PayloadReader().read(PREFIX + payload)

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
        b'{"type": "item.completed", "item": {"id": "i", "type": "reasoning", "text": "**Hm**"}}\n',
        b'{"type": "item.started", "item": {"id": "i", "type": "command_execution", "command": "ls"}}\n',
        b'{"type": "item.completed", "item": {"id": "i", "type": "error", "message": "no such tool"}}\n',
        b'{"type": "error", "message": "Reconnecting... 1/5"}\n',
    ],
    ids=["no event", "reasoning", "a command", "an error of a tool", "a connection that is tried again"],
)
def test_what_codex_does_meanwhile_is_no_text_and_no_end(line: bytes) -> None:
    reader = EventReader()

    assert (reader.read(line), reader.used) == ("", None)


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
