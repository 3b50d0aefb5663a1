"""What each transport may put between events is taken, and nonsense fails in order: every service, every row.

Sources: WHATWG HTML 9.2.5 and 9.2.6 for event streams, ndjson-spec 1.0.0, jsonlines.org and RFC 8259 8.1 for lines.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chatrelay.agents import Agent, claude, codex, openai
from chatrelay.agents.claude import Claude
from chatrelay.agents.codex import Codex
from chatrelay.agents.openai import OpenAI
from chatrelay.domain.errors import Reason, Upstream
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Turn
from chatrelay.settings import BridgeHub
from chatrelay.settings import Claude as ClaudeSettings
from chatrelay.settings import OpenAI as OpenAISettings
from emulator.stand_ins.fake_anthropic import serving
from tests.builders.doubles import Address, Secret
from tests.builders.written import text_in
from tests.layers.chatrelay.agents.mutations import Event, as_line, as_sse

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASKED = [Turn("1", "Good morning")]
STARTED = {"type": "message", "role": "assistant", "content": [], "model": "m", "usage": {"input_tokens": 1}}
CLAUDE: list[Event] = [
    {"type": "message_start", "message": STARTED},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a\u2028b"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
OPENAI: list[Event] = [
    {"type": "response.output_text.delta", "delta": "a\u2028"},
    {"type": "response.output_text.delta", "delta": "b"},
    {"type": "response.completed", "response": {"model": "gpt-5"}},
]
SIDECAR: list[Event] = [
    {"type": "text", "text": "a\u2028"},
    {"type": "text", "text": "b"},
    {"type": "end", "usage": {}},
]
ANSWERS = {"claude": CLAUDE, "openai": OPENAI, "sidecar": SIDECAR}
STREAMS = ("claude", "openai")


class Service:
    """Streams `parts`."""

    def __init__(self) -> None:
        self.stream = b""
        self.media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await Response(self.stream, media_type=self.media_type)(scope, receive, send)


@pytest.fixture(scope="module")
def address() -> Address:
    return Address()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agents(address: Address) -> AsyncIterator[dict[str, Agent]]:
    with pytest.MonkeyPatch.context() as environment:
        async with serving(address) as url, _clients(url, environment) as found:
            yield found


@asynccontextmanager
async def _clients(url: str, environment: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Agent]]:
    environment.setenv("ANTHROPIC_BASE_URL", url)
    async with claude.client(5) as anthropic, openai.client(url, 5) as responses, codex.client(url) as sidecar:
        chosen = ClaudeSettings(False, "", "m", "", False, 0, 10, "", 60, 1000)
        yield {
            "claude": Claude(anthropic, Secret(), None, chosen),
            "openai": OpenAI(responses, Secret(), None, OpenAISettings(url, "", "gpt-5", True, 100, "", 60)),
            "sidecar": Codex(sidecar, Secret(), BridgeHub(url, "", "/")),
        }


@pytest.fixture
def service(address: Address) -> Service:
    address.app = service = Service()
    return service


async def text_of(agent: Agent) -> str:
    *told, ending = [event async for event in agent.answer("talk", ASKED)]
    assert isinstance(ending, Ending)
    return text_in(told)


def framed(name: str, events: list[Event]) -> list[bytes]:
    return list(map(as_line if name == "sidecar" else as_sse, events))


def between(noise: bytes) -> Callable[[list[bytes]], bytes]:
    return lambda events: noise + noise.join(events) + noise


def first(noise: bytes) -> Callable[[list[bytes]], bytes]:
    return lambda events: noise + b"".join(events)


def lines_end_in(end: bytes) -> Callable[[list[bytes]], bytes]:
    return lambda events: b"".join(events).replace(b"\n", end)


IN_STREAMS: dict[str, Callable[[list[bytes]], bytes]] = {
    "a comment": between(b": ping\n\n"),
    "an empty comment": between(b":\n\n"),
    "a retry alone": between(b"retry: 3000\n\n"),
    "a name alone": between(b"event: keepalive\n\n"),
    "a name alone that has a meaning": between(b"event: response.completed\n\n"),
    "empty data": between(b"data:\n\n"),
    "an id alone, and whatever follows it": between(b"id: 1\n\n: ping\n\n\n"),
    "an id with a zero": between(b"id: \0\n\n"),
    "an unknown field": between(b"brand-new: 1\n\n"),
    "a field without a colon": between(b"brand-new\n\n"),
    "an unknown event": between(b'event: brand_new\ndata: {"type": "brand_new", "deep": {"x": 1}}\n\n'),
    "a ping": between(b'event: ping\ndata: {"type": "ping"}\n\n'),
    "empty lines": between(b"\n\n"),
    "a byte order mark": first(b"\xef\xbb\xbf"),
    "CR LF": lines_end_in(b"\r\n"),
    "CR": lines_end_in(b"\r"),
    "data in several lines": lambda events: b"".join(events).replace(b', "', b',\ndata: "'),
    "no space behind the colon": lambda events: b"".join(events).replace(b"data: ", b"data:"),
    "something behind the end": lambda events: b"".join(events) + b"data: [DONE]\n\n",
}
IN_LINES: dict[str, Callable[[list[bytes]], bytes]] = {
    "an empty line": between(b"\n"),
    "an empty line of CR LF": between(b"\r\n"),
    "blanks": between(b" \t\n"),
    "a ping": between(b'{"type": "ping"}\n'),
    "an unknown event": between(b'{"type": "brand_new", "deep": {"x": 1}}\n'),
    "a byte order mark": first(b"\xef\xbb\xbf"),
    "CR LF": lines_end_in(b"\r\n"),
    "no end of the last line": lambda events: b"".join(events).rstrip(),
    "a line of an end behind the end": lambda events: b"".join([*events, events[-1]]),
}
TAKEN = [(name, how) for name in STREAMS for how in IN_STREAMS] + [("sidecar", how) for how in IN_LINES]


@pytest.mark.parametrize(("name", "how"), TAKEN)
async def test_what_the_grammar_allows_changes_nothing(
    agents: dict[str, Agent], service: Service, name: str, how: str
) -> None:
    service.stream = (IN_LINES if name == "sidecar" else IN_STREAMS)[how](framed(name, ANSWERS[name]))

    assert await text_of(agents[name]) == "a\u2028b"


@pytest.mark.parametrize("media_type", ["Text/Event-Stream", "text/event-stream; charset=iso-8859-1"])
async def test_an_event_stream_is_utf_8_however_it_is_called(
    agents: dict[str, Agent], service: Service, media_type: str
) -> None:
    service.stream, service.media_type = as_sse({**OPENAI[0], "delta": "早"}) + as_sse(OPENAI[-1]), media_type

    assert await text_of(agents["openai"]) == "早"


async def test_the_sentinel_of_other_services_is_no_event(agents: dict[str, Agent], service: Service) -> None:
    service.stream = b"".join([as_sse(OPENAI[0]), b"data: [DONE]\n\n", as_sse(OPENAI[-1])])

    assert await text_of(agents["openai"]) == "a\u2028"


# --- fields that are null, absent or of another type ------------------------------------------------------------------


def with_block(block: Any, *deltas: Any) -> list[Event]:
    """An answer of Claude's that ends with a block like that, behind the text."""
    told = [{"type": "content_block_delta", "index": 1, "delta": delta} for delta in deltas]
    stop = {"type": "content_block_stop", "index": 1}
    return [*CLAUDE[:4], begun(block), *told, stop, *CLAUDE[4:]]


