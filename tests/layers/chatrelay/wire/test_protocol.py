import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatrelay.domain.attachments import Attachment
from chatrelay.domain.cursor import Cursor, Stretch
from chatrelay.domain.errors import (
    ClientFacingError,
    Forbidden,
    Internal,
    InvalidMessage,
    Overloaded,
    Refused,
    TooLarge,
    Unauthorized,
)
from chatrelay.domain.keys import StreamId
from chatrelay.domain.log import KINDS, Kind, Log, Part
from chatrelay.domain.reply import Ending
from chatrelay.wire import inbound, outbound
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.inbound import Configuration, Defaults, Hello, Inbound, Resume, Send
from chatrelay.wire.limits import FRAME_LIMIT_BYTES
from chatrelay.wire.outbound import Outbound
from tests.builders.written import log_in, log_of_texts, text, thought

NOW = datetime(2026, 11, 23, 7, 0, 0, 123456, tzinfo=UTC)
STREAM = StreamId("talk", "reply-1", 1)


def relay(body: str | None, agent: str = "claude") -> Inbound:
    return VERSION_1.parse(body, Defaults(agent, "given", "c1="))


def builderos(body: str | None, agent: str = "claude") -> Inbound:
    return BUILDEROS.parse(body, Defaults(agent, "given", "c1="))


FILE = "0123456789abcdef0123456789abcdef"
ANOTHER = {"id": "D1", "filename": "a.png", "size": -1, "url": f"https://relay.example/api/files/{FILE}"}


def sent(**changes: Any) -> str:
    frame = {"action": "send", "id": "m1", "conversation": "talk", "content": "hi"}
    return json.dumps({name: value for name, value in (frame | changes).items() if value is not ...})


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (sent(), Send("m1", "talk", "hi", "claude")),
        (sent(agent="codex"), Send("m1", "talk", "hi", "codex")),
        (sent(attachments=[]), Send("m1", "talk", "hi", "claude")),
        (sent(attachments=[{"url": "/api/files/" + FILE}]), Send("m1", "talk", "hi", "claude", (Attachment(FILE),))),
        (sent(content="", attachments=[ANOTHER]), Send("m1", "talk", "", "claude", (Attachment(FILE),))),
        (sent(attachments=None), Send("m1", "talk", "hi", "claude")),
        (sent(content=" \n早上 🌅 e\u0301 \u0000"), Send("m1", "talk", " \n早上 🌅 e\u0301 \u0000", "claude")),
        (sent(content="\ud83d\ude00"), Send("m1", "talk", "😀", "claude")),
        (sent(content="\ud83d!"), Send("m1", "talk", "\ufffd!", "claude")),
        (sent(id="a#b", conversation="TURN#1#2"), Send("a#b", "TURN#1#2", "hi", "claude")),
        (sent(id="漢" * 64, conversation="😀" * 128), Send("漢" * 64, "😀" * 128, "hi", "claude")),
        (sent(id="unknown", extra={"deep": [1e999]}), Send("unknown", "talk", "hi", "claude")),
        (
            '{"action":"ping","action":"send","id":"1","id":"2","conversation":"c","content":"x"}',
            Send("2", "c", "x", "claude"),
        ),
        ('{"action":"hello"}', Hello(None)),
        ('{"action":"hello","conversation":null}', Hello(None)),
        ('{"action":"hello","conversation":"talk"}', Hello("talk")),
        (' {"action":"hello","conversation":"","device":""}\n', Hello(None)),
        (sent(agent=None), Send("m1", "talk", "hi", "claude")),
        (sent(agent=""), Send("m1", "talk", "hi", "claude")),
        (sent(content=None, attachments=[ANOTHER]), Send("m1", "talk", "", "claude", (Attachment(FILE),))),
        ('{"action":"resume","reply":"r","offset":null}', Resume("r", None, 0)),
        ('{"action":"resume","reply":"","conversation":"talk"}', Resume(None, "talk", 0)),
    ],
    ids=[
        "send",
        "another agent",
        "no attachments",
        "null attachments",
        "an attachment",
        "an attachment without words",
        "any characters",
        "an escaped pair",
        "half a pair",
        "key separators in names",
        "names as long as they may be",
        "unknown fields",
        "the last of duplicate keys counts",
        "hello",
        "hello without a conversation",
        "hello to a conversation",
        "hello with nothing",
        "no agent",
        "an empty agent",
        "no words",
        "an offset of null",
        "an empty reply",
    ],
)
def test_a_frame_becomes_what_it_means(body: str, parsed: Inbound) -> None:
    assert relay(body) == parsed


