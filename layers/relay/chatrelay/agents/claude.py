"""Claude, over Anthropic's Messages API, at Anthropic or at Amazon Bedrock.

The SDK signs, retries and decodes the streams of both services; ``Accumulator`` reads its raw events. The SDK raises
nothing for a stream that ends without ``message_stop``, and a status error with status 200 for an error in mid-stream.
This module translates both, at one line each.
"""

import struct
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError

from chatrelay.agents import KeptText, refusals
from chatrelay.agents.accumulator import USAGE, Accumulator
from chatrelay.agents.deferred_imports import deferring
from chatrelay.agents.refusals import ANTHROPIC, Refusal
from chatrelay.agents.requests.claude import continued, to_anthropic, to_bedrock
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.domain.attachments import FileRoom
from chatrelay.domain.errors import Reason, Refused, Said, TooLong, Unaccepted, Upstream
from chatrelay.domain.log import Written
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Room, Turn
from chatrelay.settings import Claude as Settings

with deferring("anthropic.lib", "anthropic.resources", "anthropic.types"):
    import anthropic
    from anthropic import AsyncAnthropic, AsyncStream

if TYPE_CHECKING:
    from anthropic import AsyncAnthropicBedrock

    Client = AsyncAnthropic | AsyncAnthropicBedrock

LONGEST_WAIT_S = 5.0
"""The longest `retry-after` that the SDK waits for. A longer one becomes an error at once, for the person who waits."""
CONTINUATIONS = 5
"""How often a paused turn is continued before its answer ends as it is."""

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
"""What a failed stream or connection raises. The last two are Bedrock's: no credentials, no event stream of AWS."""

