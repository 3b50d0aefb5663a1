"""Answers of OpenAI and of the sidecar, generated: what is streamed is what is stored, and models are told the text.

Over the real readers and a real table. The transport plays the answers.
"""

import asyncio
import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatrelay.agents import Agent
from chatrelay.agents.codex import Codex
from chatrelay.agents.openai import OpenAI
from chatrelay.agents.requests.claude import to_anthropic
from chatrelay.agents.requests.openai import to_openai
from chatrelay.agents.requests.plain_text import as_plain_messages
from chatrelay.domain.keys import ReplyLocation
from chatrelay.domain.log import Log
from chatrelay.domain.reply import Ending, Reply
from chatrelay.domain.text import join_surrogates
from chatrelay.domain.turns import Turn
from chatrelay.settings import BridgeHub
from chatrelay.settings import OpenAI as OpenAISettings
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from emulator.stand_ins.request_validation import fault_in
from tests.builders.doubles import Secret
from tests.builders.layer import Store
from tests.builders.settings import CLAUDE
from tests.layers.chatrelay.agents.mutations import Event, as_line, as_sse

OPENAI = OpenAISettings("", "", "gpt-5", True, 100, "", 60)
NUMBERS = count(1)
LAST = Outbound("complete", "Response complete", {"length": 5})

Told = tuple[str, Any, str]
"""What a test expects of an event: the kind of part that it grows, the stretch of that, and the characters; a tool has
neither of the last two."""
HALVES = st.text(st.sampled_from('a漢😀"\x00\ud83d\ud83d\ude00\ude00'), max_size=4)
"""With many lone halves of surrogate pairs, which a stream may cut at any place."""
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | HALVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HALVES, inner, max_size=3),
    max_leaves=5,
)
INDEXES = st.integers(0, 2)


def tool(event: Event) -> tuple[Event, Told]:
    return event, ("tool", None, "")


def growing(kind: str, part: str) -> st.SearchStrategy[tuple[Event, Told]]:
    of = "message" if kind == "output_text" else "reasoning"
    # No two parts of a response have an output index and all of the others in common.
    first = ["output_text", "reasoning_summary_text", "reasoning_text"].index(kind) * 10
    return st.builds(
        lambda output, index, delta: (
            {"type": f"response.{kind}.delta", "delta": delta, "output_index": first + output, part: index},
            (of, (kind, output, index), delta),
        ),
        INDEXES,
        INDEXES,
        HALVES,
    )


AT_OPENAI: st.SearchStrategy[tuple[Event, Told | None]] = st.one_of(
    growing("output_text", "content_index"),
    growing("reasoning_summary_text", "summary_index"),
    growing("reasoning_text", "content_index"),
    st.fixed_dictionaries(
        {"type": st.just("url_citation"), "url": st.sampled_from(["https://a.example/", "b\ud83d", "\ude00", ""])},
        optional={"title": st.none() | HALVES, "start_index": st.none() | st.integers(-1, 9)},
    ).map(lambda cited: ({"type": "response.output_text.annotation.added", "annotation": cited}, None)),
    st.one_of(
        st.fixed_dictionaries({"type": st.just("web_search_call"), "id": HALVES, "action": st.none() | st.just({})}),
        st.fixed_dictionaries({"type": st.just("code_interpreter_call"), "code": HALVES, "outputs": JSON}),
        st.fixed_dictionaries({"type": st.just("file_search_call"), "queries": JSON, "results": JSON}),
        st.fixed_dictionaries(
            {"type": st.just("mcp_call"), "name": HALVES, "arguments": JSON.map(json.dumps), "output": JSON},
            optional={"error": JSON, "server_label": HALVES},
        ),
        st.fixed_dictionaries({"type": st.just("function_call"), "call_id": HALVES, "name": HALVES}),
        st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": HALVES, "output": JSON}),
    ).map(lambda item: tool({"type": "response.output_item.done", "item": item})),
    st.just(({"type": "response.brand_new", "delta": "?"}, None)),
)
AT_THE_SIDECAR: st.SearchStrategy[tuple[Event, Told | None]] = st.one_of(
    HALVES.map(lambda text: ({"type": "text", "text": text}, ("message", None, text))),
    HALVES.map(lambda text: ({"type": "reasoning", "text": text}, ("reasoning", None, text))),
    st.fixed_dictionaries({"type": st.just("tool"), "call": HALVES, "name": HALVES, "input": JSON}).map(tool),
    st.fixed_dictionaries(
        {"type": st.just("tool_result"), "call": HALVES, "content": JSON}, optional={"is_error": st.booleans()}
    ).map(tool),
    st.just(({"type": "ping"}, None)),
)


