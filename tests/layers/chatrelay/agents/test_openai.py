"""The agent against a real HTTP server that speaks the grammar of OpenAI's Responses API."""

import asyncio
import json
import math
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.responses import Response

from chatrelay.agents import openai
from chatrelay.agents.openai import OpenAI
from chatrelay.domain.errors import Denied, Overloaded, Reason, Refused, ReplyError, Said, TooLong, Unaccepted, Upstream
from chatrelay.domain.log import Part
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Turn
from chatrelay.settings import OpenAI as Settings
from emulator.stand_ins.fake_anthropic import serving
from emulator.stand_ins.script import Cut, Pause, Script, Send, Step
from tests.builders.cancelling import cancelled_midway
from tests.builders.doubles import Address, Secret
from tests.builders.openai_service import Service
from tests.builders.patience import PATIENCE_S
from tests.builders.written import log_in, text_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = Settings("unused here", "relay/openai", "gpt-5", False, 4096, "/relay/prompt", 60)
ASKED = [Turn("1", "Good morning")]
SILENCE_S = 0.6
USAGE = {
    "input_tokens": 90,
    "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 20},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 97,
}


async def be_kind(*, renew: bool = False) -> str:
    return "Be kinder." if renew else "Be kind."


@pytest.fixture(scope="module")
def address() -> Address:
    return Address()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(address: Address) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(address) as address.url, openai.client(f"{address.url}/v1", SETTINGS.read_timeout_s) as client:
        yield client


@pytest.fixture
def service(address: Address) -> Service:
    address.app = service = Service()
    return service


@pytest.fixture
def secret() -> Secret:
    return Secret()


@pytest.fixture
def agent(client: httpx.AsyncClient, secret: Secret) -> OpenAI:
    return OpenAI(client, secret, be_kind, SETTINGS)


@pytest_asyncio.fixture(loop_scope="module")
async def impatient(client: httpx.AsyncClient, address: Address, secret: Secret) -> AsyncIterator[OpenAI]:
    """An agent that soon hangs up on a silent service."""
    async with openai.client(f"{address.url}/v1", SILENCE_S) as client:
        yield OpenAI(client, secret, be_kind, SETTINGS)


async def play(agent: OpenAI, turns: Sequence[Turn] = ASKED) -> tuple[str, Ending]:
    """The text of the answer, and its ending."""
    *texts, ending = [event async for event in agent.answer("talk", turns)]
    assert isinstance(ending, Ending)
    return text_in(texts), ending


async def broken_off(agent: OpenAI) -> tuple[str, ReplyError]:
    """The text until the answer breaks off, and how it does."""
    said = ""
    try:
        async for event in agent.answer("talk", ASKED):
            said += text_in([event])
    except ReplyError as problem:
        return said, problem
    raise AssertionError("it ended in order")


def begun(*deltas: str) -> Script:
    """An answer up to and with its text, in which `deltas` are the pieces, with all the events around them."""
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    return numbered(
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.in_progress", "response": response("in_progress")},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {"id": "rs_1", "type": "reasoning", "summary": []},
        },
        {"type": "response.output_item.done", "output_index": 0, "item": {"id": "rs_1", "type": "reasoning"}},
        {"type": "response.output_item.added", "output_index": 1, "item": item},
        {"type": "response.content_part.added", "part": part, **place},
        *({"type": "response.output_text.delta", "delta": delta, "logprobs": [], **place} for delta in deltas),
    )


def ended(status: str = "completed", **more: Any) -> Script:
    """The rest of an answer, with the texts repeated as the service does."""
    place = {"item_id": "msg_1", "output_index": 1, "content_index": 0}
    return numbered(
        {"type": "response.output_text.done", "text": "all of it again", "logprobs": [], **place},
        {"type": "response.content_part.done", "part": {"type": "output_text", "text": "all of it again"}, **place},
        {"type": "response.output_item.done", "output_index": 1, "item": {"id": "msg_1", "type": "message"}},
        {"type": f"response.{status}", "response": response(status, usage=USAGE, **more)},
    )


def numbered(*events: dict[str, Any]) -> Script:
    return Script(tuple(Send({**event, "sequence_number": number}) for number, event in enumerate(events)))


def response(status: str, **more: Any) -> dict[str, Any]:
    unknown_yet = {"error": None, "incomplete_details": None, "usage": None}
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5-2025", **unknown_yet, **more}