def test_the_connection_chooses_the_agent_that_a_frame_does_not_name() -> None:
    assert relay(sent(), agent="codex") == Send("m1", "talk", "hi", "codex")


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        (None, "frame"),
        ("", "frame"),
        ("hello", "frame"),
        ("{", "frame"),
        ('"send"', "frame"),
        ("[]", "frame"),
        ("null", "frame"),
        ("NaN", "frame"),
        ("1" * 5000, "frame"),
        ("[" * 100_000, "frame"),
        ('{"a":' * 30_000, "frame"),
        ('{"action":"send","id":"raw \x01 control"}', "frame"),
        ("{}", "action"),
        ('{"action":"shout"}', "action"),
        ('{"action":"resume"}', "reply"),
        ('{"action":"resume","reply":7}', "reply"),
        ('{"action":"resume","reply":"r","offset":-1}', "offset"),
        ('{"action":"resume","reply":"r","offset":"0"}', "offset"),
        ('{"action":"resume","reply":"r","offset":1.5}', "offset"),
        ('{"action":"resume","reply":"r","offset":true}', "offset"),
        ('{"action":"cancel"}', "reply"),
        ('{"action":["send"]}', "action"),
        ('{"action":null}', "action"),
        ('{"action":"Send"}', "action"),
        (sent(id=...), "id"),
        (sent(id=None), "id"),
        (sent(id=7), "id"),
        (sent(id=float("nan")), "id"),
        (sent(id=""), "id"),
        (sent(id=" \t\u3000"), "id"),
        (sent(id="x" * 65), "id"),
        (sent(id=".."), "id"),
        (sent(conversation="."), "conversation"),
        (sent(conversation=".."), "conversation"),
        ('{"action":"hello","device":".."}', "device"),
        (sent(conversation=...), "conversation"),
        (sent(conversation={}), "conversation"),
        (sent(conversation="x" * 129), "conversation"),
        (sent(content=...), "content"),
        (sent(content=10**400), "content"),
        (sent(content=["hi"]), "content"),
        (sent(content=""), "content"),
        (sent(content=" \n\t"), "content"),
        (sent(content="", attachments=[]), "content"),
        (sent(attachments=[{"id": "1"}]), "attachments"),
        (sent(attachments=[{"url": "https://example.org/picture.png"}]), "attachments"),
        (sent(attachments=[{"url": 7}]), "attachments"),
        (sent(attachments=["/api/files/" + FILE]), "attachments"),
        (sent(attachments={"url": "/api/files/" + FILE}), "attachments"),
        (sent(attachments=[{"url": "/api/files/" + FILE}] * 11), "attachments"),
        (sent(agent="gpt"), "agent"),
        (sent(agent=[]), "agent"),
        (sent(agent={}), "agent"),
        ('{"action":"hello","conversation":7}', "conversation"),
        ('{"action":"hello","conversation":" "}', "conversation"),
        ('{"action":"ack","reply":"r","offset":null}', "offset"),
        ('{"action":"resume","reply":null,"conversation":""}', "reply"),
    ],
    ids=lambda value: (value or "nothing")[:60],
)
def test_a_frame_that_is_wrong_is_refused_by_the_field(body: str | None, field: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        relay(body)

    assert (refusal.value.field, refusal.value.code, refusal.value.retryable) == (field, "invalid_message", False)
    assert str(refusal.value).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (sent(id="x" * 65), "id: must have at most 64 characters, has 65"),
        (sent(content=...), "content: is missing"),
        (sent(content=5), "content: must be a string"),
        (sent(conversation=".."), 'conversation: must not be "." or "..", which no address can name'),
    ],
)
def test_a_refusal_says_what_is_wrong(body: str, sentence: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        relay(body)

    assert str(refusal.value) == sentence


@given(st.text(st.characters(exclude_categories=())))
def test_no_text_at_all_is_more_than_an_invalid_message(body: str) -> None:
    for speak in (relay, builderos):
        with pytest.raises(InvalidMessage):
            speak(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
FIELDS = ("action", "id", "conversation", "content", "agent", "attachments", "session_id", "chat_type")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, st.sampled_from(["send", "m", "claude"]) | JSON)))
def test_any_object_is_a_frame_or_an_invalid_message(frame: dict[str, Any]) -> None:
    for speak in (relay, builderos):
        with suppress(InvalidMessage):
            assert isinstance(speak(json.dumps(frame)), Send)


