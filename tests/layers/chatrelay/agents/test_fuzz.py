"""Recordings of each service, mutated thousands of times: an answer, or an error of our own tree, and nothing else.

The real SDK and the real readers, over transports that play the recordings.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing
from random import Random
from typing import Any

import httpx
import httpx2
import pytest
from anthropic import AsyncAnthropic, AsyncStream

from chatrelay.agents import Agent
from chatrelay.agents.claude import Claude
from chatrelay.agents.codex import Codex
from chatrelay.agents.openai import OpenAI
from chatrelay.agents.requests.claude import to_anthropic
from chatrelay.domain.blocks import log_of
from chatrelay.domain.errors import ReplyError
from chatrelay.domain.log import Log
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Turn
from chatrelay.settings import BridgeHub
from chatrelay.settings import Claude as ClaudeSettings
from chatrelay.settings import OpenAI as OpenAISettings
from emulator.stand_ins.request_validation import fault_in
from emulator.stand_ins.script import Script, Send, blocks, found_block, search_block, text_block, thinking_block
from infra.bridgehub.clis import EventReader, Failed, PayloadReader, Reader
from tests.builders.doubles import Secret
from tests.builders.written import log_in
from tests.layers.chatrelay.agents.mutations import Event, as_line, as_odd_aws, as_sse, chunked, mutated

RECORDINGS = int(os.environ.get("RECORDINGS", "1500"))
"""Of each agent: `make nightly` plays more."""
ASKED = [Turn("1", "Does it rain?")]
SETTINGS = ClaudeSettings(False, "", "m", "", True, 3, 10, "", 60, 1000)
PAGE = {"type": "web_search_result", "title": "Weather", "url": "https://w.example/", "encrypted_content": "ZW5j"}
CITED = {"type": "web_search_result_location", "url": "https://w.example/", "title": None}
CITED |= {"encrypted_index": "aW5k", "cited_text": "It rains."}


def events(script: Script) -> list[Event]:
    return [dict(step.event) for step in script.steps if isinstance(step, Send)]


SEARCH = blocks(
    *thinking_block("Hm", 1, 0),
    *search_block(1, "srvtoolu_1", "rain"),
    *found_block(2, "srvtoolu_1", [PAGE]),
    *text_block(3, "It rains 😀.", CITED),
)
OVERLOAD: Event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
ANTHROPIC = [
    events(SEARCH),
    events(blocks(*text_block(0, "So far."), stop_reason="max_tokens")),
    [*events(SEARCH)[:9], OVERLOAD],
]
RESPONSE = {"id": "r", "model": "gpt-5", "usage": {"input_tokens": 3, "output_tokens": 2}, "incomplete_details": None}
SEARCHED: Event = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
SEARCHED |= {"action": {"type": "search", "query": "rain", "sources": [{"type": "url", "url": "https://w.example/"}]}}
CALLED: Event = {"id": "mcp_1", "type": "mcp_call", "status": "completed", "server_label": "docs", "name": "find"}
CALLED |= {"arguments": '{"q": "rain"}', "output": "It rains.", "error": None}
CITATION = {"type": "url_citation", "url": "https://w.example/", "title": "Weather", "start_index": 1, "end_index": 3}
OPENAI: list[list[Event]] = [
    [
        {
            "type": "response.reasoning_summary_text.delta",
            "delta": "So \ud83d",
            "output_index": 0,
            "summary_index": 0,
        },
        {
            "type": "response.reasoning_summary_text.delta",
            "delta": "\ude00",
            "output_index": 0,
            "summary_index": 0,
        },
        {"type": "response.reasoning_summary_text.delta", "delta": "On", "output_index": 0, "summary_index": 1},
        {"type": "response.output_item.done", "output_index": 1, "item": SEARCHED},
        {"type": "response.reasoning_text.delta", "delta": "Hm", "output_index": 2, "content_index": 0},
        {"type": "response.output_item.done", "output_index": 3, "item": CALLED},
        {"type": "response.output_text.delta", "delta": "It rains.", "output_index": 4, "content_index": 0},
        {"type": "response.output_text.annotation.added", "annotation": CITATION, "output_index": 4},
        {"type": "response.completed", "response": RESPONSE},
    ],
    [
        {"type": "response.created", "response": RESPONSE},
        {"type": "response.output_text.delta", "delta": "Hel", "output_index": 0},
        {"type": "response.output_text.delta", "delta": "lo 😀", "output_index": 0},
        {"type": "response.completed", "response": RESPONSE},
    ],
    [
        {"type": "response.output_text.delta", "delta": "So"},
        {
            "type": "response.incomplete",
            "response": {**RESPONSE, "incomplete_details": {"reason": "max_output_tokens"}},
        },
    ],
    [{"type": "response.failed", "response": {"error": {"code": "server_error", "message": "Oh."}}}],
    [
        {
            "type": "error",
            "error": {"type": "invalid_request_error", "code": "context_length_exceeded", "param": "input"},
        }
    ],
]
SIDECAR: list[list[Event]] = [
    [{"type": "text", "text": "Hel"}, {"type": "ping"}, {"type": "text", "text": "lo"}, {"type": "end", "usage": {}}],
    [
        {"type": "reasoning", "text": "So \ud83d"},
        {"type": "reasoning", "text": "\ude00"},
        {"type": "tool", "call": "item_1", "name": "command_execution", "input": {"command": "ls"}},
        {
            "type": "tool_result",
            "call": "item_1",
            "content": {"exit_code": 1, "output": "no \ud83d"},
            "is_error": True,
        },
        {"type": "text", "text": "Nothing."},
        {"type": "end", "usage": {}},
    ],
    [{"type": "text", "text": "So"}, {"type": "error", "message": "Codex took longer than 120 seconds."}],
]
CODEX = [
    [
        {"type": "thread.started", "thread_id": "t"},
        {"type": "item.completed", "item": {"id": "item_0", "type": "reasoning", "text": "Hm"}},
        {"type": "item.updated", "item": {"id": "item_1", "type": "agent_message", "text": "Hel"}},
        {"type": "item.completed", "item": {"id": "item_1", "type": "agent_message", "text": "Hello"}},
        {"type": "turn.completed", "usage": {"input_tokens": 9, "cached_input_tokens": 4, "output_tokens": 5}},
    ],
    [
        {"type": "item.started", "item": {"id": "item_0", "type": "command_execution", "command": "ls"}},
        {
            "type": "item.completed",
            "item": {
                "id": "item_0",
                "type": "command_execution",
                "command": "ls",
                "aggregated_output": "a",
                "exit_code": 0,
                "status": "completed",
            },
        },
        {
            "type": "item.completed",
            "item": {
                "id": "item_1",
                "type": "mcp_tool_call",
                "server": "docs",
                "tool": "find",
                "arguments": {"q": 1},
                "result": {"content": [], "structured_content": None},
                "error": None,
                "status": "completed",
            },
        },
        {"type": "item.completed", "item": {"id": "item_2", "type": "web_search", "query": "rain"}},
        {"type": "item.updated", "item": {"id": "item_3", "type": "todo_list", "items": [{"text": "Look"}]}},
        {"type": "turn.completed", "usage": None},
    ],
    [{"type": "turn.failed", "error": {"message": "No."}}],
]
PAYLOADS = [
    [{"ok": True, "data": {"output": "Hello"}, "summary": "Hi"}],
    [{"ok": False, "reason": "no", "details": ""}],
]


class Playing:
    """What the service streams next."""

    def __init__(self, recordings: list[list[Event]], frame: Any) -> None:
        self._recordings = recordings
        self._frame = frame
        self.chunks: list[bytes] = []

    def next(self, seed: int) -> None:
        random = Random(seed)  # noqa: S311
        self.chunks = chunked(mutated(random.choice(self._recordings), self._frame, random), random)

    async def stream(self) -> AsyncGenerator[bytes]:
        for chunk in self.chunks:
            yield chunk


Kept = Callable[[Log, Log], bool]
"""Whether what is told is what is kept: the log as it was told, and that of the blocks."""


async def outcome(agent: Agent, kept: Kept) -> Ending | ReplyError:
    try:
        async with aclosing(agent.answer("talk", ASKED)) as told:
            found = [event async for event in told]
    except ReplyError as problem:
        return problem
    *before, ending = found
    assert isinstance(ending, Ending)
    assert kept(log_in(before), log_of(ending.blocks)), "what is told is what is kept"
    return ending


def must_go_on(ending: Ending) -> None:
    """What was answered can be kept, and be part of a request that the service takes and the SDK can encode."""
    kept = json.loads(json.dumps(ending.blocks, ensure_ascii=False).encode())
    assert all(type(count) is int and 0 <= count < 2**53 for count in ending.usage.values())
    request = to_anthropic([Turn("1", "Does it rain?", kept), Turn("2", "Sure?")], "", SETTINGS)
    json.dumps(request, allow_nan=False, ensure_ascii=False).encode()
    assert fault_in(request) is None


def in_blocks(told: Log, blocks: Log) -> bool:
    return told.parts == blocks.parts


def as_text(told: Log, blocks: Log) -> bool:
    """The parts beside the text are in no block: test_generated_answers.py has them from the store."""
    return told.text == blocks.text


async def survives(agent: Agent, playing: Playing, kept: Kept, recordings: int = RECORDINGS) -> None:
    ends = {"in order": 0, "broken": 0}
    for seed in range(recordings):
        playing.next(seed)
        try:
            end = await outcome(agent, kept)
            if isinstance(end, Ending):
                must_go_on(end)
        except Exception as problem:
            raise AssertionError(f"recording {seed}: {b''.join(playing.chunks)!r}") from problem
        ends["in order" if isinstance(end, Ending) else "broken"] += 1
    assert min(ends.values()) > recordings / 20, f"both must be tried: {ends}"


class Recorded(Claude):
    """Reads recordings without asking for them, which takes the SDK longer than reading."""

    playing: Playing
    request = httpx2.Request("POST", "http://claude.example/v1/messages")

    async def _post(self, client: Any, body: object) -> AsyncStream[object]:  # noqa: ARG002
        response = httpx2.Response(200, content=self.playing.stream(), request=self.request)
        return AsyncStream(cast_to=object, response=response, client=client)


async def claude() -> None:
    agent = Recorded(AsyncAnthropic(api_key=""), None, None, SETTINGS)
    agent.playing = Playing(ANTHROPIC, as_sse)
    await survives(agent, agent.playing, in_blocks, RECORDINGS // 2)


async def bedrock() -> None:
    from anthropic import AsyncAnthropicBedrock  # here: it brings much of the SDK with it, and few tests need it

    client = AsyncAnthropicBedrock(aws_region="us-east-1", aws_access_key="x", aws_secret_key="x")
    agent = Recorded(client, None, None, SETTINGS)
    agent.playing = Playing(ANTHROPIC, as_odd_aws(Random(0)))  # noqa: S311
    await survives(agent, agent.playing, in_blocks, RECORDINGS // 2)


class Instant(httpx.AsyncClient):
    """Answers with recordings, without what a request takes."""

    playing: Playing
    asked = httpx.Request("POST", "http://service.example/")

    def build_request(self, *_: Any, **__: Any) -> httpx.Request:
        return self.asked

    async def send(self, *_: Any, **__: Any) -> httpx.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx.Response(200, headers=headers, content=self.playing.stream(), request=self.asked)


async def openai() -> None:
    async with Instant() as client:
        client.playing = Playing(OPENAI, as_sse)
        agent = OpenAI(client, Secret(), None, OpenAISettings("", "", "gpt-5", True, 100, "", 60))
        await survives(agent, client.playing, as_text)


async def codex() -> None:
    async with Instant() as client:
        client.playing = Playing(SIDECAR, as_line)
        await survives(Codex(client, Secret(), BridgeHub("", "", "/")), client.playing, as_text)


@pytest.mark.parametrize("service", [claude, bedrock, openai, codex])
def test_a_service(service: Callable[[], Coroutine[None, None, None]]) -> None:
    asyncio.run(service())


def as_payload(event: Event) -> bytes:
    return b"log\nJARVIS_PAYLOAD=" + as_line(event)


@pytest.mark.parametrize(
    ("reader", "recordings", "frame"), [(EventReader, CODEX, as_line), (PayloadReader, PAYLOADS, as_payload)]
)
def test_command_lines(reader: type[EventReader | PayloadReader], recordings: list[list[Event]], frame: Any) -> None:
    playing, ends = Playing(recordings, frame), 0
    for seed in range(RECORDINGS):
        playing.next(seed)
        ends += sum(1 for _ in read(reader(), b"".join(playing.chunks)))
    assert RECORDINGS / 20 < ends < RECORDINGS


def read(reader: Reader, stream: bytes) -> Iterator[dict[str, int]]:
    """What was used, if the answer ended in order."""
    try:
        for line in stream.split(b"\n"):
            json.dumps(list(reader.read(line)), allow_nan=False)
        if reader.used is not None:
            yield reader.used
    except Failed as problem:
        json.dumps(str(problem))
