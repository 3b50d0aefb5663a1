"""Claude, over Anthropic's Messages API, at Anthropic or at Amazon Bedrock.

The SDK signs, retries, and takes apart what both services send; its events are used raw, see ``Accumulator``. A stream
that ends without ``message_stop`` raises nothing in the SDK, and an error in mid-stream arrives as a status error with
status 200: both are told apart here, at one line each.
"""

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic, AsyncAnthropicBedrock, AsyncStream
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError

from chatrelay.agents import KeptText, refusals, requests
from chatrelay.agents.accumulator import USAGE, Accumulator
from chatrelay.agents.refusals import ANTHROPIC, Refusal
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.domain.attachments import FileRoom
from chatrelay.domain.errors import Denied, Overloaded, Reason, Refused, Said, TooLong, Unaccepted, Upstream
from chatrelay.domain.reply import Aside, Ending
from chatrelay.domain.text import SurrogateJoiner
from chatrelay.domain.turns import Room, Turn
from chatrelay.settings import Claude as Settings

LONGEST_WAIT_S = 5.0
"""A person who waits is told of a longer `retry-after` than this instead of waiting for it."""
CONTINUATIONS = 5
"""How often a paused turn is taken up again before its answer ends as it is."""

OUT_OF_GRAMMAR = (
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    TypeError,
    RecursionError,
    struct.error,
)
"""What the SDK (measured: 2.12), botocore and ``Accumulator`` raise for a stream that breaks its own grammar."""

NO_ANSWER = "The model's service sent something that is no answer."

BROKEN = (anthropic.AnthropicError, httpx2.HTTPError, BotoCoreError, ParserError)
"""A stream or a connection that failed. The last two: no credentials for Bedrock, no event stream of AWS's."""

BEDROCK_FILES = FileRoom(pdfs_count=True, size=14 * 1024 * 1024)
"""Bedrock takes 20 MB of request, in base64."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def client(read_timeout_s: float) -> AsyncAnthropic:
    """A client of the service (``ANTHROPIC_BASE_URL`` if that is set). Every request brings its own key."""
    return AsyncAnthropic(api_key="", timeout=_timeout(read_timeout_s), max_retries=2, http_client=_transport())


def bedrock(read_timeout_s: float) -> AsyncAnthropicBedrock:
    """A client of Bedrock in our own Region (``ANTHROPIC_BEDROCK_BASE_URL`` if that is set), signed as the function."""
    return AsyncAnthropicBedrock(timeout=_timeout(read_timeout_s), max_retries=2, http_client=_transport())


def _timeout(read_timeout_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(read_timeout_s, connect=5.0)


def _transport() -> httpx2.AsyncClient:
    return anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [_no_long_waits, _no_mark]})


async def _no_long_waits(response: httpx2.Response) -> None:
    """Tells the SDK, in the header that it obeys, not to sleep through a long `retry-after`.

    The SDK (measured: 2.12) sleeps as long as it is told, and is told in two more ways: in milliseconds, and by a date.
    """
    named = "retry-after" in response.headers or "retry-after-ms" in response.headers
    wait_s = retry_after_s(response.headers)
    if named and (wait_s is None or wait_s > LONGEST_WAIT_S):
        response.headers["x-should-retry"] = "false"


async def _no_mark(response: httpx2.Response) -> None:
    """A byte order mark may stand at the beginning of an event stream (WHATWG HTML 9.2.6), and the SDK reads on."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - of an asynchronous client
    response.stream = _WithoutMark(response.stream)


