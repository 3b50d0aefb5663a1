import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from chatrelay.agents import Agent, KeptText, claude
from chatrelay.agents.claude import Claude
from chatrelay.agents.fallback import Fallback
from chatrelay.domain.blocks import log_of
from chatrelay.domain.errors import Denied, Overloaded, Reason, Refused, ReplyError, Said, TooLong, Unaccepted, Upstream
from chatrelay.domain.log import Part, is_text
from chatrelay.domain.reply import Ending
from chatrelay.domain.text import utf16_length
from chatrelay.domain.turns import Turn
from emulator.stand_ins.fake_anthropic import Received, ScriptedModel, serving
from emulator.stand_ins.script import (
    Script,
    Send,
    answer,
    block_delta,
    block_start,
    blocks,
    closing,
    cut_after,
    fail_after,
    found_block,
    message_start,
    partial,
    refuse,
    search_block,
    stall_after,
    text_block,
    thinking_block,
)
from tests.builders.doubles import Address, Secret
from tests.builders.patience import PATIENCE_S
from tests.builders.settings import CLAUDE
from tests.builders.written import log_in, text_in

SETTINGS = replace(CLAUDE, prompt="/relay/prompt")
pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = [Turn("1", "Good morning")]
SILENCE_S = 0.6
SOON = {"retry-after": "0.01"}
STOP = Send({"type": "message_stop"})


async def be_kind(*, renew: bool = False) -> str:
    return "Be kinder." if renew else "Be kind."


async def blank(*, renew: bool = False) -> str:
    return "" if renew else " \n"


class Stage:
    """Claude in front of a model that plays `scripts`, the last one for ever."""

    def __init__(self, client: AsyncAnthropic) -> None:
        self.scripts: list[Script] = []
        self.secret = Secret()
        self.texts: list[str] = []
        self.told: list[object] = []
        self.agent: Agent = Claude(client, self.secret, be_kind, SETTINGS)
        self.model = ScriptedModel(lambda _: self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0])

    @property
    def requests(self) -> list[Received]:
        return self.model.requests

    @property
    def text(self) -> str:
        return "".join(self.texts)

    async def play(self, *scripts: Script, turns: Sequence[Turn] = ASKED) -> Ending:
        """The ending of the answer, whose texts are in `texts`."""
        self.scripts = list(scripts)
        endings: list[Ending] = []
        async with aclosing(self.agent.answer("talk", turns)) as events:
            async for event in events:
                endings.append(event) if isinstance(event, Ending) else self.told.append(event)
                if is_text(event):
                    self.texts.append(text_in([event]))
        assert len(endings) == 1
        return endings[0]


@pytest.fixture(scope="module")
def service() -> Address:
    return Address()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Address) -> AsyncIterator[AsyncAnthropic]:
    """One for all tests: making one takes longer than a test."""
    with pytest.MonkeyPatch.context() as environment:
        async with serving(service) as url:
            environment.setenv("ANTHROPIC_BASE_URL", url)
            async with claude.client(read_timeout_s=60) as client:
                yield client


@pytest.fixture
def stage(service: Address, client: AsyncAnthropic) -> Stage:
    stage = Stage(client)
    service.app = stage.model
    return stage


@pytest.fixture
def impatient(service: Address, client: AsyncAnthropic) -> Stage:
    """Soon hangs up on a silent service."""
    stage = Stage(client.with_options(timeout=SILENCE_S))
    service.app = stage.model
    return stage


def said(*deltas: str) -> Script:
    steps = [block_delta(0, {"type": "text_delta", "text": delta}) for delta in deltas]
    return Script((message_start(), block_start(0, {"type": "text", "text": ""}), *steps))


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


async def test_an_answer_is_its_texts_and_then_its_ending(stage: Stage) -> None:
    ending = await stage.play(answer("Good 早上 🌅 e\u0301 morning", delta_chars=5))

    assert stage.text == "Good 早上 🌅 e\u0301 morning"
    assert (ending.stop_reason, ending.model) == ("end_turn", "claude-sonnet-5")
    assert ending.blocks == [text("Good 早上 🌅 e\u0301 morning")]
    assert ending.usage == {
        "input_tokens": 0,
        "output_tokens": 5,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 22,
    }