def refusal(status: int, code: str | None, *, headers: dict[str, str] | None = None) -> Response:
    error = {"message": "No.", "type": "some_error", "param": None, "code": code}
    return Response(json.dumps({"error": error}), status, headers, "application/json")


async def test_an_answer_is_its_texts_and_then_its_ending(agent: OpenAI, service: Service) -> None:
    service.script = begun("Good 早上", " 🌅 mor", "ning") + ended()

    assert await play(agent) == (
        "Good 早上 🌅 morning",
        Ending(
            "end_turn",
            "gpt-5-2025",
            {
                "input_tokens": 10,
                "output_tokens": 7,
                "cache_read_input_tokens": 60,
                "cache_creation_input_tokens": 20,
            },
            [{"type": "text", "text": "Good 早上 🌅 morning"}],
        ),
    )


async def test_texts_come_as_they_are_written(agent: OpenAI, service: Service) -> None:
    service.script = begun("So ", "far") + Script((Pause(math.inf),))

    async with aclosing(agent.answer("talk", ASKED)) as events:
        assert [text_in([await anext(events)]) for _ in range(2)] == ["So ", "far"]


async def test_an_answer_may_have_no_text(agent: OpenAI, service: Service) -> None:
    service.script = begun() + ended()

    said, ending = await play(agent)

    assert (said, ending.blocks) == ("", [])


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": "many"}, {"input_tokens": 3, "output_tokens": None}])
async def test_usage_that_is_not_told_is_estimated(agent: OpenAI, service: Service, usage: object) -> None:
    service.script = begun("Hello world!") + numbered(
        {"type": "response.completed", "response": response("completed", usage=usage)}
    )

    assert (await play(agent))[1].usage == {"output_tokens": 5}


async def test_usage_without_a_cache_neither_read_nor_wrote_it(agent: OpenAI, service: Service) -> None:
    usage = {"input_tokens": 3, "output_tokens": 4}
    service.script = numbered({"type": "response.completed", "response": response("completed", usage=usage)})

    assert (await play(agent))[1].usage == {
        "input_tokens": 3,
        "output_tokens": 4,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    }


async def test_a_pair_that_is_cut_between_two_deltas_is_whole(agent: OpenAI, service: Service) -> None:
    service.script = begun("so \ud83d", "\ude00!", "\ud83d") + ended()

    said, ending = await play(agent)

    assert (said, ending.blocks) == ("so 😀!\ufffd", [{"type": "text", "text": "so 😀!\ufffd"}])


COMPLETED = {"type": "response.completed", "response": response("completed", usage=USAGE)}


def said(delta: str, part: int = 0, output: int = 2) -> dict[str, Any]:
    place = {"item_id": "msg_1", "output_index": output, "content_index": part}
    return {"type": "response.output_text.delta", "delta": delta, "logprobs": [], **place}


def thought(delta: str, part: int = 0, output: int = 0) -> dict[str, Any]:
    place = {"item_id": f"rs_{output}", "output_index": output, "summary_index": part}
    return {"type": "response.reasoning_summary_text.delta", "delta": delta, **place}


def raw_thought(delta: str, part: int = 0) -> dict[str, Any]:
    place = {"item_id": "rs_0", "output_index": 0, "content_index": part}
    return {"type": "response.reasoning_text.delta", "delta": delta, **place}


def done(**item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": 1, "item": item}


def citation(**more: Any) -> dict[str, Any]:
    fields = {"type": "url_citation", "url": "https://w.example/", "title": "Weather", **more}
    place = {"item_id": "msg_1", "output_index": 2, "content_index": 0, "annotation_index": 0}
    return {"type": "response.output_text.annotation.added", "annotation": fields, **place}


SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "rain"}}


async def written(agent: OpenAI, service: Service, *events: dict[str, Any]) -> list[tuple[str, str]]:
    """The parts of the answer that has these events, by kind and content."""
    service.script = numbered(*events, COMPLETED)
    return [(part.kind, part.content) for part in log_in([event async for event in agent.answer("talk", ASKED)]).parts]


