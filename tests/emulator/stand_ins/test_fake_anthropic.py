import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import RawMessageStreamEvent

from emulator.stand_ins.demonstration import demonstration
from emulator.stand_ins.fake_anthropic import ScriptedModel, serving, serving_in_thread
from emulator.stand_ins.script import Pause, Script, Send, answer, cut_after, fail_after, partial, refuse, stall_after

PROMPT: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "Good morning"}],
}


class Stage:
    """A scripted model, a client for it, and what they play next."""

    def __init__(self) -> None:
        self.script = answer("Good morning to you.")
        self.model = ScriptedModel(lambda _: self.script)
        self.url = ""
        self.client: AsyncAnthropic

    async def events(self, **changes: Any) -> list[RawMessageStreamEvent]:
        stream = await self.client.messages.create(**(PROMPT | changes), stream=True)
        return [event async for event in stream]


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    async with (
        serving(stage.model) as stage.url,
        AsyncAnthropic(api_key="test-key", base_url=stage.url, max_retries=0) as stage.client,
    ):
        yield stage


async def until(condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - the server keeps records, not events
            await asyncio.sleep(0.005)


def text_of(events: list[RawMessageStreamEvent]) -> str:
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    return "".join(delta.text for delta in deltas if delta.type == "text_delta")


async def test_an_answer_follows_the_grammar(stage: Stage) -> None:
    stage.script = answer("Good 早上 🌅 morning", delta_chars=7)

    events = await stage.events()

    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert text_of(events) == "Good 早上 🌅 morning"


async def test_the_wire_carries_named_events_and_a_ping(stage: Stage) -> None:
    headers = {"x-api-key": "test-key", "anthropic-version": "2026-10-21"}
    async with httpx.AsyncClient(base_url=stage.url, headers=headers) as http:
        response = await http.post("/v1/messages", json=PROMPT | {"stream": True})

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["request-id"] == "req_000000000000000000000001"
    blocks = response.text.strip().split("\n\n")
    assert blocks[2] == 'event: ping\ndata: {"type": "ping"}'
    assert blocks[-1] == 'event: message_stop\ndata: {"type": "message_stop"}'


async def test_the_sdk_assembles_thinking_text_and_stop_reason(stage: Stage) -> None:
    stage.script = answer("Forty-two.", thinking="Let me see.", stop_reason="max_tokens")

    async with stage.client.messages.stream(**PROMPT) as stream:
        message = await stream.get_final_message()

    assert [block.type for block in message.content] == ["thinking", "text"]
    thinking, text = message.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("Let me see.", "c2NyaXB0ZWQ=")
    assert text.type == "text"
    assert text.text == "Forty-two."
    assert message.stop_reason == "max_tokens"
    assert message.model == "claude-sonnet-5"
    assert message.usage.output_tokens == 5


async def test_an_empty_answer_is_a_whole_message(stage: Stage) -> None:
    stage.script = answer("")

    async with stage.client.messages.stream(**PROMPT) as stream:
        message = await stream.get_final_message()

    assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 1)


async def test_pauses_are_real_time(stage: Stage) -> None:
    stage.script = answer("12345678", delta_chars=2, first_s=0.1, pause_s=0.05)
    began = time.monotonic()

    await stage.events()

    assert time.monotonic() - began >= 0.3


async def test_a_refusal_becomes_the_sdks_error(stage: Stage) -> None:
    stage.script = refuse(429, message="Slow down.", headers={"retry-after": "7"})

    with pytest.raises(anthropic.RateLimitError) as caught:
        await stage.events()

    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.body == {
        "type": "error",
        "error": {"type": "rate_limit_error", "message": "Slow down."},
        "request_id": "req_000000000000000000000001",
    }
    assert caught.value.request_id == "req_000000000000000000000001"