@pytest.mark.parametrize(
    "reason", ["end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded", "new_one"]
)
async def test_an_answer_that_stops_in_order_says_why(stage: Stage, reason: str) -> None:
    ending = await stage.play(answer("So far", stop_reason=reason))

    assert (stage.text, ending.stop_reason) == ("So far", reason)


async def test_an_answer_may_have_no_text(stage: Stage) -> None:
    ending = await stage.play(Script((message_start(), *closing(1).steps[1:])))

    assert (stage.texts, ending.blocks, ending.stop_reason) == ([], [], "end_turn")


async def test_a_refusal_is_told_as_one_after_what_was_written(stage: Stage) -> None:
    with pytest.raises(Refused) as refusal:
        await stage.play(answer("I would", stop_reason="refusal"))

    assert (stage.text, refusal.value.code, refusal.value.retryable) == ("I would", "refused", False)


async def test_a_paused_turn_is_taken_up_again_and_is_one_answer(stage: Stage) -> None:
    ending = await stage.play(
        answer("Let me ", stop_reason="pause_turn"), answer("see: ", stop_reason="pause_turn"), answer("42.")
    )

    assert stage.text == "Let me see: 42."
    assert ending.stop_reason == "end_turn"
    assert ending.blocks == [text("Let me "), text("see: "), text("42.")]
    assert ending.usage["output_tokens"] == 2 + 1 + 1
    user = {"role": "user", "content": [text("Good morning")]}
    assert [request.body["messages"] for request in stage.requests] == [
        [user],
        [user, {"role": "assistant", "content": [text("Let me ")]}],
        [user, {"role": "assistant", "content": [text("Let me "), text("see: ")]}],
    ]


async def test_a_turn_that_pauses_for_ever_ends_as_it_is(stage: Stage) -> None:
    ending = await stage.play(answer("again ", stop_reason="pause_turn"))

    assert (stage.text, ending.stop_reason) == ("again " * 6, "pause_turn")


async def test_a_turn_that_pauses_before_it_wrote_anything_is_asked_again(stage: Stage) -> None:
    paused = Script((message_start(), *closing(1, stop_reason="pause_turn").steps[1:]))

    ending = await stage.play(paused, answer("Now."))

    assert (stage.text, ending.stop_reason) == ("Now.", "end_turn")


async def test_a_pair_that_is_cut_between_two_deltas_is_whole_everywhere(stage: Stage) -> None:
    steps = [*said("so \ud83d", "\ude00!").steps, *closing(2, stop_reason="pause_turn").steps]

    ending = await stage.play(Script(tuple(steps)), answer("Yes"))

    assert (stage.texts, ending.blocks) == (["so ", "😀!", "Yes"], [text("so 😀!"), text("Yes")])


async def test_a_pair_that_is_cut_between_two_blocks_is_replaced_everywhere(stage: Stage) -> None:
    steps = [*said("so \ud83d").steps, *text_block(1, "\ude00!"), STOP]

    ending = await stage.play(Script(tuple(steps)))

    assert (stage.text, ending.blocks) == ("so \ufffd\ufffd!", [text("so \ufffd"), text("\ufffd!")])


async def test_half_a_pair_at_the_end_is_replaced_everywhere(stage: Stage) -> None:
    ending = await stage.play(said("so \ud83d") + closing(2))

    assert (stage.text, ending.blocks) == ("so \ufffd", [text("so \ufffd")])


async def test_thinking_is_kept_verbatim_and_is_no_text(stage: Stage) -> None:
    ending = await stage.play(answer("So.", thinking="Hm, 早上"))

    assert stage.text == "So."
    assert ending.blocks == [{"type": "thinking", "thinking": "Hm, 早上", "signature": "c2NyaXB0ZWQ="}, text("So.")]