async def test_an_answer_has_thoughts_tools_texts_and_their_sources(agent: OpenAI, service: Service) -> None:
    link = "([w.example](https://w.example/))"
    service.script = numbered(
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "rs_0", "type": "reasoning"}},
        {"type": "response.reasoning_summary_part.added", "item_id": "rs_0", "summary_index": 0},
        thought("**Wea"),
        thought("ther**"),
        {"type": "response.reasoning_summary_text.done", "summary_index": 0, "text": "**Weather**"},
        {"type": "response.output_item.added", "output_index": 1, "item": {**SEARCH, "status": "in_progress"}},
        {"type": "response.web_search_call.searching", "output_index": 1, "item_id": "ws_1"},
        done(**SEARCH),
        said("It rains 😀. "),
        said(link),
        citation(start_index=12, end_index=12 + len(link)),
        {"type": "response.output_text.done", "text": f"It rains 😀. {link}"},
        COMPLETED,
    )

    *events, ending = [event async for event in agent.answer("talk", ASKED)]

    text, asked, found = f"It rains 😀. {link}", '{"type": "search", "query": "rain"}', '{"status": "completed"}'
    begins = len("**Weather**") + len(asked) + len(found) + len("It rains . ") + 2  # the emoji counts twice
    assert log_in(events).parts == [
        Part("reasoning", "**Weather**"),
        Part("tool", asked, {"call": "ws_1", "name": "web_search", "by": "model"}),
        Part("tool_result", found, {"call": "ws_1", "is_error": False}),
        Part("message", text),
        Part("source", "https://w.example/", {"title": "Weather", "from": begins, "to": begins + len(link)}),
    ]
    assert isinstance(ending, Ending)
    assert ending.blocks == [{"type": "text", "text": text}], "no model is told anything but the text"


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        ([thought("One"), thought("Two", 1)], [("reasoning", "One\n\nTwo")]),
        ([thought("One"), thought("", 1), thought("Three", 2)], [("reasoning", "One\n\nThree")]),
        ([thought("One"), done(type="reasoning", id="rs_0"), thought("Two", output=1)], [("reasoning", "One\n\nTwo")]),
        ([raw_thought("So "), raw_thought("on"), thought("In short")], [("reasoning", "So on\n\nIn short")]),
        (
            [thought("One"), said("So."), thought("Two", 1)],
            [("reasoning", "One"), ("message", "So."), ("reasoning", "Two")],
        ),
        ([said("So "), said("far", 1)], [("message", "So far")]),
        ([said("So "), done(type="message", id="msg_1"), said("far", output=3)], [("message", "So far")]),
        ([thought("\ud83d"), thought("\ude00!")], [("reasoning", "😀!")]),
        ([thought("\ud83d"), thought("\ude00!", 1)], [("reasoning", "\ufffd\n\n\ufffd!")]),
        ([thought("\ud83d"), said("\ude00")], [("reasoning", "\ufffd"), ("message", "\ufffd")]),
        ([said("\ud83d"), said("\ude00", 1)], [("message", "\ufffd\ufffd")]),
        ([said("\ud83d"), said("", 1), said("\ude00")], [("message", "😀")]),
        (
            [said("\ud83d"), done(type="function_call", call_id="c", name="n"), said("\ude00")],
            [("message", "\ufffd"), ("tool", "{}"), ("message", "\ufffd")],
        ),
    ],
)
async def test_what_follows_belongs_together_only_within_its_part(
    agent: OpenAI, service: Service, events: list[dict[str, Any]], parts: list[tuple[str, str]]
) -> None:
    assert await written(agent, service, *events) == parts


@pytest.mark.parametrize(
    ("start", "supported"),
    [
        (5, "漢 b"),
        (0, "a漢😀 b漢 b"),
        (None, "a漢😀 b漢 b"),
        (-1, "a漢😀 b漢 b"),
        (99, "a漢😀 b漢 b"),
        (2**70, "a漢😀 b漢 b"),
    ],
)
async def test_a_citation_supports_what_is_written_from_its_beginning_on(
    agent: OpenAI, service: Service, start: int | None, supported: str
) -> None:
    service.script = numbered(
        said("Yes. ", 1, 1), said("a漢😀 b"), said("漢 b"), citation(start_index=start), COMPLETED
    )

    log = log_in([event async for event in agent.answer("talk", ASKED)])

    text, source = log.parts
    units = text.content.encode("utf-16-le")[2 * source.facts["from"] : 2 * source.facts["to"]]
    assert units.decode("utf-16-le") == supported