def begun(block: Event) -> Event:
    return {"type": "content_block_start", "index": 1, "content_block": block}


def delta(name: str, **fields: Any) -> Event:
    return {"type": name, **fields}


TEXT: Event = {"type": "text", "text": ""}
THOUGHT: Event = {"type": "thinking", "thinking": None, "signature": None}
SEARCH: Event = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
CITATION = delta("citations_delta", citation={"type": "web_search_result_location"})
SUMMARY = "response.reasoning_summary_text.delta"


def at_openai(kind: str, **fields: Any) -> tuple[str, list[Event]]:
    """An answer with such an event behind its text."""
    return "openai", [*OPENAI[:2], {"type": kind, **fields}, OPENAI[2]]


def item(kind: str, **fields: Any) -> tuple[str, list[Event]]:
    return at_openai("response.output_item.done", item={"type": kind, **fields})


def annotation(**fields: Any) -> tuple[str, list[Event]]:
    return at_openai("response.output_text.annotation.added", annotation={"type": "url_citation", **fields})


SAYING_NOTHING: dict[str, tuple[str, list[Event]]] = {
    "a text that begins with null, and a citation": ("claude", with_block({"type": "text", "text": None}, CITATION)),
    "a text block without a text": ("claude", with_block({"type": "text"})),
    "a delta of null": ("claude", with_block(TEXT, delta("text_delta", text=None))),
    "a delta without a text": ("claude", with_block(TEXT, delta("text_delta"))),
    "a delta of no type": ("claude", with_block(TEXT, {"text": "?"}, {"type": None})),
    "a delta of a later version": ("claude", with_block(TEXT, delta("brand_new", text="?"))),
    "a thought of null": ("claude", with_block(THOUGHT, delta("thinking_delta", thinking=None))),
    "a signature of null": ("claude", with_block(THOUGHT, delta("signature_delta", signature=None))),
    "an input of null": ("claude", with_block(SEARCH, delta("input_json_delta", partial_json=None))),
    "an input that is cut off": ("claude", with_block(SEARCH, delta("input_json_delta", partial_json='{"que'))),
    "a citation of null": ("claude", with_block(TEXT, delta("citations_delta", citation=None))),
    "pages without a title": (
        "claude",
        with_block({"type": "web_search_tool_result", "content": [{"url": "u"}, None]}),
    ),
    "an end without usage": ("claude", [*CLAUDE[:4], {"type": "message_delta", "delta": {}}, CLAUDE[5]]),
    "an end of null": ("claude", [*CLAUDE[:4], {"type": "message_delta", "delta": None, "usage": None}, CLAUDE[5]]),
    "usage of null": ("claude", [{"type": "message_start", "message": {**STARTED, "usage": None}}, *CLAUDE[1:]]),
    "usage of another type": ("claude", [*CLAUDE[:4], {**CLAUDE[4], "usage": {"output_tokens": "many"}}, CLAUDE[5]]),
    "a delta of null at OpenAI": ("openai", [{**OPENAI[0], "delta": None}, *OPENAI]),
    "a delta without a text at OpenAI": ("openai", [{"type": OPENAI[0]["type"]}, *OPENAI]),
    "an end without an answer at OpenAI": ("openai", [*OPENAI[:2], {"type": "response.completed"}]),
    "an end of null at OpenAI": ("openai", [*OPENAI[:2], {"type": "response.completed", "response": None}]),
    "a model of another type": ("openai", [*OPENAI[:2], {"type": "response.completed", "response": {"model": 7}}]),
    "a thought of null at OpenAI": at_openai(SUMMARY, delta=None),
    "a thought without a text at OpenAI": at_openai(SUMMARY),
    "a thought of another place at OpenAI": at_openai(SUMMARY, delta="Hm", output_index=[], summary_index="x"),
    "an item of null": at_openai("response.output_item.done", item=None),
    "an item without a type": at_openai("response.output_item.done", item={"id": 7}),
    "an item of a later version": item("brand_new_call", status=7, id=7),
    "a call with nothing in it": item("mcp_call"),
    "a call of nulls": item("web_search_call", id=None, status=None, action=None),
    "an annotation of null": at_openai("response.output_text.annotation.added", annotation=None),
    "a citation without a place": annotation(url="u", title=None, start_index=None),
    "a url of null": annotation(url=None),
    "a thought of null from the sidecar": ("sidecar", [{"type": "reasoning", "text": None}, *SIDECAR]),
    "a tool with nothing in it from the sidecar": ("sidecar", [{"type": "tool", "call": None}, *SIDECAR]),
    "a result with nothing in it from the sidecar": ("sidecar", [{"type": "tool_result", "is_error": None}, *SIDECAR]),
    "a text of null from the sidecar": ("sidecar", [{"type": "text", "text": None}, *SIDECAR]),
    "no text from the sidecar": ("sidecar", [{"type": "text"}, *SIDECAR]),
    "usage of null from the sidecar": ("sidecar", [*SIDECAR[:2], {"type": "end", "usage": None}]),
}