async def test_empty_thinking_and_blocks_that_are_not_known_are_kept_verbatim(stage: Stage) -> None:
    steps = [
        message_start(),
        block_start(0, {"type": "thinking", "thinking": "", "signature": ""}),
        block_delta(0, {"type": "signature_delta", "signature": "c2ln"}),
        block_start(1, {"type": "redacted_thinking", "data": "eA=="}),
        block_start(2, {"type": "new_block", "deep": [{"x": 1.5}]}),
        block_delta(2, {"type": "new_delta", "more": 1}),
        block_start(3, {"type": "text", "text": "", "citations": None}),
        block_delta(3, {"type": "text_delta", "text": "So."}),
    ]

    ending = await stage.play(Script(tuple(steps)) + closing(2, index=3))

    assert stage.text == "So."
    assert ending.blocks == [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
        {"type": "new_block", "deep": [{"x": 1.5}]},
        {"type": "text", "text": "So.", "citations": None},
    ]


@pytest.mark.parametrize("place", ["before", "amid", "after"])
async def test_events_that_are_not_known_and_pings_are_ignored(stage: Stage, place: str) -> None:
    strange = Script((Send({"type": "brand_new", "deep": {"x": 1}}), Send({"type": "ping"})))
    scripts = {
        "before": strange + answer("Hello"),
        "amid": partial("Hello") + strange + closing(1),
        "after": answer("Hello") + strange,
    }

    ending = await stage.play(scripts[place])

    assert (stage.text, ending.stop_reason) == ("Hello", "end_turn")


async def test_usage_is_cumulative_and_what_it_omits_stays(stage: Stage) -> None:
    start = {"type": "message_start", "message": {"type": "message", "role": "assistant", "content": []}}
    start["message"]["usage"] = {"input_tokens": 7, "output_tokens": 1, "cache_read_input_tokens": 9}  # type: ignore[index]

    def delta(**usage: int) -> Send:
        return Send({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage})

    ending = await stage.play(
        Script((Send(start), delta(output_tokens=5), delta(output_tokens=8, input_tokens=11), STOP))
    )

    assert ending.usage == {
        "input_tokens": 11,
        "output_tokens": 8,
        "cache_read_input_tokens": 9,
        "cache_creation_input_tokens": 0,
    }


@pytest.mark.parametrize(
    ("script", "kept"),
    [
        (partial("So far"), "So far"),
        (partial(""), ""),
        (Script(()), ""),
        (cut_after("So far"), "So far"),
        (stall_after("So far"), "So far"),
        (fail_after("So far", "api_error"), "So far"),
        (Script((STOP,)), ""),
        (said("So far") + Script((block_delta(9, {"type": "text_delta", "text": "?"}),)), "So far"),
        (said("So far") + Script((Send({"type": "message_delta", "delta": {"stop_reason": "end_turn"}}),)), "So far"),
    ],
    ids=[
        "a clean end without message_stop",
        "a clean end without text",
        "nothing at all",
        "a cut connection",
        "silence",
        "an api_error in mid-stream",
        "message_stop alone",
        "a delta of no block",
        "a message_delta without usage",
    ],
)
async def test_a_stream_that_breaks_off_is_upstreams_failure_after_what_was_written(
    impatient: Stage, script: Script, kept: str
) -> None:
    with pytest.raises(Upstream) as failure:
        await impatient.play(script)

    assert (impatient.text, failure.value.code, failure.value.retryable) == (kept, "upstream", True)
    assert len(impatient.requests) == 1


@pytest.mark.parametrize("kind", ["overloaded_error", "rate_limit_error"])
async def test_an_overload_in_mid_stream_is_told_as_one(stage: Stage, kind: str) -> None:
    with pytest.raises(Overloaded):
        await stage.play(fail_after("So far", kind))

    assert (stage.text, len(stage.requests)) == ("So far", 1)


@pytest.mark.parametrize(
    ("script", "error", "reason", "kept"),
    [
        (refuse(400), Unaccepted, Reason.UNACCEPTED, ""),
        (refuse(403), Denied, Reason.PERMISSION, ""),
        (refuse(404), Denied, Reason.MODEL, ""),
        (refuse(413), TooLong, Reason.TOO_LONG, ""),
        (fail_after("So far", "invalid_request_error"), Unaccepted, Reason.UNACCEPTED, "So far"),
    ],
    ids=["400", "403", "404", "413", "in mid-stream"],
)
async def test_a_request_that_is_refused_for_good_is_not_repeated(
    stage: Stage, script: Script, error: type[ReplyError], reason: Reason, kept: str
) -> None:
    with pytest.raises(error) as refusal:
        await stage.play(script)

    assert (refusal.value.reason, refusal.value.retryable) == (reason, False)
    assert (stage.text, len(stage.requests)) == (kept, 1)