@pytest.mark.parametrize(
    ("status", "type"),
    [
        (401, "authentication_error"),
        (403, "permission_error"),
        (413, "request_too_large"),
        (500, "api_error"),
        (529, "overloaded_error"),
    ],
)
async def test_a_refusal_has_the_usual_type_of_its_status(stage: Stage, status: int, type: str) -> None:  # noqa: A002
    stage.script = refuse(status)

    with pytest.raises(anthropic.APIStatusError) as caught:
        await stage.events()

    assert (caught.value.status_code, caught.value.type) == (status, type)


async def test_a_cut_keeps_what_was_sent_and_breaks_the_body(stage: Stage) -> None:
    stage.script = cut_after("Once upon a time", delta_chars=4)
    stream = await stage.client.messages.create(**PROMPT, stream=True)
    events = [await anext(stream) for _ in range(6)]

    with pytest.raises(httpx2.RemoteProtocolError):
        await anext(stream)

    assert text_of(events) == "Once upon a time"


async def test_a_partial_ends_cleanly_and_the_sdk_does_not_mind(stage: Stage) -> None:
    stage.script = partial("Once upon")

    async with stage.client.messages.stream(**PROMPT) as stream:
        message = await stream.get_final_message()

    assert message.stop_reason is None
    assert stage.model.requests[0].finished


async def test_an_error_event_arrives_under_status_200(stage: Stage) -> None:
    stage.script = fail_after("Once", "overloaded_error")

    with pytest.raises(anthropic.APIStatusError) as caught:
        await stage.events()

    assert (caught.value.status_code, caught.value.type) == (200, "overloaded_error")


async def test_a_stall_is_mute_until_the_client_goes(stage: Stage) -> None:
    stage.script = stall_after("Once")
    hasty = stage.client.with_options(timeout=httpx2.Timeout(5.0, read=0.2))
    stream = await hasty.messages.create(**PROMPT, stream=True)

    for _ in range(3):
        await anext(stream)
    with pytest.raises(httpx2.ReadTimeout):
        await anext(stream)

    await until(lambda: stage.model.requests[0].closed_at is not None)
    assert not stage.model.requests[0].finished


async def test_cancelling_the_reader_stops_the_script(stage: Stage) -> None:
    stage.script = answer("word " * 1000, pause_s=0.01)
    task = asyncio.create_task(stage.events())
    await until(lambda: len(stage.model.requests) == 1)

    task.cancel()
    await until(lambda: stage.model.requests[0].closed_at is not None)

    assert not stage.model.requests[0].finished


async def test_a_pause_before_a_refusal_is_played(stage: Stage) -> None:
    stage.script = refuse(529, after_s=0.1)
    began = time.monotonic()

    with pytest.raises(anthropic.APIStatusError):
        await stage.events()

    assert time.monotonic() - began >= 0.1


async def test_any_event_can_be_sent(stage: Stage) -> None:
    stage.script = Script((Send({"type": "event_of_the_future"}),)) + answer("Still here.")

    async with stage.client.messages.stream(**PROMPT) as stream:
        message = await stream.get_final_message()

    assert message.stop_reason == "end_turn"


async def test_choose_sees_the_body_and_requests_are_kept(stage: Stage) -> None:
    await stage.events(system="Be brief.")

    received = stage.model.requests[0]
    assert received.body == PROMPT | {"system": "Be brief.", "stream": True}
    assert received.headers["authorization"] == "Bearer test-key"
    assert received.finished
    assert received.closed_at is not None
    assert received.closed_at >= received.received_at


