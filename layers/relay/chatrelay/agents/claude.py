"""Claude, over Anthropic's Messages API, at Anthropic or at Amazon Bedrock.

Grammar of a stream: https://docs.claude.com/en/docs/build-with-claude/streaming. A stream that ends without
``message_stop`` raises nothing in the SDK, and an error in mid-stream arrives as a status error with status 200: both
are told apart here, at one line each.
"""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic, AsyncAnthropicBedrock, omit
from anthropic.lib.streaming import AsyncMessageStream, ParsedMessageStreamEvent
from anthropic.types import Message
from botocore.eventstream import ParserError
from botocore.exceptions import BotoCoreError

from chatrelay.agents import SecretKey
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.errors import Overloaded, Refused, ReplyError, Upstream
from chatrelay.history import Turn, messages
from chatrelay.reply import Aside, Ending
from chatrelay.settings import Claude as Settings
from chatrelay.text import SurrogateJoiner, whole

LONGEST_WAIT_S = 5.0
"""A person who waits is told of a longer `retry-after` than this instead of waiting for it."""
CONTINUATIONS = 5
"""How often a paused turn is taken up again before its answer ends as it is."""

OUT_OF_GRAMMAR = (ValueError, LookupError, AttributeError, AssertionError)
"""What the SDK (measured: 2.12) raises for a stream that breaks its own grammar: no JSON, no such block, no usage."""

BROKEN = (anthropic.APIError, httpx2.HTTPError, BotoCoreError, ParserError)
"""A stream or a connection that failed. The last two: no credentials for Bedrock, no event stream of AWS's."""

BUSY = ("overloaded_error", "rate_limit_error", "throttlingException", "serviceUnavailableException")
"""Types of errors; the last two are Bedrock's, in mid-stream."""

CACHED = {"type": "ephemeral"}
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}

USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def client(read_timeout_s: float) -> AsyncAnthropic:
    """A client of the service (``ANTHROPIC_BASE_URL`` if that is set). Every request brings its own key."""
    return AsyncAnthropic(api_key="", timeout=_timeout(read_timeout_s), max_retries=2, http_client=_transport())


def bedrock(read_timeout_s: float) -> AsyncAnthropicBedrock:
    """A client of Bedrock in our own Region (``ANTHROPIC_BEDROCK_BASE_URL`` if that is set), signed as the function."""
    return AsyncAnthropicBedrock(timeout=_timeout(read_timeout_s), max_retries=2, http_client=_transport())


def _timeout(read_timeout_s: float) -> httpx2.Timeout:
    return httpx2.Timeout(read_timeout_s, connect=5.0)


def _transport() -> httpx2.AsyncClient:
    return anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [_no_long_waits]})


async def _no_long_waits(response: httpx2.Response) -> None:
    """Tells the SDK, in the header that it obeys, not to sleep through a long `retry-after`.

    The SDK (measured: 2.12) sleeps as long as it is told, and is told in two more ways: in milliseconds, and by a date.
    """
    named = "retry-after" in response.headers or "retry-after-ms" in response.headers
    wait_s = retry_after_s(response.headers)
    if named and (wait_s is None or wait_s > LONGEST_WAIT_S):
        response.headers["x-should-retry"] = "false"


class Claude:
    """The agent ``claude``. Without a `secret_key` the client knows by itself how to sign its requests."""

    def __init__(
        self, client: AsyncAnthropic | AsyncAnthropicBedrock, secret_key: SecretKey | None, settings: Settings
    ) -> None:
        self._client = client
        self._secret_key = secret_key
        self._settings = settings

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Aside | Ending]:  # noqa: ARG002
        """See ``Agent``. If the model is overloaded before its first text, the fallback model answers instead."""
        has_text = False
        try:
            async with aclosing(self._answer(self._settings.model, turns)) as events:
                async for event in events:
                    has_text = has_text or isinstance(event, str)
                    yield event
                return
        except Overloaded:
            if has_text or not self._settings.fallback_model:
                raise
        async with aclosing(self._answer(self._settings.fallback_model, turns)) as events:
            async for event in events:
                yield event

    async def _answer(self, model: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Aside | Ending]:
        """The answer of `model`. A turn that it pauses is taken up again, and is one answer all the same."""
        asked = messages(turns)
        telling = _Telling()
        parts: list[Message] = []
        with _failures_as_ours(has_files=bool(turns[-1].attachments)):
            while not parts or (parts[-1].stop_reason == "pause_turn" and len(parts) <= CONTINUATIONS):
                stopped, stop_reason = False, None
                async with await self._open(model, asked, _paused(parts)) as stream:
                    async for event in stream:
                        stopped = stopped or event.type == "message_stop"
                        stop_reason = _stop_reason(event) or stop_reason
                        if told := telling.feed(event):
                            yield told
                if not stopped:
                    raise Upstream("The model's service cut its answer off.")
                parts.append(stream.current_message_snapshot.model_copy(update={"stop_reason": stop_reason}))
        if rest := telling.flush():
            yield rest
        yield _ending(parts)

    async def _open(
        self, model: str, asked: list[dict[str, Any]], paused: list[dict[str, Any]]
    ) -> AsyncMessageStream[None]:
        """A stream that has begun. A key that is refused is read anew, once: it may have been rotated."""
        if self._secret_key is None or isinstance(self._client, AsyncAnthropicBedrock):
            # Bedrock takes no mark for the cache on the request as a whole.
            return await self._request(self._client, model, _marked(asked) + paused, {})
        whole_request = {"cache_control": CACHED}
        try:
            client = self._client.with_options(api_key=await self._secret_key())
            return await self._request(client, model, asked + paused, whole_request)
        except anthropic.AuthenticationError:
            client = self._client.with_options(api_key=await self._secret_key(renew=True))
            return await self._request(client, model, asked + paused, whole_request)

    async def _request(
        self,
        client: AsyncAnthropic | AsyncAnthropicBedrock,
        model: str,
        asked: list[dict[str, Any]],
        options: dict[str, Any],
    ) -> AsyncMessageStream[None]:
        settings = self._settings
        tools = [{**WEB_SEARCH, "max_uses": settings.web_searches}]
        return await client.messages.stream(
            model=model,
            max_tokens=settings.max_tokens,
            system=settings.system or omit,
            messages=asked,  # type: ignore[arg-type]  # the SDK's typed dictionaries, kept verbatim as JSON
            # What a model shows of its thoughts by itself depends on the model.
            thinking={"type": "adaptive", "display": "summarized"} if settings.thinking else omit,
            tools=tools if settings.web_searches else omit,  # type: ignore[arg-type]  # as above
            **options,
        ).__aenter__()