@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        ('{"working_directory":"/home"}', Configuration()),
        ('{"working_directory":null}', Configuration()),
        ('{"content":"hi","session_id":"s","device_id":"d","chat_type":"jarvis"}', Send("given", "s", "hi", "claude")),
        ('{"content":"hi","session_id":"s","chat_type":"codex"}', Send("given", "s", "hi", "codex")),
        ('{"content":"hi","session_id":"s"}', Send("given", "s", "hi", "claude")),
        ('{"content":"hi","session_id":"s","id":"mine"}', Send("given", "s", "hi", "claude")),
        ('{"content":"hi","session_id":"s","working_directory":"/"}', Send("given", "s", "hi", "claude")),
        (sent(), Send("m1", "talk", "hi", "claude")),
        ('{"content":"hi","session_id":"s","chat_type":null}', Send("given", "s", "hi", "claude")),
        ('{"content":"hi","session_id":"s","chat_type":""}', Send("given", "s", "hi", "claude")),
        ('{"content":"hi"}', Send("given", "c1=", "hi", "claude")),
        ('{"content":"hi","session_id":null}', Send("given", "c1=", "hi", "claude")),
        ('{"content":"hi","session_id":""}', Send("given", "c1=", "hi", "claude")),
    ],
    ids=[
        "configuration",
        "empty configuration",
        "jarvis is claude",
        "codex",
        "no chat type",
        "an id of its own",
        "content goes first",
        "version 1 all the same",
        "null chat type",
        "empty chat type",
        "no session",
        "null session",
        "empty session",
    ],
)
def test_the_builderos_app_is_understood(body: str, parsed: Inbound) -> None:
    assert builderos(body) == parsed


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("crk_key", "frame"),
        ("{}", "content"),
        ('{"content":"hi","session_id":7}', "session_id"),
        ('{"session_id":"s"}', "content"),
        ('{"content":"hi","session_id":"s","chat_type":"gpt"}', "chat_type"),
        ('{"content":"hi","session_id":"s","chat_type":["codex"]}', "chat_type"),
        ('{"content":"hi","session_id":"s","attachments":[{}]}', "attachments"),
        ('{"action":"shout"}', "action"),
        ('{"action":"resume"}', "reply"),
        ('{"action":"resume","reply":7}', "reply"),
        ('{"action":"resume","reply":"r","offset":-1}', "offset"),
        ('{"action":"resume","reply":"r","offset":"0"}', "offset"),
        ('{"action":"resume","reply":"r","offset":1.5}', "offset"),
        ('{"action":"resume","reply":"r","offset":true}', "offset"),
        ('{"action":"cancel"}', "reply"),
    ],
)
def test_a_frame_of_the_builderos_app_that_is_wrong_is_refused_by_the_field(body: str, field: str) -> None:
    with pytest.raises(InvalidMessage) as refusal:
        builderos(body)

    assert refusal.value.field == field


def test_a_frame_without_an_action_is_not_version_1() -> None:
    with pytest.raises(
        InvalidMessage, match="action: must be one of ack, auth, cancel, edit, hello, ping, regenerate, resume, send"
    ):
        relay('{"content":"hi","session_id":"s"}')


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("body", "claimed"),
    [
        (sent(id="m1", content=7), "m1"),
        (sent(id="\ud83d"), "\ufffd"),
        (sent(id=7), None),
        (sent(id="x" * 65), None),
        ("[", None),
        (None, None),
        ("[" * 100_000, None),
    ],
    ids=["a good id", "half a pair", "a number", "too long", "no JSON", "nothing", "deep"],
)
def test_the_claimed_id_is_one_that_could_be_answered(body: str | None, claimed: str | None) -> None:
    assert inbound.claimed(body, "id") == claimed