@pytest.mark.parametrize("headers", [{}, {"x-api-key": ""}, {"authorization": "Bearer"}])
async def test_no_key_is_unauthorized(stage: Stage, headers: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=stage.url) as http:
        response = await http.post("/v1/messages", json=PROMPT, headers=headers)

    assert response.status_code == 401
    assert response.json()["error"]["type"] == "authentication_error"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"messages": []}, "messages: at least one message is required"),
        (
            {"messages": [{"role": "assistant", "content": "Hello"}]},
            'messages: first message must use the "user" role',
        ),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]},
            'messages: roles must alternate between "user" and "assistant", but found multiple "user" roles in a row',
        ),
        (
            {"messages": [{"role": "system", "content": "a"}]},
            'messages: unexpected role "system"; allowed are "user" and "assistant"',
        ),
        (
            {"messages": [{"role": "user", "content": ""}]},
            "messages.0: user messages must have non-empty content",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": " "}]}]},
            "messages.0: text content blocks must contain non-whitespace text",
        ),
        ({"model": ""}, "model: Field required"),
        ({"max_tokens": 0}, "max_tokens: Field required, an integer greater than 0"),
        ({"extra_body": {"temperature": 0.5}}, "temperature: not supported by this version of the API"),
        ({"extra_body": {"stream": False}}, "stream: this server only streams; send true"),
    ],
)
async def test_an_invalid_request_is_refused(stage: Stage, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        await stage.events(**changes)

    assert isinstance(caught.value.body, dict)
    assert caught.value.body["error"] == {"type": "invalid_request_error", "message": message}


async def test_thinking_of_a_turn_that_is_taken_up_again_may_be_empty(stage: Stage) -> None:
    thought = {"type": "thinking", "thinking": "", "signature": "c2NyaXB0ZWQ="}
    begun = [thought, {"type": "text", "text": "Good morning to you."}]
    turns = [*PROMPT["messages"], {"role": "assistant", "content": begun}]

    assert text_of(await stage.events(messages=turns)) == "Good morning to you."


TEXT = {"type": "text", "text": "So."}
USE = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}
THOUGHT = {"type": "thinking", "thinking": "Hm", "signature": "c2ln"}


@pytest.mark.parametrize(
    ("role", "blocks", "sentence"),
    [
        ("assistant", [TEXT, USE], "`web_search` tool use with id `s1` was found without a corresponding"),
        ("assistant", [FOUND], "unexpected `tool_use_id` found in `web_search_tool_result` blocks: s1"),
        ("assistant", [USE, FOUND, USE, FOUND], "`tool_use` ids must be unique"),
        ("assistant", [{**USE, "input": None}, FOUND], "input: Input should be a valid dictionary"),
        ("assistant", [THOUGHT, TEXT], "Invalid `signature` in `thinking` block"),
        ("assistant", [{**TEXT, "parsed_output": None}], "text.parsed_output: Extra inputs are not permitted"),
        ("assistant", [{"type": "brand_new"}], "Input tag 'brand_new' found using 'type'"),
        ("assistant", [{"type": "document", "source": {}}], "document blocks are not supported in assistant messages"),
        ("user", [{**TEXT, "citations": [{}]}], "citations: not supported in user messages"),
        ("user", [{**TEXT, "cache_control": {"type": "ephemeral"}}] * 5, "A maximum of 4 blocks with cache_control"),
    ],
)
async def test_what_the_service_refuses_of_a_history_is_refused_in_its_words(
    stage: Stage, role: str, blocks: list[dict[str, Any]], sentence: str
) -> None:
    history = [*PROMPT["messages"], {"role": "assistant", "content": blocks if role == "assistant" else [TEXT]}]
    asked = {"role": "user", "content": blocks if role == "user" else "And?"}

    with pytest.raises(anthropic.BadRequestError) as refusal:
        await stage.events(messages=[*history, asked])

    assert sentence in str(refusal.value)


async def test_a_prefix_seen_before_is_read_from_the_cache(stage: Stage) -> None:
    cached = {"extra_body": {"cache_control": {"type": "ephemeral"}}}
    longer = [
        *PROMPT["messages"],
        {"role": "assistant", "content": "Good morning to you."},
        {"role": "user", "content": "And good night"},
    ]

    first = (await stage.events(**cached))[0]
    second = (await stage.events(**cached, messages=longer))[0]
    changed = (await stage.events(**cached, messages=longer, system="Be brief."))[0]

    assert first.type == second.type == changed.type == "message_start"
    assert first.message.usage.cache_read_input_tokens == 0
    assert first.message.usage.cache_creation_input_tokens == 11
    assert second.message.usage.cache_read_input_tokens == 11
    assert second.message.usage.input_tokens == 0
    assert changed.message.usage.cache_read_input_tokens == 0