async def test_what_the_service_said_is_there_for_the_log(stage: Stage) -> None:
    with pytest.raises(Denied) as refusal:
        await stage.play(refuse(404, message="model: claude-sonnet-5"))

    request_id = refusal.value.said.request_id
    assert refusal.value.said == Said(404, "not_found_error", "model: claude-sonnet-5", request_id)
    assert request_id.startswith("req_")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (partial("So far"), Reason.CUT_OFF),
        (cut_after("So far"), Reason.CUT_OFF),
        (fail_after("So far"), Reason.BUSY),
        (said("So far") + Script((Send({"type": "content_block_stop", "index": 9}),)), Reason.OUT_OF_GRAMMAR),
        (Script((STOP,)), Reason.OUT_OF_GRAMMAR),
        (Script(()), Reason.OUT_OF_GRAMMAR),
        (answer("I would", stop_reason="refusal"), Reason.DECLINED),
        (refuse(400), Reason.UNACCEPTED),
    ],
    ids=["no end", "cut", "overload", "nonsense", "an end alone", "nothing", "declined", "refused"],
)
async def test_every_failure_names_the_request_to_ask_the_service_about(
    stage: Stage, script: Script, reason: Reason
) -> None:
    with pytest.raises(ReplyError) as failure:
        await stage.play(script)

    assert (failure.value.reason, failure.value.said.request_id[:4]) == (reason, "req_")


@pytest.mark.parametrize(
    ("status", "error"), [(429, Overloaded), (529, Overloaded), (500, Upstream)], ids=["429", "529", "500"]
)
async def test_a_service_in_trouble_is_asked_three_times(stage: Stage, status: int, error: type[ReplyError]) -> None:
    with pytest.raises(error):
        await stage.play(refuse(status, headers=SOON))

    assert len(stage.requests) == 3


@pytest.mark.parametrize("status", [429, 500, 529])
async def test_trouble_that_passes_is_not_seen(stage: Stage, status: int) -> None:
    ending = await stage.play(refuse(status, headers=SOON), answer("Hello"))

    assert (stage.text, ending.stop_reason, len(stage.requests)) == ("Hello", "end_turn", 2)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"retry-after": "30"}, 30.0),
        ({"retry-after-ms": "6000"}, 6.0),
        ({"retry-after": "1", "retry-after-ms": "6000"}, 6.0),
        ({"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
    ],
    ids=["seconds", "milliseconds", "both", "a date", "infinity", "not a number"],
)
@pytest.mark.parametrize("status", [429, 529])
async def test_a_long_wait_is_told_and_not_waited_for(
    stage: Stage, status: int, headers: dict[str, str], told: float | None
) -> None:
    with pytest.raises(Overloaded) as failure:
        async with asyncio.timeout(PATIENCE_S):
            await stage.play(refuse(status, headers=headers))

    assert (failure.value.retry_after_s, len(stage.requests)) == (told, 1)


async def test_a_key_that_is_refused_is_read_anew_once(stage: Stage) -> None:
    await stage.play(refuse(401), answer("Hello"))

    assert (stage.text, stage.secret.renewals) == ("Hello", [False, True])
    assert [request.headers["authorization"] for request in stage.requests] == ["Bearer key-0", "Bearer key-1"]


async def test_a_key_that_is_refused_twice_is_the_operators_to_mend(stage: Stage) -> None:
    with pytest.raises(Denied) as refusal:
        await stage.play(refuse(401))

    assert (refusal.value.reason, refusal.value.retryable) == (Reason.KEY, False)
    assert (stage.secret.renewals, len(stage.requests)) == ([False, True], 2)


async def test_a_request_carries_what_the_deployment_chose_and_the_conversation(stage: Stage) -> None:
    thought = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    turns = [Turn("1", "Hi", [thought, text("Hello 早上")]), Turn("2", "and?")]

    await stage.play(answer("Yes"), turns=turns)

    body = stage.requests[0].body
    assert body == {
        "model": "claude-sonnet-5",
        "max_tokens": 4096,
        "system": "Be kind.",
        "stream": True,
        "cache_control": {"type": "ephemeral"},
        "messages": [
            {"role": "user", "content": [text("Hi")]},
            {"role": "assistant", "content": [text("Hello 早上")]},
            {"role": "user", "content": [text("and?")]},
        ],
    }