class _Telling:
    """Events of a stream as texts and asides, with the surrogate pairs joined that the stream has cut in half."""

    def __init__(self) -> None:
        self._texts = SurrogateJoiner()
        self._thoughts = SurrogateJoiner()

    def feed(self, event: "ParsedMessageStreamEvent[None]") -> str | Aside | None:
        """What an event has to tell, if anything."""
        if text := self._texts.feed(_text(event)):
            return text
        if thought := self._thoughts.feed(event.thinking if event.type == "thinking" else ""):
            return Aside("thinking", thought)
        if event.type == "content_block_stop" and (used := _tool(event.content_block.to_dict(mode="json"))):
            return Aside("tool", whole(used))
        return None

    def flush(self) -> str:
        """The rest of the text."""
        return self._texts.flush()


def _tool(block: dict[str, Any]) -> str:
    """What the model did with a tool of the service's, as a sentence for a person; empty for other blocks."""
    match block:
        case {"type": "server_tool_use", "input": {"query": str(query)}}:
            return f"Searching the web: {query}"
        case {"type": "web_search_tool_result", "content": list(pages)}:
            return "\n".join(["Found:", *(f"{page['title']} {page['url']}" for page in pages)])
        case {"type": "web_search_tool_result"}:
            return "The search failed."
    return ""


def _marked(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`asked` with a mark for the cache on its last block, which is a user's."""
    *before, last = asked
    *blocks, end = last["content"]
    return [*before, {**last, "content": [*blocks, {**end, "cache_control": CACHED}]}]


def _text(event: "ParsedMessageStreamEvent[None]") -> str:
    """The next text in an event, if it has any: a block may begin with some."""
    if event.type == "text":
        return event.text
    if event.type == "content_block_start" and event.content_block.type == "text":
        return event.content_block.text
    return ""


def _stop_reason(event: "ParsedMessageStreamEvent[None]") -> str | None:
    """Why the model stops, if this event says so. There may be several that could, and the SDK keeps the last one's."""
    return event.delta.stop_reason if event.type == "message_delta" else None


def _paused(parts: Sequence[Message]) -> list[dict[str, Any]]:
    """What a paused answer has so far, as the turn that the model is to take up again."""
    blocks = _blocks(parts)
    return [{"role": "assistant", "content": blocks}] if blocks else []


def _blocks(parts: Sequence[Message]) -> list[dict[str, Any]]:
    """As they came, but for surrogate pairs cut in half by the stream: half of one cannot be sent or stored."""
    blocks = [block.to_dict(mode="json") for part in parts for block in part.content]
    joined: list[dict[str, Any]] = json.loads(whole(json.dumps(blocks, ensure_ascii=False)))
    return joined


def _ending(parts: Sequence[Message]) -> Ending:
    last = parts[-1]
    if last.stop_reason == "refusal":
        raise Refused("Claude declined to answer this.")
    usage: Counter[str] = Counter()
    for part in parts:
        usage.update({name: getattr(part.usage, name) or 0 for name in USAGE})
    return Ending(last.stop_reason or "unknown", last.model, dict(usage), _blocks(parts))


@contextmanager
def _failures_as_ours(*, has_files: bool) -> Iterator[None]:
    """A file that the service does not take refuses its message, which so is no part of the next request."""
    try:
        yield
    except anthropic.APIStatusError as problem:
        if has_files and problem.status_code in (400, 413):
            raise Refused("Claude did not take the message with what is attached to it.") from problem
        raise _told(problem) from problem
    except BROKEN as problem:
        raise Upstream("The model's service broke off.") from problem
    except OUT_OF_GRAMMAR as problem:
        raise Upstream("The model's service sent something that is no answer.") from problem


def _told(problem: anthropic.APIStatusError) -> ReplyError:
    """Branches on the error's type: in mid-stream the status is 200 whatever went wrong.

    Before the stream the status says it too, also where a proxy answers for the service in words of its own.
    """
    if problem.type in BUSY or problem.status_code in (429, 503, 529):
        wait_s = retry_after_s(problem.response.headers)
        return Overloaded("Claude is very busy at the moment.", retry_after_s=wait_s)
    return Upstream("The model's service could not answer.")