@pytest.mark.parametrize(
    "frame",
    [
        outbound.ready(user="alice", agent="claude", conversation=None),
        outbound.typing(STREAM, "m1"),
        outbound.part(STREAM, Stretch(0, Part("message", "😀"), 0, "😀")),
        outbound.complete(STREAM, Log(), Ending("end_turn", "m", {"input_tokens": 1}, [])),
        outbound.error(Overloaded("Busy.", retry_after_s=3.5), stream=STREAM),
    ],
    ids=lambda frame: frame.type,
)
def test_every_frame_has_what_the_builderos_app_demands(frame: Outbound) -> None:
    decoded = json.loads(frame.encode(NOW))

    assert [type(decoded[name]) for name in ("type", "content", "timestamp")] == [str, str, str]
    assert decoded["timestamp"] == "2026-11-23T07:00:00.123456+00:00"


def test_a_timestamp_is_in_utc() -> None:
    there = datetime(2026, 11, 23, 12, 30, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert json.loads(outbound.typing(STREAM, "m1").encode(there))["timestamp"] == "2026-11-23T07:00:00+00:00"


def test_ready_has_the_limits_and_never_names_a_working_directory() -> None:
    encoded = outbound.ready(user="alice", agent="codex", conversation="talk").encode(NOW)

    assert b"working_directory" not in encoded
    assert json.loads(encoded) == {
        "type": "ready",
        "content": "Connected",
        "timestamp": "2026-11-23T07:00:00.123456+00:00",
        "user": "alice",
        "agent": "codex",
        "conversation": "talk",
        "protocol": 1,
        "heartbeat": 480,
        "limits": {"frame_bytes": 31744, "content_bytes": 300000, "id": 64, "conversation": 128, "attachments": 10},
    }


def test_ready_names_no_conversation_that_was_not_asked_for() -> None:
    assert "conversation" not in outbound.ready(user="a", agent="claude", conversation=None).fields


def test_a_message_frame_is_utf8_with_its_place() -> None:
    assert outbound.part(STREAM, Stretch(2, Part("message", "早"), 7, "早")).encode(NOW).decode() == (
        '{"type":"message","content":"早","timestamp":"2026-11-23T07:00:00.123456+00:00",'
        '"part":2,"offset":7,"conversation":"talk","reply":"reply-1","epoch":1}'
    )


def test_a_whole_part_says_what_it_is_and_how_long() -> None:
    part = Part("tool_result", "早" * 9, {"call": "c1", "is_error": False})

    assert outbound.part(STREAM, Stretch(1, part, 4, "早早")) == Outbound(
        "tool_result",
        "早早",
        {"part": 1, "offset": 4, "call": "c1", "is_error": False, "size": 9, **STREAM.fields()},
    )


def test_a_complete_frame_proves_the_log() -> None:
    log = log_in([thought("Hm"), text("早")])
    frame = outbound.complete(STREAM, log, Ending("max_tokens", "m", {"x": 1}, []))

    assert (frame.type, frame.content) == ("complete", "Response complete")
    assert frame.fields == {
        "length": 3,
        "sha256": hashlib.sha256("Hm早".encode()).hexdigest(),
        "parts": 2,
        "stop_reason": "max_tokens",
        "model": "m",
        "usage": {"x": 1},
        "conversation": "talk",
        "reply": "reply-1",
        "epoch": 1,
    }


@pytest.mark.parametrize(
    ("problem", "fields"),
    [
        (InvalidMessage("id", "is missing"), {"code": "invalid_message", "retryable": False}),
        (Unauthorized("Who?"), {"code": "unauthorized", "retryable": False}),
        (Forbidden("No."), {"code": "forbidden", "retryable": False}),
        (TooLarge("No."), {"code": "too_large", "retryable": False}),
        (
            Overloaded("Busy.", retry_after_s=30.0),
            {"code": "overloaded", "retryable": True, "reason": "busy", "retry_after": 30.0},
        ),
        (Refused("No."), {"code": "refused", "retryable": False, "reason": "declined"}),
        (Internal("c-1"), {"code": "internal", "retryable": True}),
    ],
    ids=lambda value: value.code if isinstance(value, ClientFacingError) else "",
)
def test_an_error_frame_has_a_code_for_programs_and_a_sentence_for_people(
    problem: ClientFacingError, fields: dict[str, Any]
) -> None:
    assert outbound.error(problem) == Outbound("error", str(problem), fields)


def test_the_builderos_apps_frames_stay_what_they_were() -> None:
    log = log_of_texts("So")
    frames = (
        outbound.error(Forbidden("No."), reply="reply-1"),
        outbound.broken_off(STREAM, log, Refused("No.")),
        outbound.complete(STREAM, log, Ending("end_turn", "m", {}, [])),
        outbound.part(STREAM, Stretch(0, log.parts[0], 0, "So")),
    )

    stream = ["conversation", "reply", "epoch"]
    assert [list(BUILDEROS.adapt(frame).fields) for frame in frames] == [
        ["code", "retryable"],
        ["code", "retryable", *stream],
        ["length", "sha256", "stop_reason", "model", "usage", *stream],
        ["offset", *stream],
    ]
    assert [VERSION_1.adapt(frame) for frame in frames] == list(frames)


def test_the_error_of_a_reply_says_how_much_is_kept() -> None:
    frame = outbound.broken_off(STREAM, log_in([thought("Hm"), text("早")]), Refused("No."))

    assert (frame.fields["length"], frame.fields["sha256"]) == (3, hashlib.sha256("Hm早".encode()).hexdigest())


def test_an_error_frame_says_what_it_is_about() -> None:
    frame = outbound.error(Unauthorized("Who?"), message_id="m1", stream=STREAM)

    assert frame.fields["id"] == "m1"
    assert (frame.fields["conversation"], frame.fields["reply"], frame.fields["epoch"]) == ("talk", "reply-1", 1)


@given(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=128),
    st.text(st.sampled_from('a漢😀"\x00'), min_size=1, max_size=8),
    st.integers(min_value=1, max_value=20_000),
    st.sampled_from(sorted(KINDS)),
    st.dictionaries(st.sampled_from(["title", "call", "name"]), st.text(st.sampled_from('a漢"\x00'), max_size=170)),
)
def test_no_frame_of_a_log_is_over_the_limit(
    conversation: str, unit: str, times: int, kind: Kind, facts: dict[str, str]
) -> None:
    stream, log, cursor = StreamId(conversation, "f" * 32, 2**31), Log([Part(kind, unit * times, facts)]), Cursor()
    while stretch := cursor.next_stretch(log, partial(outbound.room_bytes, stream)):
        assert len(outbound.part(stream, stretch).encode(NOW)) <= FRAME_LIMIT_BYTES
        cursor.advance(stretch)

    assert cursor.offset == log.length


@pytest.mark.parametrize("content", ["漢" * 100_000, '"\\' * 150_000, "🌅" * 9_000])
def test_a_message_too_long_for_a_frame_is_told_as_far_as_it_fits(content: str) -> None:
    told = outbound.user(StreamId("talk", "reply", 1), "m1", content)

    assert FRAME_LIMIT_BYTES - 12 <= len(told.encode(NOW)) <= FRAME_LIMIT_BYTES
    assert content.startswith(told.content)
    assert told.fields["truncated"]


def test_a_message_too_long_for_a_frame_is_cut_between_characters() -> None:
    family = "👩\u200d👩\u200d👧"

    told = outbound.user(StreamId("talk", "reply", 1), "m1", family * 3_000)

    assert told.content == family * (len(told.content) // len(family))


def test_a_message_that_fits_is_told_whole() -> None:
    told = outbound.user(StreamId("talk", "reply", 1), "m1", "x" * 30_000)
    assert (len(told.content), "truncated" in told.fields) == (30_000, False)