@pytest.mark.parametrize("prompt", [None, blank])
async def test_an_empty_system_prompt_is_left_out(
    stage: Stage, client: AsyncAnthropic, prompt: KeptText | None
) -> None:
    stage.agent = Claude(client, stage.secret, prompt, SETTINGS)

    await stage.play(answer("Yes"))

    assert "system" not in stage.requests[0].body


async def test_a_later_turn_reads_the_earlier_one_from_the_cache(stage: Stage) -> None:
    first = await stage.play(answer("A long answer, worth caching."))
    second = await stage.play(answer("Yes"), turns=[Turn("1", "Good morning", first.blocks), Turn("2", "Sure?")])

    assert first.usage["cache_read_input_tokens"] == 0
    assert second.usage["cache_read_input_tokens"] == first.usage["cache_creation_input_tokens"]


async def test_cancelling_stops_the_model_at_once(stage: Stage) -> None:
    task = asyncio.create_task(stage.play(answer("word " * 10_000, pause_s=0.01)))
    async with asyncio.timeout(PATIENCE_S):
        while len(stage.texts) < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(PATIENCE_S):
        while stage.requests[0].closed_at is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    assert not stage.requests[0].finished


async def test_leaving_the_answer_stops_the_model_at_once(stage: Stage) -> None:
    stage.scripts = [stall_after("So far", delta_chars=100)]
    async with aclosing(stage.agent.answer("talk", ASKED)) as events:
        assert text_in([await anext(events)]) == "So far"
    async with asyncio.timeout(PATIENCE_S):
        while stage.requests[0].closed_at is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)

    assert not stage.requests[0].finished


async def test_one_client_serves_many_answers_at_once(stage: Stage) -> None:
    stage.scripts = [answer("word " * 50, pause_s=0.001)]

    async def read() -> str:
        return text_in([event async for event in stage.agent.answer("talk", ASKED)])

    assert await asyncio.gather(*[read() for _ in range(8)]) == ["word " * 50] * 8


async def test_a_service_that_is_not_there_is_upstreams_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("ANTHROPIC_BASE_URL", f"http://127.0.0.1:{port}")
    async with claude.client(read_timeout_s=1) as client:
        with pytest.raises(Upstream):
            await anext(Claude(client, Secret(), None, SETTINGS).answer("talk", ASKED))


STARTED = (
    'event: message_start\ndata: {"type":"message_start","message":{"type":"message","role":"assistant",'
    '"content":[],"model":"m","usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
)


@pytest.mark.parametrize(
    ("status", "kind", "body", "error"),
    [
        (429, "text/html", "<h1>Slow down</h1>", Overloaded),
        (529, "text/html", "<h1>Busy</h1>", Overloaded),
        (502, "text/html", "<h1>Bad gateway</h1>", Upstream),
        (200, "text/event-stream", STARTED + 'event: message_stop\ndata: {"type":"mess', Upstream),
        (200, "text/event-stream", STARTED + 'event: message_stop\ndata: {"type":"mess\n\n', Upstream),
        (200, "text/event-stream", STARTED + "event: error\ndata: down\n\n", Upstream),
        (200, "text/html", "<h1>Welcome to the Wi-Fi</h1>", Upstream),
        (200, "application/json", '{"type":"message"}', Upstream),
    ],
    ids=["429 page", "529 page", "502 page", "half an event", "no JSON", "a bare error", "a portal", "no stream"],
)
async def test_what_is_not_the_services_own_answer_is_no_crash(
    stage: Stage, service: Address, status: int, kind: str, body: str, error: type[ReplyError]
) -> None:
    async def page(_: Request) -> Response:
        return Response(body, status, SOON, kind)

    service.app = Starlette(routes=[Route("/v1/messages", page, methods=["POST"])])
    with pytest.raises(error):
        await anext(stage.agent.answer("talk", ASKED))


