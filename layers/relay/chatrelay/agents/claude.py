"""Claude, over Anthropic's Messages API.

Grammar of a stream: https://docs.claude.com/en/docs/build-with-claude/streaming. A stream that ends without
``message_stop`` raises nothing in the SDK, and an error in mid-stream arrives as a status error with status 200: both
are told apart here, at one line each.
"""

import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic, omit
from anthropic.lib.streaming import AsyncMessageStream, ParsedMessageStreamEvent
from anthropic.types import Message

from chatrelay.agents import SecretKey
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.errors import Overloaded, Refused, ReplyError, Upstream
from chatrelay.history import Turn, messages
from chatrelay.reply import Ending
from chatrelay.settings import Claude as Settings
from chatrelay.text import SurrogateJoiner, whole

LONGEST_WAIT_S = 5.0
"""A person who waits is told of a longer `retry-after` than this instead of waiting for it."""
CONTINUATIONS = 5
"""How often a paused turn is taken up again before its answer ends as it is."""

OUT_OF_GRAMMAR = (ValueError, LookupError, AttributeError, AssertionError)
"""What the SDK (measured: 2.12) raises for a stream that breaks its own grammar: no JSON, no such block, no usage."""

USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")


def client(read_timeout_s: float) -> AsyncAnthropic:
    """A client of the service (``ANTHROPIC_BASE_URL`` if that is set). Every request brings its own key."""
    timeout = httpx2.Timeout(read_timeout_s, connect=5.0)
    transport = anthropic.DefaultAsyncHttpxClient(event_hooks={"response": [_no_long_waits]})
    return AsyncAnthropic(api_key="", timeout=timeout, max_retries=2, http_client=transport)


async def _no_long_waits(response: httpx2.Response) -> None:
    """Tells the SDK, in the header that it obeys, not to sleep through a long `retry-after`.

    The SDK (measured: 2.12) sleeps as long as it is told, and is told in two more ways: in milliseconds, and by a date.
    """
    named = "retry-after" in response.headers or "retry-after-ms" in response.headers
    wait_s = retry_after_s(response.headers)
    if named and (wait_s is None or wait_s > LONGEST_WAIT_S):
        response.headers["x-should-retry"] = "false"


class Claude:
    """The agent ``claude``."""

    def __init__(self, client: AsyncAnthropic, secret_key: SecretKey, settings: Settings) -> None:
        self._client = client
        self._secret_key = secret_key
        self._settings = settings

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Ending]:  # noqa: ARG002
        """See ``Agent``. A turn that the model pauses is taken up again, and is one answer all the same."""
        asked = messages(turns)
        joiner = SurrogateJoiner()
        parts: list[Message] = []
        with _failures_as_ours():
            while not parts or (parts[-1].stop_reason == "pause_turn" and len(parts) <= CONTINUATIONS):
                stopped, stop_reason = False, None
                async with await self._open(asked + _paused(parts)) as stream:
                    async for event in stream:
                        stopped = stopped or event.type == "message_stop"
                        stop_reason = _stop_reason(event) or stop_reason
                        if text := joiner.feed(_text(event)):
                            yield text
                if not stopped:
                    raise Upstream("The model's service cut its answer off.")
                parts.append(stream.current_message_snapshot.model_copy(update={"stop_reason": stop_reason}))
        if rest := joiner.flush():
            yield rest
        yield _ending(parts)

    async def _open(self, asked: list[dict[str, Any]]) -> AsyncMessageStream[None]:
        """A stream that has begun. A key that is refused is read anew, once: it may have been rotated."""
        try:
            return await self._request(await self._secret_key(), asked)
        except anthropic.AuthenticationError:
            return await self._request(await self._secret_key(renew=True), asked)

    async def _request(self, key: str, asked: list[dict[str, Any]]) -> AsyncMessageStream[None]:
        settings = self._settings
        return await (
            self._client.with_options(api_key=key)
            .messages.stream(
                model=settings.model,
                max_tokens=settings.max_tokens,
                system=settings.system or omit,
                messages=asked,  # type: ignore[arg-type]  # the SDK's typed dictionaries, kept verbatim as JSON
                cache_control={"type": "ephemeral"},
            )
            .__aenter__()
        )


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
def _failures_as_ours() -> Iterator[None]:
    try:
        yield
    except anthropic.APIStatusError as problem:
        raise _told(problem) from problem
    except (anthropic.APIError, httpx2.HTTPError) as problem:
        raise Upstream("The model's service broke off.") from problem
    except OUT_OF_GRAMMAR as problem:
        raise Upstream("The model's service sent something that is no answer.") from problem


def _told(problem: anthropic.APIStatusError) -> ReplyError:
    """Branches on the error's type: in mid-stream the status is 200 whatever went wrong.

    Before the stream the status says it too, also where a proxy answers for the service in words of its own.
    """
    if problem.type in ("overloaded_error", "rate_limit_error") or problem.status_code in (429, 529):
        wait_s = retry_after_s(problem.response.headers)
        return Overloaded("Claude is very busy at the moment.", retry_after_s=wait_s)
    return Upstream("The model's service could not answer.")