@pytest.mark.parametrize(
    ("events", "sources"),
    [
        ([said("So"), citation(), citation(), citation(url="b")], ["https://w.example/", "b"]),
        ([said("So"), citation(url="\ud83d")], ["\ufffd"]),
        ([said("So"), citation(url=None), citation(url=""), citation(type="file_citation")], []),
        ([citation()], []),
        ([said("\ud83d"), citation()], []),
        ([said("So"), thought("Hm"), citation()], []),
        ([said("So"), {"type": "response.output_text.annotation.added", "annotation": None}], []),
    ],
    ids=["once a url", "half a character", "no url", "no text", "half a text", "too late", "null"],
)
async def test_a_source_is_a_url_that_a_text_cites(
    agent: OpenAI, service: Service, events: list[dict[str, Any]], sources: list[str]
) -> None:
    found = await written(agent, service, *events)

    assert [content for kind, content in found if kind == "source"] == sources


async def test_a_citation_may_have_no_title_or_a_long_one(agent: OpenAI, service: Service) -> None:
    titles = [citation(title=None), citation(url="b", title="漢" * 300)]
    service.script = numbered(said("So"), *titles, COMPLETED)

    _, first, second = log_in([event async for event in agent.answer("talk", ASKED)]).parts

    assert (first.facts["title"], second.facts["title"]) == ("", "漢" * 170)


async def test_what_was_thought_stays_when_an_answer_is_cut_off(agent: OpenAI, service: Service) -> None:
    service.script = numbered(thought("Hm"), done(**SEARCH), {"type": "error", "code": "server_error"})

    async with aclosing(agent.answer("talk", ASKED)) as events:
        log = log_in([await anext(events) for _ in range(3)])
        with pytest.raises(Upstream):
            await anext(events)

    assert [part.kind for part in log.parts] == ["reasoning", "tool", "tool_result"]


async def test_a_summary_of_thoughts_is_asked_for_where_the_deployment_says_so(
    client: httpx.AsyncClient, service: Service
) -> None:
    service.script = begun("Yes") + ended()

    await play(OpenAI(client, Secret(), None, replace(SETTINGS, thinking=True)))

    assert service.requests[0].body["reasoning"] == {"summary": "auto"}


@pytest.mark.parametrize(
    ("code", "field"), [("unsupported_parameter", "reasoning.effort"), ("unsupported_value", "reasoning.summary")]
)
async def test_a_model_that_does_not_think_is_the_operators_to_mend(
    agent: OpenAI, service: Service, code: str, field: str
) -> None:
    """As OpenAI refuses it for models that do not reason, and for organizations that are not verified."""
    error = {"message": "No.", "type": "invalid_request_error", "param": field, "code": code}
    service.refusals = [Response(json.dumps({"error": error}), 400, media_type="application/json")]

    _, problem = await broken_off(agent)

    assert (type(problem), problem.reason) == (Denied, Reason.SETTINGS)


async def test_events_that_are_not_known_are_ignored(agent: OpenAI, service: Service) -> None:
    strange = numbered({"type": "response.brand_new", "delta": "x"}, {"type": "keepalive"})
    service.script = strange + begun("Hello") + strange + ended() + strange

    assert (await play(agent))[0] == "Hello"


async def test_an_answer_at_its_limit_has_ended_in_order(agent: OpenAI, service: Service) -> None:
    service.script = begun("So far") + ended("incomplete", incomplete_details={"reason": "max_output_tokens"})

    said, ending = await play(agent)

    assert (said, ending.stop_reason, ending.usage["output_tokens"]) == ("So far", "max_tokens", 7)


@pytest.mark.parametrize(
    "last",
    [
        numbered({"type": "response.refusal.delta", "delta": "I can"}),
        numbered({"type": "response.refusal.done", "refusal": "I cannot."}),
        ended("incomplete", incomplete_details={"reason": "content_filter"}),
        ended("failed", error={"code": "invalid_prompt", "message": "No."}),
        ended("failed", error={"code": "bio_policy", "message": "No."}),
    ],
    ids=["a refusal", "a whole refusal", "a filter", "a prompt", "a policy"],
)
async def test_a_refusal_is_told_as_one_after_what_was_written(agent: OpenAI, service: Service, last: Script) -> None:
    service.script = begun("I would") + last

    said, problem = await broken_off(agent)

    assert (said, isinstance(problem, Refused), problem.retryable) == ("I would", True, False)