def chosen(stage: Stage, client: AsyncAnthropic, **changes: Any) -> Claude:
    return Claude(client, stage.secret, be_kind, replace(SETTINGS, **changes))


def with_fallback(stage: Stage, client: AsyncAnthropic) -> Fallback:
    return Fallback(chosen(stage, client), chosen(stage, client, model="claude-haiku-5"))


async def test_thinking_and_web_search_are_asked_for_if_the_deployment_wants_them(
    stage: Stage, client: AsyncAnthropic
) -> None:
    stage.agent = chosen(stage, client, thinking=True, web_searches=3)

    await stage.play(answer("Yes"))

    body = stage.requests[0].body
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["tools"] == [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]


PAGE = {
    "type": "web_search_result",
    "title": "Weather 早上",
    "url": "https://weather.example/",
    "encrypted_content": "ZW5j",
    "page_age": None,
}
CITATION = {
    "type": "web_search_result_location",
    "url": "https://weather.example/",
    "title": "Weather 早上",
    "encrypted_index": "aW5k",
    "cited_text": "It rains.",
}


async def test_a_search_is_told_in_parts_and_kept_verbatim_with_its_citations(stage: Stage) -> None:
    ending = await stage.play(
        blocks(
            *thinking_block("Hm, \ud83d\ude00", 5, 0),
            *search_block(1, "srvtoolu_1", "weather in 早上"),
            *found_block(2, "srvtoolu_1", [PAGE]),
            *text_block(3, "It rains.", CITATION),
        )
    )

    page = {name: value for name, value in PAGE.items() if name != "encrypted_content"}
    log = log_in(stage.told)
    at = sum(utf16_length(part.content) for part in log.parts[:3])
    assert log.parts == [
        Part("reasoning", "Hm, 😀"),
        Part("tool", '{"query": "weather in 早上"}', {"call": "srvtoolu_1", "name": "web_search", "by": "model"}),
        Part("tool_result", json.dumps([page], ensure_ascii=False), {"call": "srvtoolu_1", "is_error": False}),
        Part("message", "It rains."),
        Part("source", "https://weather.example/", {"title": "Weather 早上", "from": at, "to": at + 9}),
    ]
    assert log_of(ending.blocks).parts == log.parts
    assert ending.blocks == [
        {"type": "thinking", "thinking": "Hm, 😀", "signature": "c2NyaXB0ZWQ="},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "weather in 早上"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [PAGE]},
        {"type": "text", "text": "It rains.", "citations": [CITATION]},
    ]


async def test_a_turn_that_pauses_in_a_search_is_taken_up_again_with_all_its_blocks(stage: Stage) -> None:
    failed = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    ending = await stage.play(
        blocks(
            *thinking_block("Hm", 5, 0),
            *search_block(1, "srvtoolu_1", "rain"),
            *found_block(2, "srvtoolu_1", failed),
            *search_block(3, "srvtoolu_2", "rain"),
            stop_reason="pause_turn",
        ),
        blocks(*found_block(0, "srvtoolu_2", [PAGE]), *text_block(1, "It rains.")),
    )

    again = stage.requests[1].body["messages"][-1]
    assert (again["role"], again["content"]) == ("assistant", ending.blocks[:4])
    assert [block["type"] for block in ending.blocks[4:]] == ["web_search_tool_result", "text"]
    log = log_in(stage.told)
    results = [(part.content, part.facts["is_error"]) for part in log.parts if part.kind == "tool_result"]
    assert results[0] == (json.dumps(failed), True)
    assert log_of(ending.blocks).parts == log.parts
    assert stage.text == "It rains."


@pytest.mark.parametrize("status", [429, 529])
async def test_the_fallback_model_answers_when_the_first_is_overloaded(
    stage: Stage, client: AsyncAnthropic, status: int
) -> None:
    stage.agent = with_fallback(stage, client)

    ending = await stage.play(refuse(status, headers={"retry-after": "30"}), answer("Hello"))

    assert (stage.text, ending.model) == ("Hello", "claude-haiku-5")
    assert [request.body["model"] for request in stage.requests] == ["claude-sonnet-5", "claude-haiku-5"]


