"""The agent against a sidecar that says whatever a test wants; against the real one it is in tests/infra/bridgehub."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from typing import Any

import httpx
import pytest
import pytest_asyncio
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from chatrelay.agents import codex
from chatrelay.agents.codex import LINE_BYTES, REQUEST_BYTES, SENTENCE_CHARS, Codex
from chatrelay.domain.blocks import RESULT_LENGTH
from chatrelay.domain.errors import Denied, Overloaded, Reason, ReplyError, TooLong, Upstream
from chatrelay.domain.log import Part as LogPart
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Turn
from chatrelay.settings import BridgeHub as Settings
from emulator.stand_ins.fake_anthropic import serving
from tests.builders.cancelling import cancelled_midway
from tests.builders.doubles import Address, Secret
from tests.builders.patience import PATIENCE_S
from tests.builders.written import log_in, text_in

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = Settings("unused here", "relay/bridgehub", "/home/alice/BuilderOS")
ASKED = [Turn("1", "Good morning")]
SILENCE_S = 1.0
FOR_EVER = math.inf
Part = dict[str, Any] | bytes | float


class Sidecar:
    """Says `parts`, in which a number is a pause in seconds. Without `whole` it hangs up after them."""

    def __init__(self) -> None:
        self.parts: list[bytes | float] = []
        self.status = 200
        self.headers: Mapping[str, str] = {}
        self.whole = True
        self.refusals: list[int] = []
        self.requests: list[dict[str, Any]] = []
        self.tokens: list[str] = []
        self.left = asyncio.Event()

    def says(self, *parts: Part) -> None:
        self.parts = [json.dumps(part).encode() + b"\n" if isinstance(part, dict) else part for part in parts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        assert (request.method, request.url.path) == ("POST", "/v1/answers")
        self.requests.append(await request.json())
        self.tokens.append(request.headers["authorization"])
        status = self.refusals.pop(0) if self.refusals else self.status
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        leaving = asyncio.create_task(self._leave(receive))
        for part in self.parts:
            if isinstance(part, bytes):
                await send({"type": "http.response.body", "body": part, "more_body": True})
            else:
                await asyncio.wait({leaving}, timeout=None if part == FOR_EVER else part)
        leaving.cancel()
        if self.whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _leave(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


END = {"type": "end", "usage": {}}


@pytest.fixture(scope="module")
def service() -> Address:
    return Address()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Address) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(service) as service.url, codex.client(service.url) as client:
        yield client


@pytest.fixture
def sidecar(service: Address) -> Sidecar:
    service.app = sidecar = Sidecar()
    return sidecar


@pytest.fixture
def secret() -> Secret:
    return Secret()


@pytest.fixture
def agent(client: httpx.AsyncClient, secret: Secret) -> Codex:
    return Codex(client, secret, SETTINGS)


@pytest_asyncio.fixture(loop_scope="module")
async def impatient(client: httpx.AsyncClient, service: Address, secret: Secret) -> AsyncIterator[Codex]:
    """An agent that soon hangs up on a silent sidecar."""
    async with codex.client(service.url, SILENCE_S) as client:
        yield Codex(client, secret, SETTINGS)


async def play(agent: Codex, turns: list[Turn] = ASKED) -> tuple[list[str], Ending]:
    """The texts of the answer, and its ending."""
    *texts, ending = [event async for event in agent.answer("talk", turns)]
    assert isinstance(ending, Ending)
    return [text_in([each]) for each in texts], ending


async def broken_off(agent: Codex) -> tuple[str, ReplyError]:
    """The text until the answer breaks off, and how it does."""
    said = ""
    try:
        async for event in agent.answer("talk", ASKED):
            said += text_in([event])
    except ReplyError as problem:
        return said, problem
    raise AssertionError("it ended in order")


async def test_an_answer_is_its_texts_and_then_its_ending(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(
        text("Good "), {"type": "ping"}, text("早上"), {"type": "end", "usage": {"input_tokens": 9, "output_tokens": 2}}
    )

    assert await play(agent) == (
        ["Good ", "早上"],
        Ending("end_turn", "codex", {"input_tokens": 9, "output_tokens": 2}, [text("Good 早上")]),
    )


async def test_an_answer_may_have_no_text(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(END)

    assert await play(agent) == ([], Ending("end_turn", "codex", {"output_tokens": 1}, []))


async def test_usage_that_is_not_told_is_estimated_and_strange_usage_left_out(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(
        text("Good morning"), {"type": "end", "usage": {"input_tokens": "9", "cache_read_input_tokens": None, "x": 1}}
    )

    assert (await play(agent))[1].usage == {"output_tokens": 5}


@pytest.mark.parametrize("end", [{"type": "end"}, {"type": "end", "usage": None}, {"type": "end", "usage": [1]}])
async def test_an_end_without_usage_is_one(agent: Codex, sidecar: Sidecar, end: dict[str, Any]) -> None:
    sidecar.says(end)

    assert (await play(agent))[1].stop_reason == "end_turn"


async def test_a_pair_that_is_cut_between_two_texts_is_whole(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(text("so \ud83d"), text("\ude00!"), text("\ud83d"), END)

    texts, ending = await play(agent)

    assert (texts, ending.blocks) == (["so ", "😀!", "\ufffd"], [text("so 😀!\ufffd")])


async def test_lines_may_be_cut_anywhere_and_hold_any_character(agent: Codex, sidecar: Sidecar) -> None:
    line = json.dumps(text("a\u2028b\x85c 早上 😀"), ensure_ascii=False).encode() + b"\n"
    sidecar.says(*(bytes([byte]) for byte in line), b'{"type":"end"}\n')

    assert (await play(agent))[0] == ["a\u2028b\x85c 早上 😀"]


async def test_events_of_a_later_version_are_ignored(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says({"type": "thinking", "text": "Hm"}, text("So."), {"type": "brand_new"}, END, text("after the end"))

    assert (await play(agent))[0] == ["So."]


def thought(content: str) -> dict[str, Any]:
    return {"type": "reasoning", "text": content}


async def written(agent: Codex, sidecar: Sidecar, *events: dict[str, Any]) -> list[LogPart]:
    """The parts of the answer that has these events."""
    sidecar.says(*events, END)
    return log_in([event async for event in agent.answer("talk", ASKED)]).parts


async def test_an_answer_has_thoughts_and_tools(agent: Codex, sidecar: Sidecar) -> None:
    call = {"call": "item_1", "name": "command_execution", "input": {"command": "ls 早"}}
    result = {"call": "item_1", "content": {"exit_code": 1, "output": "no"}, "is_error": True}

    events = [thought("Hm"), {"type": "tool", **call}, {"type": "tool_result", **result}, text("So.")]

    assert await written(agent, sidecar, *events) == [
        LogPart("reasoning", "Hm"),
        LogPart("tool", '{"command": "ls 早"}', {"call": "item_1", "name": "command_execution", "by": "model"}),
        LogPart("tool_result", '{"exit_code": 1, "output": "no"}', {"call": "item_1", "is_error": True}),
        LogPart("message", "So."),
    ]


async def test_a_model_is_told_nothing_but_the_text(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(text("One."), {"type": "tool", "call": "t", "name": "n"}, thought("Hm"), text("Two."), END)

    *_, ending = [event async for event in agent.answer("talk", ASKED)]

    assert isinstance(ending, Ending)
    assert ending.blocks == [text("One.Two.")]


@pytest.mark.parametrize(
    ("events", "parts"),
    [
        ([thought("so \ud83d"), {"type": "ping"}, thought("\ude00!")], [("reasoning", "so 😀!")]),
        ([thought("\ud83d"), text("\ude00")], [("reasoning", "\ufffd"), ("message", "\ufffd")]),
        (
            [text("\ud83d"), {"type": "tool", "call": "t", "name": "n", "input": None}, text("\ude00")],
            [("message", "\ufffd"), ("tool", "{}"), ("message", "\ufffd")],
        ),
        ([{"type": "tool", "input": "ls \ud83d"}], [("tool", '"ls \ufffd"')]),
        ([{"type": "tool_result"}], [("tool_result", "null")]),
        ([{"type": "tool_result", "content": "x" * 90_000}], [("tool_result", '"' + "x" * (RESULT_LENGTH - 1))]),
        ([thought(""), {**thought(""), "text": None}, text("")], []),
    ],
    ids=["a thought", "a thought and a text", "a tool between", "half an input", "nothing", "a long result", "empty"],
)
async def test_what_is_cut_or_missing_is_told_as_it_can_be(
    agent: Codex, sidecar: Sidecar, events: list[dict[str, Any]], parts: list[tuple[str, str]]
) -> None:
    assert [(part.kind, part.content) for part in await written(agent, sidecar, *events)] == parts


async def test_what_describes_a_tool_is_bounded(agent: Codex, sidecar: Sidecar) -> None:
    (tool,) = await written(agent, sidecar, {"type": "tool", "call": "c" * 9000, "name": "漢" * 300, "input": {}})

    assert tool.facts == {"call": "c" * 512, "name": "漢" * 170, "by": "model"}


async def test_a_request_is_bridgehubs(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(END)

    await play(agent, [Turn("1", "Hi", [{"type": "thinking"}, text("Hello")]), Turn("2", "and?")])

    assert sidecar.requests == [
        {
            "version": "bridgehub/1.0",
            "action": "freeform",
            "capsule": "/home/alice/BuilderOS",
            "session": "talk",
            "payload": {
                "message": "and?",
                "intent": "mobile_codex_query",
                "direction": "claude_to_codex",
                "context": [
                    {
                        "title": "Full Conversation History",
                        "role": "note",
                        "content": '[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]',
                    }
                ],
                "metadata": {"source": "builderos_mobile", "visibility": "full"},
            },
        }
    ]


@pytest.mark.parametrize("filler", ["x", '"', "\\", "早", "😀", "\n"])
async def test_the_newest_messages_that_fit_are_told(agent: Codex, sidecar: Sidecar, filler: str) -> None:
    sidecar.says(END)
    turns = [Turn(str(number), f"{number} {filler * 500}") for number in range(400)]

    await play(agent, [*turns, Turn("last", "and?")])

    (request,) = sidecar.requests
    told = json.loads(request["payload"]["context"][0]["content"])
    assert told == [{"role": "user", "content": turn.content} for turn in turns[-len(told) :]]
    one_more = json.dumps(told[0], ensure_ascii=False)
    assert size(request) <= REQUEST_BYTES < size(request) + size(one_more)


def size(told: Any) -> int:
    """In bytes of JSON."""
    return len(json.dumps(told, ensure_ascii=False).encode())


async def test_a_message_that_leaves_no_room_is_told_alone(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(END)

    await play(agent, [Turn("1", "Hi"), Turn("2", "x" * REQUEST_BYTES)])

    assert sidecar.requests[0]["payload"]["context"][0]["content"] == "[]"


CUT_OFF = "The model's service cut its answer off."
NO_ANSWER = "BridgeHub sent something that is no answer."


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize(
    ("rest", "sentence"),
    [
        ([], CUT_OFF),
        ([{"type": "ping"}], CUT_OFF),
        ([b'{"type":"en'], CUT_OFF),
        ([FOR_EVER], "BridgeHub broke off."),
        ([{"type": "error", "message": "Codex is out."}], "Codex is out."),
        ([{"type": "error", "message": "x" * 100_000}], "x" * SENTENCE_CHARS),
        ([{"type": "error", "message": "x" * (SENTENCE_CHARS - 1) + "e\u0301"}], "x" * (SENTENCE_CHARS - 1)),
        ([{"type": "error", "message": "\ud83d"}], "\ufffd"),
        ([{"type": "error"}], "Codex could not answer."),
        ([{"type": "error", "message": 7}], NO_ANSWER),
        ([{"type": "text", "text": 7}], NO_ANSWER),
        ([{"type": ["text"]}], NO_ANSWER),
        ([b"null\n"], NO_ANSWER),
        ([b'{"type":"text","text":"caf\xe9"}\n'], NO_ANSWER),
        ([b"[" * 100_000 + b"\n"], NO_ANSWER),
        ([*[b"x" * 1024 * 1024] * (LINE_BYTES // 1024**2 + 1), FOR_EVER], NO_ANSWER),
    ],
    ids=[
        "no end",
        "a ping at last",
        "half an event",
        "silence",
        "an error",
        "a long error",
        "a character at the cut",
        "half a character",
        "a mute error",
        "a strange error",
        "a strange text",
        "a strange type",
        "null",
        "no UTF-8",
        "too deep",
        "an endless line",
    ],
)
async def test_a_stream_that_breaks_off_is_told_after_what_was_written(
    impatient: Codex, sidecar: Sidecar, rest: list[Part], sentence: str
) -> None:
    sidecar.says(text("So far"), *rest)

    said, problem = await broken_off(impatient)

    assert (said, type(problem), str(problem)) == ("So far", Upstream, sentence)


@pytest.mark.parametrize(
    ("sentence", "error", "reason"),
    [
        ("Codex ended with exit code 1: Not logged in. Run `codex login`.", Denied, Reason.KEY),
        ("Codex could not answer: unexpected status 401 Unauthorized: Missing bearer", Denied, Reason.KEY),
        ("Codex could not answer: You've hit your usage limit. Try again in 3 days.", Denied, Reason.ACCOUNT),
        (
            "Codex could not answer: Codex ran out of room in the model's context window. Start a new conversation.",
            TooLong,
            Reason.TOO_LONG,
        ),
        ("Codex could not answer: stream disconnected before completion", Upstream, Reason.FAILED),
    ],
)
async def test_what_codex_says_of_its_end_is_told_apart(
    agent: Codex, sidecar: Sidecar, sentence: str, error: type[ReplyError], reason: Reason
) -> None:
    sidecar.says({"type": "error", "message": sentence})

    _, problem = await broken_off(agent)

    assert (type(problem), problem.reason, problem.retryable) == (error, reason, error is Upstream)
    assert error is TooLong or str(problem) == sentence, "the sidecar knows more than the relay"


async def test_a_connection_that_is_cut_is_told_after_what_was_written(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(text("So far"))
    sidecar.whole = False

    said, problem = await broken_off(agent)

    assert (said, type(problem), str(problem)) == ("So far", Upstream, "BridgeHub broke off.")


@pytest.mark.parametrize(
    ("status", "headers", "error", "wait_s"),
    [
        (429, {"retry-after": "5"}, Overloaded, 5.0),
        (429, {}, Overloaded, None),
        (503, {"retry-after": "soon"}, Overloaded, None),
        (200, {}, Upstream, None),
        (302, {"location": "https://login.example"}, Denied, None),
        (400, {}, Denied, None),
        (403, {}, Denied, None),
        (413, {}, TooLong, None),
        (502, {}, Upstream, None),
        (530, {}, Upstream, None),
    ],
)
async def test_an_answer_that_is_none_is_no_crash(
    agent: Codex, sidecar: Sidecar, status: int, headers: dict[str, str], error: type[ReplyError], wait_s: float | None
) -> None:
    sidecar.says(b"<h1>Welcome to the Wi-Fi</h1>\n")
    sidecar.status, sidecar.headers = status, headers

    _, problem = await broken_off(agent)

    assert (type(problem), problem.retry_after_s, len(sidecar.requests)) == (error, wait_s, 1)


async def test_an_answer_that_is_not_read_keeps_no_connection(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(text("Busy, and for long"), FOR_EVER)
    sidecar.status = 429

    await broken_off(agent)

    await has_left(sidecar)


async def test_a_token_that_is_refused_is_read_anew_once(agent: Codex, sidecar: Sidecar, secret: Secret) -> None:
    sidecar.says(END)
    sidecar.refusals = [401]

    await play(agent)

    assert (sidecar.tokens, secret.renewals) == (["Bearer key-0", "Bearer key-1"], [False, True])


async def test_a_token_that_is_refused_twice_is_told(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.status = 401

    _, problem = await broken_off(agent)

    assert (type(problem), problem.reason, problem.retryable) == (Denied, Reason.KEY, False)
    assert len(sidecar.requests) == 2


async def test_pings_keep_a_silent_answer_alive(impatient: Codex, sidecar: Sidecar) -> None:
    pings: list[Part] = [{"type": "ping"}, SILENCE_S / 5]
    sidecar.says(*pings * 6, text("At last."), END)

    assert (await play(impatient))[0] == ["At last."]


async def test_cancelling_hangs_up_at_once(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(text("So far"), FOR_EVER)

    reading = await cancelled_midway(agent, ASKED)

    await has_left(sidecar)
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_leaving_the_answer_hangs_up_at_once(agent: Codex, sidecar: Sidecar) -> None:
    sidecar.says(text("So far"), FOR_EVER)

    async with aclosing(agent.answer("talk", ASKED)) as events:
        assert text_in([await anext(events)]) == "So far"

    await has_left(sidecar)


async def has_left(sidecar: Sidecar) -> None:
    """Long before silence would end it."""
    async with asyncio.timeout(PATIENCE_S):
        await sidecar.left.wait()


async def test_one_client_serves_many_answers_at_once(agent: Codex, sidecar: Sidecar) -> None:
    words: list[Part] = [text("word "), 0.001]
    sidecar.says(*words * 50, END)

    answers = await asyncio.gather(*[play(agent) for _ in range(8)])

    assert ["".join(texts) for texts, _ in answers] == ["word " * 50] * 8