@pytest.mark.parametrize("what", SAYING_NOTHING)
async def test_what_is_null_or_absent_says_nothing(agents: dict[str, Agent], service: Service, what: str) -> None:
    name, events = SAYING_NOTHING[what]
    service.stream = b"".join(framed(name, events))

    assert await text_of(agents[name]) == "a\u2028b"


NONSENSE: dict[str, tuple[str, bytes]] = {
    f"{what} from {name}": (name, event)
    for name, wrap in (
        ("claude", b"event: message_delta\ndata: %b\n\n"),
        ("openai", b"data: %b\n\n"),
        ("sidecar", b"%b\n"),
    )
    for what, event in {
        "a list": wrap % b"[]",
        "null": wrap % b"null",
        "a number": wrap % b"7",
        "no JSON": wrap % b"{",
        "no type": wrap % b"{}",
        "a type of another type": wrap % b'{"type": ["text"]}',
        "depth": wrap % (b"[" * 100_000),
    }.items()
} | {
    "an index of null": ("claude", as_sse({**CLAUDE[1], "index": None})),
    "a block of null": ("claude", as_sse({**CLAUDE[1], "content_block": None})),
    "a block without a type": ("claude", as_sse({**CLAUDE[1], "content_block": {}})),
    "a delta of no block": ("claude", as_sse({**CLAUDE[2], "index": 9})),
    "a text that is none": ("claude", as_sse({**CLAUDE[2], "delta": delta("text_delta", text=7)})),
    "a block that begins twice": ("claude", as_sse(CLAUDE[1])),
    "a block before the first": ("claude", as_sse({**CLAUDE[1], "index": -1})),
    "a text of an earlier block": ("claude", as_sse(begun(TEXT))),
    "a message of null": ("claude", as_sse({"type": "message_start", "message": None})),
    "a delta that is none": ("openai", as_sse({**OPENAI[0], "delta": {}})),
    **{
        f"{what} at OpenAI": ("openai", as_sse(events[2]))
        for what, (_, events) in {
            "a thought that is none": at_openai(SUMMARY, delta={}),
            "a raw thought that is none": at_openai("response.reasoning_text.delta", delta=7),
            "a call that is none": item("mcp_call", id=7),
            "a status that is none": item("mcp_call", status=7),
            "a name that is none": item("function_call", name={}),
            "arguments that are none": item("mcp_call", arguments={}),
            "an action that is none": item("web_search_call", action=[]),
            "a query that is no number": item("file_search_call", queries=float("nan")),
            "a url that is none": annotation(url=7),
            "a title that is none": annotation(url="u", title=7),
            "a place that is none": annotation(url="u", start_index=True),
        }.items()
    },
    "a thought that is none from the sidecar": ("sidecar", as_line({"type": "reasoning", "text": {}})),
    "a call that is none from the sidecar": ("sidecar", as_line({"type": "tool", "call": 7})),
    "a name that is none from the sidecar": ("sidecar", as_line({"type": "tool", "name": []})),
    "an input that is no number from the sidecar": ("sidecar", as_line({"type": "tool", "input": float("inf")})),
    "a result that neither failed nor did not": ("sidecar", as_line({"type": "tool_result", "is_error": "no"})),
    "a text that is none from the sidecar": ("sidecar", as_line({"type": "text", "text": {}})),
    "an error that is none from the sidecar": ("sidecar", as_line({"type": "error", "message": 7})),
}


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_is_the_services_failure(agents: dict[str, Agent], service: Service, what: str) -> None:
    name, event = NONSENSE[what]
    service.stream = b"".join(framed(name, ANSWERS[name])[:2]) + event + b"".join(framed(name, ANSWERS[name])[2:])

    with pytest.raises(Upstream) as failure:
        await text_of(agents[name])

    assert (failure.value.reason, failure.value.retryable) == (Reason.OUT_OF_GRAMMAR, True)


@pytest.mark.parametrize(
    "events",
    [
        with_block(SEARCH, delta("text_delta", text="?")),
        with_block(TEXT, delta("thinking_delta", thinking="?")),
        with_block({"type": "new", "number": float("nan")}),
        with_block({"type": "new", "number": float("inf")}),
        [*CLAUDE, CLAUDE[2]],
        [*CLAUDE, CLAUDE[0]],
    ],
    ids=["a text in a search", "a thought in a text", "no number", "no end", "a text after the end", "another message"],
)
async def test_a_block_that_cannot_be_is_the_services_failure(
    agents: dict[str, Agent], service: Service, events: list[Event]
) -> None:
    service.stream = b"".join(framed("claude", events))

    with pytest.raises(Upstream) as failure:
        await text_of(agents["claude"])

    assert failure.value.reason == Reason.OUT_OF_GRAMMAR


async def test_nothing_but_the_end_is_no_message(agents: dict[str, Agent], service: Service) -> None:
    service.stream = as_sse(CLAUDE[-1])

    with pytest.raises(Upstream):
        await text_of(agents["claude"])