async def test_the_fallback_model_answers_after_thinking_that_has_no_text_yet(
    stage: Stage, client: AsyncAnthropic
) -> None:
    stage.agent = with_fallback(stage, client)
    overload = Send({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})

    ending = await stage.play(blocks(*thinking_block("Hm", 5, 0), overload), answer("Hello"))

    assert (stage.text, ending.blocks) == ("Hello", [text("Hello")])


async def test_no_other_model_takes_over_after_the_first_text_or_for_another_failure(
    stage: Stage, client: AsyncAnthropic
) -> None:
    stage.agent = with_fallback(stage, client)

    with pytest.raises(Overloaded):
        await stage.play(fail_after("So far"), answer("Hello"))
    with pytest.raises(Unaccepted):
        await stage.play(refuse(400), answer("Hello"))

    assert (stage.text, len(stage.requests)) == ("So far", 2)


async def test_a_fallback_model_that_is_overloaded_too_is_told(stage: Stage, client: AsyncAnthropic) -> None:
    stage.agent = with_fallback(stage, client)

    with pytest.raises(Overloaded):
        await stage.play(refuse(529, headers={"retry-after": "30"}))

    assert len(stage.requests) == 2


@pytest.mark.parametrize(
    "refusal",
    ["prompt is too long: 9 tokens > 8", "adaptive thinking is not supported on this model", "Something else."],
)
async def test_what_a_fallback_model_does_not_take_may_pass_with_the_overload(
    stage: Stage, client: AsyncAnthropic, refusal: str
) -> None:
    stage.agent = with_fallback(stage, client)

    with pytest.raises(Overloaded):
        await stage.play(refuse(529, headers={"retry-after": "30"}), refuse(400, message=refusal))

    assert len(stage.requests) == 2


async def test_a_paused_turn_is_not_taken_up_by_an_account_that_is_empty(stage: Stage) -> None:
    with pytest.raises(Denied) as failure:
        await stage.play(
            answer("Let me see.", stop_reason="pause_turn"), refuse(400, message="Your credit balance is too low.")
        )

    assert (stage.text, failure.value.reason) == ("Let me see.", Reason.ACCOUNT)


async def test_a_paused_turn_that_is_not_taken_up_ends_as_it_is(stage: Stage) -> None:
    ending = await stage.play(answer("Let me see.", stop_reason="pause_turn"), refuse(400))

    assert (stage.text, ending.stop_reason, len(stage.requests)) == ("Let me see.", "pause_turn", 2)


@pytest.mark.parametrize("reason", ["max_tokens", "pause_turn", "model_context_window_exceeded"])
async def test_an_answer_that_ends_in_a_search_does_not_end_its_conversation(
    stage: Stage, client: AsyncAnthropic, reason: str
) -> None:
    stage.agent = chosen(stage, client, web_searches=3)
    looking = blocks(*text_block(0, "Looking"), *search_block(1, "srvtoolu_A", "rain"), stop_reason=reason)

    first = await stage.play(looking)
    await stage.play(answer("Yes"), turns=[Turn("1", "first", first.blocks), Turn("2", "second")])

    told = stage.requests[-1].body["messages"]
    assert (told[1]["content"][0], first.stop_reason) == (text("Looking"), reason)
    assert stage.texts[-1] == "Yes"


async def test_an_input_with_a_number_that_json_does_not_have_is_none(stage: Stage) -> None:
    steps = [
        message_start(),
        block_start(0, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}),
        block_delta(0, {"type": "input_json_delta", "partial_json": '{"query": "rain", "most": 1e999}'}),
        Send({"type": "content_block_stop", "index": 0}),
    ]

    ending = await stage.play(Script(tuple(steps)) + closing(2, index=0))

    assert ending.blocks == [{"type": "server_tool_use", "id": "s1", "name": "web_search"}]
    assert log_in(stage.told).parts == []


async def test_an_answer_that_its_limit_cuts_in_a_search_is_kept_as_far_as_it_goes(stage: Stage) -> None:
    cut = search_block(1, "srvtoolu_A", "rain")[:2]

    ending = await stage.play(blocks(*text_block(0, "Looking"), *cut, stop_reason="max_tokens"))

    assert ending.blocks == [
        text("Looking"),
        {"type": "server_tool_use", "id": "srvtoolu_A", "name": "web_search"},
    ]