BEDROCK_FILES = FileRoom(pdfs_count=True, size=14 * 1024 * 1024)
"""A request to Bedrock has at most 20 MB, with its files in base64."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def client(read_timeout_s: float) -> AsyncAnthropic:
    """Return a client of the service (``ANTHROPIC_BASE_URL`` if that is set). Every request brings its own key."""
    timeout, transport = _http(read_timeout_s)
    # The SDK retries until a stream has begun, and never after it.
    return AsyncAnthropic(api_key="", timeout=timeout, max_retries=2, http_client=transport)


def bedrock(read_timeout_s: float) -> "AsyncAnthropicBedrock":
    """Return a client of Bedrock in our Region (``ANTHROPIC_BEDROCK_BASE_URL`` if set) that signs as the function."""
    timeout, transport = _http(read_timeout_s)
    return anthropic.AsyncAnthropicBedrock(timeout=timeout, max_retries=2, http_client=transport)


def _http(read_timeout_s: float) -> tuple[httpx2.Timeout, httpx2.AsyncClient]:
    hooks = {"response": [_no_long_waits, _no_mark]}
    # The SDK's own limit is 600 s between two bytes.
    return httpx2.Timeout(read_timeout_s, connect=5.0), anthropic.DefaultAsyncHttpxClient(event_hooks=hooks)


async def _no_long_waits(response: httpx2.Response) -> None:
    """Stop the SDK from sleeping through a long `retry-after`, by the header that the SDK obeys.

    The SDK (measured: 2.12) sleeps for however long the service asks: in seconds, in milliseconds, or by a date.
    """
    named = "retry-after" in response.headers or "retry-after-ms" in response.headers
    wait_s = retry_after_s(response.headers)
    if named and (wait_s is None or wait_s > LONGEST_WAIT_S):
        response.headers["x-should-retry"] = "false"


async def _no_mark(response: httpx2.Response) -> None:
    """Strip a byte order mark: an event stream may begin with one (WHATWG HTML 9.2.6), and the SDK reads it as text."""
    assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - of an asynchronous client
    response.stream = _WithoutMark(response.stream)


class _WithoutMark(httpx2.AsyncByteStream):
    """A stream without the byte order mark at its beginning."""

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
    """The agent ``claude``. Without a `secret_key` the client signs its requests by itself."""

    def __init__(
        self,
        client: "Client",
        secret_key: KeptText | None,
        prompt: KeptText | None,
        settings: Settings,
    ) -> None:
        self._client = client
        self._secret_key = secret_key
        self._prompt = prompt
        self._settings = settings

    @property
    def model(self) -> str:
        return self._settings.model

    @property
    def room(self) -> Room:
        return Room(self._settings.history_tokens, BEDROCK_FILES if self._settings.bedrock else FileRoom())

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending]:  # noqa: ARG002
        """Implement ``Agent``: one answer, even if the model pauses its turn and is asked to continue."""
        prepare = to_bedrock if self._settings.bedrock else to_anthropic
        request = prepare(turns, await self._prompt() if self._prompt else "", self._settings)
        messages: list[Accumulator] = []  # of a turn that the service pauses, several
        while not messages or (messages[-1].stop_reason == "pause_turn" and len(messages) <= CONTINUATIONS):
            message = Accumulator()
            try:
                with _translate_errors(tokens=sum(turn.tokens for turn in turns)):
                    stream = await self._open(continued(request, _blocks(messages)))
            except (TooLong, Unaccepted):
                if not messages:
                    raise
                break  # the service does not continue the paused turn: the answer ends as it is
            async with stream:
                heard = refusals.said(stream.response.status_code, None, None, _request_id(stream.response))
                with _translate_errors(heard):
                    async for event in stream:
                        for written in message.feed(event):
                            yield written
                if not message.started:  # the SDK reads a proxy's page as an empty stream
                    raise Upstream(NO_ANSWER, reason=Reason.OUT_OF_GRAMMAR, said=heard)
                if not message.stopped:
                    raise Upstream("The model's service cut its answer off.", reason=Reason.CUT_OFF, said=heard)
            messages.append(message)
        with _translate_errors(heard):
            ending = _ending(messages, heard)
        # Bedrock answers by Anthropic's name, and takes its own price.
        yield replace(ending, model=self._settings.model) if self._settings.bedrock else ending

    async def _open(self, body: dict[str, Any]) -> AsyncStream[object]:
        """Return a stream that has begun."""
        if self._secret_key is None:
            return await self._post(self._client, body)
        try:
            return await self._post(self._client.with_options(api_key=await self._secret_key()), body)
        except anthropic.AuthenticationError:  # the key may have been rotated: read again, once
            return await self._post(self._client.with_options(api_key=await self._secret_key(renew=True)), body)

    async def _post(self, client: "Client", body: dict[str, Any]) -> AsyncStream[object]:
        # Raw: the SDK validates no event, and its own accumulator raises anything at all on a broken stream.
        return await client.post("/v1/messages", body=body, cast_to=object, stream=True, stream_cls=AsyncStream[object])


def _blocks(messages: Sequence[Accumulator]) -> list[dict[str, Any]]:
    return [block for message in messages for block in message.blocks]


def _ending(messages: Sequence[Accumulator], heard: Said) -> Ending:
    last = messages[-1]
    if last.stop_reason == "refusal":
        raise Refused("Claude declined to answer this.", said=heard)
    usage = {name: sum(message.usage.get(name, 0) for message in messages) for name in USAGE}
    return Ending(last.stop_reason or "unknown", last.model, usage, _blocks(messages))


@contextmanager
def _translate_errors(heard: Said | None = None, *, tokens: int = 0) -> Iterator[None]:
    """Raise our errors for the SDK's. `heard` is what the service has said so far, `tokens` the size of the request."""
    try:
        yield
    except anthropic.APIStatusError as problem:
        headers, body = problem.response.headers, problem.body
        said = refusals.said(
            problem.status_code,  # in mid-stream always 200
            problem.type or headers.get("x-amzn-errortype", "").partition(":")[0],  # as Bedrock may name the type
            problem.api_message or (body.get("message") if isinstance(body, dict) else None),
            _request_id(problem.response),
        )
        refusal = Refusal(said, problem.error_code or "", tokens=tokens, retry_after_s=retry_after_s(headers))
        raise refusals.meaning("Claude", ANTHROPIC, refusal) from problem
    except anthropic.APIConnectionError as problem:
        raise Upstream("The model's service cannot be reached.", reason=Reason.UNREACHABLE, said=heard) from problem
    except BROKEN as problem:
        raise Upstream("The model's service broke off.", reason=Reason.CUT_OFF, said=heard) from problem
    except OUT_OF_GRAMMAR as problem:
        raise Upstream(NO_ANSWER, reason=Reason.OUT_OF_GRAMMAR, said=heard) from problem


def _request_id(response: httpx2.Response) -> str | None:
    return response.headers.get("request-id") or response.headers.get("x-amzn-requestid")