async def test_without_cache_control_nothing_is_cached(stage: Stage) -> None:
    await stage.events()
    again = (await stage.events())[0]

    assert again.type == "message_start"
    assert again.message.usage.cache_read_input_tokens == 0
    assert again.message.usage.input_tokens == 11


@pytest.fixture
def url_of_thread() -> Iterator[str]:
    with serving_in_thread(ScriptedModel(lambda _: Script((Pause(math.inf),)))) as url:
        yield url


def test_a_thread_serves_callers_without_a_loop_and_stops_under_a_stall(url_of_thread: str) -> None:
    client = anthropic.Anthropic(api_key="test-key", base_url=url_of_thread, max_retries=0, timeout=0.2)

    with client, pytest.raises(anthropic.APITimeoutError):
        client.messages.create(**PROMPT, stream=True)


class TestDemonstration:
    @staticmethod
    def asked(*texts: str) -> dict[str, Any]:
        roles = ["user", "assistant"] * len(texts)
        turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        return PROMPT | {"messages": turns}

    @staticmethod
    def said(script: Script) -> str:
        events = [step.event for step in script.steps if isinstance(step, Send)]
        return "".join(event["delta"].get("text", "") for event in events if "delta" in event)

    def test_it_says_that_it_is_no_model_and_quotes_the_user(self) -> None:
        said = self.said(demonstration(self.asked("What is the tallest mountain?")))

        assert "demonstration" in said
        assert "> What is the tallest mountain?" in said

    def test_the_same_request_plays_the_same_script(self) -> None:
        assert demonstration(self.asked("Hello")) == demonstration(self.asked("Hello"))

    def test_it_counts_the_conversation(self) -> None:
        assert "first message" in self.said(demonstration(self.asked("Hello")))
        assert "message 2 of yours" in self.said(demonstration(self.asked("Hello", "Hi", "And now?")))

    @pytest.mark.parametrize(
        ("wish", "sign"),
        [("a table please", "| --- |"), ("some code", "```python"), ("a list", "\n- "), ("中文", "流")],
    )
    def test_it_shows_what_was_asked_for(self, wish: str, sign: str) -> None:
        assert sign in self.said(demonstration(self.asked(wish)))

    def test_a_long_one_is_long(self) -> None:
        assert len(self.said(demonstration(self.asked("Tell me a long story")))) > 3000

    def test_it_thinks_and_searches_if_it_may(self) -> None:
        asked = self.asked("Think about a riddle")
        kinds = []
        for allowed in ({}, {"thinking": {"type": "adaptive"}, "tools": [{}]}):
            events = [step.event for step in demonstration(asked | allowed).steps if isinstance(step, Send)]
            kinds.append([event["content_block"]["type"] for event in events if "content_block" in event])
        searched = ["server_tool_use", "web_search_tool_result"]
        assert kinds == [["text", "text"], ["thinking", *searched, "text", *searched, "text"]]

    def test_blocks_are_read_and_attachments_counted(self) -> None:
        content = [{"type": "image", "source": {}}, {"type": "text", "text": "What is this?"}]
        said = self.said(demonstration(PROMPT | {"messages": [{"role": "user", "content": content}]}))

        assert "> What is this?" in said
        assert "1 attachment" in said

    async def test_it_writes_at_a_persons_pace(self, stage: Stage) -> None:
        body = self.asked("Hello")
        stage.script = demonstration(body)
        pauses = [step.seconds for step in stage.script.steps if isinstance(step, Pause)]

        assert pauses[0] == pytest.approx(0.6, abs=0.15)
        assert all(0.01 <= pause <= 0.04 for pause in pauses[1:])
        assert text_of(await stage.events()) == self.said(stage.script)

    def test_a_slash_word_shows_a_failure(self) -> None:
        assert demonstration(self.asked("/overloaded")) == refuse(529, message="Overloaded")

    def test_a_slash_word_counts_behind_a_message_that_got_no_answer(self) -> None:
        assert demonstration(self.asked("/overloaded\n\n/limit")) == demonstration(self.asked("/limit"))