@pytest.mark.parametrize(
    "last",
    [
        Script(()),
        Script((Cut(),)),
        Script((Pause(math.inf),)),
        ended("failed", error={"code": "server_error", "message": "Oh."}),
        ended("failed", error=None),
        ended("incomplete", incomplete_details={"reason": "brand_new"}),
        ended("incomplete", incomplete_details=None),
        numbered({"type": "error", "code": "server_error", "message": "Oh.", "param": None}),
        numbered({"type": "error", "error": {"code": None, "message": "Oh."}}),
        numbered({"type": "error"}),
    ],
    ids=[
        "a clean end without an event",
        "a cut connection",
        "silence",
        "a failure",
        "a mute failure",
        "an unknown reason",
        "no reason",
        "an error",
        "a nested error",
        "a mute error",
    ],
)
async def test_a_stream_that_breaks_off_is_upstreams_failure_after_what_was_written(
    impatient: OpenAI, service: Service, last: Script
) -> None:
    service.script = begun("So far") + last

    said, problem = await broken_off(impatient)

    assert (said, type(problem), len(service.requests)) == ("So far", Upstream, 1)


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "server_is_overloaded", "slow_down"])
@pytest.mark.parametrize("place", ["failed", "error", "nested"])
async def test_an_overload_in_mid_stream_is_told_as_one(agent: OpenAI, service: Service, code: str, place: str) -> None:
    error = {"code": code, "message": "Later."}
    events: dict[str, dict[str, Any]] = {
        "failed": {"type": "response.failed", "response": response("failed", error=error)},
        "error": {"type": "error", **error},
        "nested": {"type": "error", "error": error},
    }
    service.script = begun("So far") + numbered(events[place])

    said, problem = await broken_off(agent)

    assert (said, type(problem)) == ("So far", Overloaded)


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("answer", "error", "wait_s"),
    [
        (refusal(429, "rate_limit_exceeded", headers={"retry-after": "30"}), Overloaded, 30.0),
        (refusal(429, "rate_limit_exceeded", headers={"retry-after-ms": "1500"}), Overloaded, 1.5),
        (refusal(429, None), Overloaded, None),
        (refusal(503, "server_is_overloaded"), Overloaded, None),
        (refusal(500, "server_is_overloaded"), Overloaded, None),
        (Response("<h1>Slow down</h1>", 429), Overloaded, None),
        (refusal(429, "insufficient_quota"), Denied, None),
        (refusal(400, "invalid_prompt"), Unaccepted, None),
        (refusal(400, None), Unaccepted, None),
        (refusal(400, "context_length_exceeded"), TooLong, None),
        (refusal(404, "model_not_found"), Denied, None),
        (refusal(500, None), Upstream, None),
        (Response("<h1>Bad gateway</h1>", 502), Upstream, None),
        (Response("[" * 100_000, 500), Upstream, None),
        (Response("null", 500), Upstream, None),
        (Response(status_code=302, headers={"location": "https://login.example"}), Denied, None),
        (Response("<h1>Welcome to the Wi-Fi</h1>", 200, media_type="text/html"), Upstream, None),
        (Response("data: [DONE]\n\n", 200, media_type="text/event-stream"), Upstream, None),
        (Response("data: null\n\n", 200, media_type="text/event-stream"), Upstream, None),
        (Response("event: response.comp", 200, media_type="text/event-stream"), Upstream, None),
    ],
    ids=[
        "a rate limit",
        "a rate limit in milliseconds",
        "a bare 429",
        "503",
        "an overload",
        "a 429 page",
        "no credit",
        "a prompt",
        "400",
        "too long",
        "no such model",
        "500",
        "a 502 page",
        "too deep",
        "null",
        "elsewhere",
        "a portal",
        "another grammar",
        "no event",
        "half an event",
    ],
)
async def test_an_answer_that_is_none_is_told_as_what_it_is(
    agent: OpenAI, service: Service, answer: Response, error: type[ReplyError], wait_s: float | None
) -> None:
    service.refusals = [answer]

    _, problem = await broken_off(agent)

    assert (type(problem), problem.retry_after_s, len(service.requests)) == (error, wait_s, 1)