class _WithoutMark(httpx2.AsyncByteStream):
    """`stream` without the byte order mark at its beginning."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        beginning: bytes | None = b""
        async for chunk in self._stream:
            if beginning is None:
                yield chunk
            elif not BYTE_ORDER_MARK.startswith(beginning := beginning + chunk):
                yield beginning.removeprefix(BYTE_ORDER_MARK)
                beginning = None
        if beginning:
            yield beginning

    async def aclose(self) -> None:
        await self._stream.aclose()


class Claude:
    """The agent ``claude``. Without a `secret_key` the client knows by itself how to sign its requests."""

    def __init__(
        self,
        client: AsyncAnthropic | AsyncAnthropicBedrock,
        secret_key: KeptText | None,
        prompt: KeptText | None,
        settings: Settings,
    ) -> None:
        self._client = client
        self._secret_key = secret_key
        self._prompt = prompt
        self._settings = settings
        self._is_bedrock = isinstance(client, AsyncAnthropicBedrock)

    @property
    def room(self) -> Room:
        return Room(self._settings.history_tokens, BEDROCK_FILES if self._is_bedrock else FileRoom())

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Aside | Ending]:  # noqa: ARG002
        """See ``Agent``. If the model is overloaded before its first text, the fallback model answers instead."""
        has_text = False
        try:
            async with aclosing(self._answer(self._settings.model, turns)) as events:
                async for event in events:
                    has_text = has_text or isinstance(event, str)
                    yield event
                return
        except Overloaded as problem:
            if has_text or not self._settings.fallback_model:
                raise
            busy = problem
        try:
            async with aclosing(self._answer(self._settings.fallback_model, turns)) as events:
                async for event in events:
                    yield event
        except (Denied, TooLong, Unaccepted) as refusal:
            raise busy from refusal  # that the other model does not take this request is no fault of the request's

    async def _answer(self, model: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Aside | Ending]:
        """The answer of `model`. A turn that it pauses is taken up again, and is one answer all the same."""
        request = await self._request(model, turns)
        texts, thoughts = SurrogateJoiner(), SurrogateJoiner()
        parts: list[Accumulator] = []
        while not parts or (parts[-1].stop_reason == "pause_turn" and len(parts) <= CONTINUATIONS):
            part = Accumulator(texts, thoughts)
            try:
                with _failures_as_ours(tokens=sum(turn.tokens for turn in turns)):
                    stream = await self._open(requests.resumed(request, _blocks(parts)))
            except (TooLong, Unaccepted):
                if not parts:
                    raise
                break  # what the model has paused is not taken up: it ends as it is
            async with stream:
                heard = refusals.said(stream.response.status_code, None, None, _request_id(stream.response))
                with _failures_as_ours(heard):
                    async for event in stream:
                        if told := part.feed(event):
                            yield told
                _must_have_ended(part, heard)
            parts.append(part)
        if rest := texts.flush():
            yield rest
        with _failures_as_ours(heard):
            ending = _ending(parts, heard)
        yield ending

    async def _open(self, body: dict[str, Any]) -> AsyncStream[object]:
        """A stream that has begun. A key that is refused is read anew, once: it may have been rotated."""
        if self._secret_key is None or isinstance(self._client, AsyncAnthropicBedrock):
            return await self._post(self._client, body)
        try:
            return await self._post(self._client.with_options(api_key=await self._secret_key()), body)
        except anthropic.AuthenticationError:
            return await self._post(self._client.with_options(api_key=await self._secret_key(renew=True)), body)

    async def _post(self, client: AsyncAnthropic | AsyncAnthropicBedrock, body: dict[str, Any]) -> AsyncStream[object]:
        return await client.post("/v1/messages", body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object])

    async def _request(self, model: str, turns: Sequence[Turn]) -> requests.Request:
        prepare = requests.to_bedrock if self._is_bedrock else requests.to_anthropic
        return prepare(model, turns, await self._prompt() if self._prompt else "", self._settings)


def _blocks(parts: Sequence[Accumulator]) -> list[dict[str, Any]]:
    return [block for part in parts for block in part.blocks]


def _must_have_ended(part: Accumulator, heard: Said) -> None:
    if part.stopped:
        return
    if part.started:
        raise Upstream("The model's service cut its answer off.", reason=Reason.CUT_OFF, said=heard)
    raise Upstream(NO_ANSWER, reason=Reason.OUT_OF_GRAMMAR, said=heard)  # a page of a proxy's is an empty stream


def _ending(parts: Sequence[Accumulator], heard: Said) -> Ending:
    last = parts[-1]
    if last.stop_reason == "refusal":
        raise Refused("Claude declined to answer this.", said=heard)
    usage = {name: sum(part.usage.get(name, 0) for part in parts) for name in USAGE}
    return Ending(last.stop_reason or "unknown", last.model, usage, _blocks(parts))


@contextmanager
def _failures_as_ours(heard: Said | None = None, *, tokens: int = 0) -> Iterator[None]:
    """`heard` is what the service has said so far, `tokens` how many the request has."""
    try:
        yield
    except anthropic.APIStatusError as problem:
        raise refusals.meaning("Claude", ANTHROPIC, _refusal(problem, tokens)) from problem
    except anthropic.APIConnectionError as problem:
        raise Upstream("The model's service cannot be reached.", reason=Reason.UNREACHABLE, said=heard) from problem
    except BROKEN as problem:
        raise Upstream("The model's service broke off.", reason=Reason.CUT_OFF, said=heard) from problem
    except OUT_OF_GRAMMAR as problem:
        raise Upstream(NO_ANSWER, reason=Reason.OUT_OF_GRAMMAR, said=heard) from problem


def _request_id(response: httpx2.Response) -> str | None:
    return response.headers.get("request-id") or response.headers.get("x-amzn-requestid")


def _refusal(problem: anthropic.APIStatusError, tokens: int) -> Refusal:
    """In mid-stream the status is 200 whatever went wrong. Before it, Bedrock says in headers what it means."""
    headers, body = problem.response.headers, problem.body
    said = refusals.said(
        problem.status_code,
        problem.type or headers.get("x-amzn-errortype", "").partition(":")[0],
        problem.api_message or (body.get("message") if isinstance(body, dict) else None),
        _request_id(problem.response),
    )
    return Refusal(said, problem.error_code or "", tokens=tokens, retry_after_s=retry_after_s(headers))