def expected(told: Sequence[Told | None]) -> list[tuple[str, str]]:
    """The parts that grow, by kind and content, as the protocol says them: written apart from the readers."""
    stretches: list[Told] = []
    for each in told:
        if each is None or (each[0] != "tool" and not each[2]):
            continue
        if stretches and stretches[-1][:2] == each[:2]:
            stretches[-1] = (*each[:2], stretches[-1][2] + each[2])
        else:
            stretches.append(each)
    parts: list[tuple[str, str]] = []
    for kind, _, characters in stretches:
        text = join_surrogates(characters)
        if parts and parts[-1][0] == kind != "tool":
            between = "\n\n" if kind == "reasoning" else ""
            parts[-1] = (kind, parts[-1][1] + between + text)
        else:
            parts.append((kind, text))
    return [part for part in parts if part[0] != "tool"]


class Playing:
    """A transport that answers with `stream`."""

    def __init__(self) -> None:
        self.stream = b""
        # One client for all answers: making one takes longer than reading an answer.
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(self._answer), base_url="http://service.example")

    def _answer(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, content=self.stream)


async def streamed(agent: Agent) -> tuple[Log, Ending]:
    """The log as it grows, settled as at its end, and that."""
    log = Log()
    async for event in agent.answer("talk", [Turn("1", "Hi")]):
        if isinstance(event, Ending):
            log.settle()
            return log, event
        log.append(event)  # type: ignore[arg-type]  # neither agent amends
    raise AssertionError("it ended in order")


def stored(store: Store, log: Log, ending: Ending) -> tuple[Log, Turn]:
    """The log as it is read from the store, and the turn as a model is told it."""
    conversation = f"talk-{next(NUMBERS)}"
    accepted = store.conversations.accept("alice", Send("m1", conversation, "Hi", "codex"), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply, log)
    reply.complete(ending)
    store.conversations.finish(accepted, reply, LAST)
    store.leases.end(accepted.key, accepted.stream.epoch)
    found = store.conversations.stored(ReplyLocation(reply.id, accepted.key, accepted.turn))
    assert found is not None
    later = store.conversations.accept("alice", Send("m2", conversation, "and?", "codex"), 2, worker="worker-1")
    return found.log, store.conversations.history(later, 1_000_000)[0]


SERVICES = pytest.mark.parametrize(
    ("agent", "frame", "answers", "end"),
    [
        (lambda client: OpenAI(client, Secret(), None, OPENAI), as_sse, AT_OPENAI, {"type": "response.completed"}),
        (
            lambda client: Codex(client, Secret(), BridgeHub("", "", "/")),
            as_line,
            AT_THE_SIDECAR,
            {"type": "end", "usage": {}},
        ),
    ],
    ids=["openai", "sidecar"],
)


@SERVICES
def test_an_answer_is_the_log_that_its_events_say(
    agent: Any, frame: Any, answers: st.SearchStrategy[tuple[Event, Told | None]], end: Event
) -> None:
    playing = Playing()
    asked = agent(playing.client)

    @given(st.lists(answers, min_size=2, max_size=8))
    def holds(answer: list[tuple[Event, Told | None]]) -> None:
        playing.stream = b"".join(map(frame, [*(event for event, _ in answer), end]))
        log, ending = asyncio.run(streamed(asked))

        assert [(part.kind, part.content) for part in log.parts if part.grows] == expected([told for _, told in answer])
        assert ending.blocks == ([{"type": "text", "text": log.text}] if log.text else [])
        for part in log.parts:
            assert part.kind != "source" or part.facts["from"] < part.facts["to"]
            assert part.kind != "tool" or json.loads(part.content) is not None

    holds()


@SERVICES
def test_an_answer_is_stored_as_it_was_streamed_and_told_as_its_text(
    store: Store, agent: Any, frame: Any, answers: st.SearchStrategy[tuple[Event, Told | None]], end: Event
) -> None:
    playing = Playing()
    codex = agent(playing.client)

    @settings(max_examples=25)  # each calls the table a dozen times
    @given(st.lists(answers, min_size=3, max_size=8))
    def holds(answer: list[tuple[Event, Told | None]]) -> None:
        playing.stream = b"".join(map(frame, [*(event for event, _ in answer), end]))
        log, ending = asyncio.run(streamed(codex))

        read, turn = stored(store, log, ending)

        assert (read.parts, read.sha256) == (log.parts, log.sha256)
        assert turn.blocks == ending.blocks
        assert not turn.is_rich
        asked = [turn, Turn("2", "and?")]
        answered = [{"role": "assistant", "content": log.text}] if log.text.strip() else []
        questions = [{"role": "user", "content": content} for content in ("Hi", "and?")]
        assert as_plain_messages(asked) == [questions[0], *answered, questions[1]]
        assert to_openai(asked, "", OPENAI)["input"] == as_plain_messages(asked)
        at_claude = to_anthropic(asked, "", CLAUDE)
        assert fault_in(at_claude) is None
        assert {block["type"] for message in at_claude["messages"] for block in message["content"]} == {"text"}

    holds()