async def test_a_request_carries_what_the_deployment_chose_and_the_conversation(
    agent: OpenAI, service: Service
) -> None:
    service.script = begun("Yes") + ended()
    thought = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}

    await play(agent, [Turn("1", "Hi", [thought, {"type": "text", "text": "Hello 早上"}]), Turn("2", "and?")])

    assert service.requests[0].body == {
        "model": "gpt-5",
        "instructions": "Be kind.",
        "input": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello 早上"},
            {"role": "user", "content": "and?"},
        ],
        "max_output_tokens": 4096,
        "stream": True,
        "store": False,
    }


async def test_an_empty_system_prompt_is_left_out(client: httpx.AsyncClient, service: Service) -> None:
    service.script = begun("Yes") + ended()

    await play(OpenAI(client, Secret(), None, SETTINGS))

    assert "instructions" not in service.requests[0].body


async def test_a_key_that_is_refused_is_read_anew_once(agent: OpenAI, service: Service, secret: Secret) -> None:
    service.refusals = [refusal(401, "invalid_api_key")]
    service.script = begun("Hello") + ended()

    said, _ = await play(agent)

    assert (said, secret.renewals) == ("Hello", [False, True])
    assert [request.headers["authorization"] for request in service.requests] == ["Bearer key-0", "Bearer key-1"]


async def test_a_key_that_is_refused_twice_is_the_operators_to_mend(agent: OpenAI, service: Service) -> None:
    """The service's sentence has a part of the key in it, and is for no log."""
    service.refusals = [refusal(401, "invalid_api_key", headers={"x-request-id": "req_7"})] * 2

    _, problem = await broken_off(agent)

    assert (type(problem), problem.reason, len(service.requests)) == (Denied, Reason.KEY, 2)
    assert problem.said == Said(401, "some_error", "", "req_7")


@pytest.mark.parametrize(
    ("kind", "body", "reason"),
    [
        ("text/event-stream", "data: [DONE]\n\n", Reason.CUT_OFF),
        ("text/event-stream", "data: null\n\n", Reason.OUT_OF_GRAMMAR),
        ("text/html", "<h1>Welcome to the Wi-Fi</h1>", Reason.OUT_OF_GRAMMAR),
        ("text/event-stream", 'data: {"type": "response.refusal.delta"}\n\n', Reason.DECLINED),
        ("text/event-stream", 'data: {"type": "response.incomplete"}\n\n', Reason.FAILED),
        ("text/event-stream", 'data: {"type": "error", "code": "slow_down"}\n\n', Reason.BUSY),
    ],
    ids=["no end", "nonsense", "a page", "declined", "incomplete", "overload"],
)
async def test_every_failure_names_the_request_to_ask_the_service_about(
    agent: OpenAI, service: Service, kind: str, body: str, reason: Reason
) -> None:
    service.refusals = [Response(body, 200, {"x-request-id": "req_7"}, kind)]

    _, problem = await broken_off(agent)

    assert (problem.reason, problem.said.status, problem.said.request_id) == (reason, 200, "req_7")


async def test_cancelling_stops_the_model_at_once(agent: OpenAI, service: Service) -> None:
    service.script = begun("So far") + Script((Pause(math.inf),))

    reading = await cancelled_midway(agent, ASKED)

    await has_left(service)
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_leaving_the_answer_stops_the_model_at_once(agent: OpenAI, service: Service) -> None:
    service.script = begun("So far") + Script((Pause(math.inf),))

    async with aclosing(agent.answer("talk", ASKED)) as events:
        assert text_in([await anext(events)]) == "So far"

    await has_left(service)


async def has_left(service: Service) -> None:
    """Long before silence would end it."""
    async with asyncio.timeout(PATIENCE_S):
        while service.requests[0].closed_at is None:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert not service.requests[0].finished


async def test_one_client_serves_many_answers_at_once(agent: OpenAI, service: Service) -> None:
    pause: tuple[Step, ...] = (Pause(0.001),)
    service.script = begun("word " * 50) + Script(pause) + ended()

    assert [said for said, _ in await asyncio.gather(*[play(agent) for _ in range(8)])] == ["word " * 50] * 8


async def test_a_service_that_is_not_there_is_upstreams_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with openai.client(f"http://127.0.0.1:{port}/v1", SILENCE_S) as client:
        with pytest.raises(Upstream):
            await play(OpenAI(client, Secret(), None, SETTINGS))
