"""Claude at Bedrock: the real SDK against a server on loopback that frames its events as AWS does."""

from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from chatrelay.agents import claude
from chatrelay.agents.claude import Claude
from chatrelay.domain.errors import Denied, Overloaded, ReplyError, Said, Unaccepted, Upstream
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Turn
from emulator.stand_ins.fake_anthropic import serving
from emulator.stand_ins.script import Script, Send, answer, partial
from tests.builders.settings import CLAUDE
from tests.builders.written import text_in, thought
from tests.layers.chatrelay.agents.mutations import as_aws, aws_headers, framed

SETTINGS = replace(CLAUDE, bedrock=True, secret="", model="us.anthropic.claude-sonnet-5-v1:0", thinking=True)
START = {"id": "msg_1", "model": "claude-sonnet-5", "usage": {"input_tokens": 3, "output_tokens": 1}}
ASKED = [Turn("1", "Hi", [{"type": "text", "text": "Hello"}]), Turn("2", "and?")]


def chunks(script: Script) -> list[bytes]:
    found = []
    for step in script.steps:
        assert isinstance(step, Send)
        event = dict(step.event)
        if event["type"] == "message_start":
            event["message"] = {**START, **event["message"]}
        found.append(as_aws(event))
    return found


def thrown(kind: str) -> bytes:
    headers = {":exception-type": kind, ":content-type": "application/json", ":message-type": "exception"}
    return framed(aws_headers(headers), b'{"message": "no"}')


class Bedrock:
    """Answers every request with `parts` of an event stream, or with `refusal`; keeps what it was asked."""

    def __init__(self) -> None:
        self.parts: Iterable[bytes] = []
        self.refusal: Response | None = None
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["POST"])])

    async def _answer(self, request: Request) -> Response:
        self.requests.append((request.url.path, dict(request.headers), await request.json()))
        return self.refusal or StreamingResponse(iter(self.parts), media_type="application/vnd.amazon.eventstream")


@pytest.fixture
async def bedrock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bedrock]:
    bedrock = Bedrock()
    async with serving(bedrock.app) as url:
        monkeypatch.setenv("ANTHROPIC_BEDROCK_BASE_URL", url)
        monkeypatch.setenv("AWS_REGION", "eu-west-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
        yield bedrock


async def read(told: list[object]) -> None:
    async with claude.bedrock(read_timeout_s=60) as client:
        async for event in Claude(client, None, None, SETTINGS).answer("talk", ASKED):
            told.append(event)  # noqa: PERF401 - what came before an error stays


async def test_an_answer_is_signed_for_and_told_as_anywhere(bedrock: Bedrock) -> None:
    bedrock.parts = chunks(answer("Good 早上 🌅", thinking="Hm"))
    told: list[object] = []

    await read(told)

    *said, ending = told
    assert said[0] == thought("Hm")
    assert text_in(said) == "Good 早上 🌅"
    assert isinstance(ending, Ending)
    assert [block["type"] for block in ending.blocks] == ["thinking", "text"]
    path, headers, body = bedrock.requests[0]
    assert path == "/model/us.anthropic.claude-sonnet-5-v1:0/invoke-with-response-stream"
    assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIATEST/")
    assert "/eu-west-1/bedrock/aws4_request" in headers["authorization"]
    assert headers["x-amz-security-token"] == "session"
    assert "cache_control" not in body
    assert [message["content"][-1].get("cache_control") for message in body["messages"]] == [
        None,
        None,
        {"type": "ephemeral"},
    ]


@pytest.mark.parametrize(
    ("last", "error"),
    [
        (thrown("throttlingException"), Overloaded),
        (thrown("serviceUnavailableException"), Overloaded),
        (thrown("modelStreamErrorException"), Upstream),
        (b"no frame of an event stream", Upstream),
        (b"", Upstream),
    ],
    ids=["throttled", "unavailable", "the model failed", "no frame", "a clean end without message_stop"],
)
async def test_a_stream_that_breaks_off_is_told_after_what_was_written(
    bedrock: Bedrock, last: bytes, error: type[ReplyError]
) -> None:
    bedrock.parts = [*chunks(partial("So far")), last]
    told: list[object] = []

    with pytest.raises(error):
        await read(told)

    assert text_in(told) == "So far"


@pytest.mark.parametrize(
    ("status", "kind", "error"),
    [
        (429, "ThrottlingException", Overloaded),
        (503, "ServiceUnavailableException", Overloaded),
        (403, "AccessDeniedException", Denied),
        (400, "ServiceQuotaExceededException", Overloaded),
        (400, "ValidationException", Unaccepted),
    ],
)
async def test_a_request_that_is_refused_is_told(
    bedrock: Bedrock, status: int, kind: str, error: type[ReplyError]
) -> None:
    """Bedrock says in headers what it means."""
    headers = {"retry-after": "30", "x-amzn-errortype": f"{kind}:http://aws.example/", "x-amzn-requestid": "r-1"}
    bedrock.refusal = JSONResponse({"message": "no"}, status, headers)

    with pytest.raises(error) as refusal:
        await read([])

    assert (refusal.value.said, len(bedrock.requests)) == (Said(status, kind, "no", "r-1"), 1)


async def test_a_request_has_nothing_that_only_anthropic_takes(bedrock: Bedrock) -> None:
    """Its version is one that every model there knows, and there is no web search."""
    bedrock.parts = chunks(answer("Yes"))
    search: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "text", "text": "It rains.", "citations": [{"type": "web_search_result_location"}]},
    ]
    async with claude.bedrock(read_timeout_s=60) as client:
        agent = Claude(client, None, None, replace(SETTINGS, web_searches=3))
        _ = [event async for event in agent.answer("talk", [Turn("1", "Rain?", search), Turn("2", "Sure?")])]

    body = bedrock.requests[0][2]
    assert (body["anthropic_version"], "tools" in body) == ("bedrock-2023-05-31", False)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "It rains."}]
    assert agent.room.files.size * 4 / 3 < 20_000_000
