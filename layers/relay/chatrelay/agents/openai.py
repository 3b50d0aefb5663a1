"""Codex without BridgeHub: OpenAI's Responses API.

Grammar of a stream: https://platform.openai.com/docs/api-reference/responses-streaming. It ends with
``response.completed``, ``response.incomplete``, ``response.failed`` or ``error``; without one of them it was cut off.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any

import httpx
from httpx_sse import EventSource

from chatrelay.agents import SecretKey, bearer
from chatrelay.agents.plain import End, answered
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.errors import Overloaded, Refused, ReplyError, Upstream
from chatrelay.history import Turn, spoken
from chatrelay.reply import Ending
from chatrelay.settings import OpenAI as Settings

BUSY = ("rate_limit_exceeded", "server_is_overloaded", "slow_down")
BUSY_STATUS = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
NO_CREDIT = "insufficient_quota"
"""It comes with the status of a rate limit, but no waiting helps."""
DECLINED = ("invalid_prompt", "bio_policy", "misalignment_policy_violation")

OUT_OF_GRAMMAR = (ValueError, RecursionError)
"""What an event raises that is no JSON, or lacks what it must have."""


def client(base_url: str, read_timeout_s: float) -> httpx.AsyncClient:
    """A client of the service at `base_url`, which ends in ``/v1``. Every request brings its own key."""
    return bearer.client(base_url, read_timeout_s)


class OpenAI:
    """The agent ``codex``, at OpenAI."""

    def __init__(self, client: httpx.AsyncClient, secret_key: SecretKey, settings: Settings) -> None:
        self._client = client
        self._secret_key = secret_key
        self._settings = settings

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[str | Ending]:  # noqa: ARG002
        """See ``Agent``."""
        with _failures_as_ours():
            async with bearer.posted(self._client, self._secret_key, "/responses", self._request(turns)) as response:
                await _must_be_accepted(response)
                async with aclosing(answered(_events(response))) as events:
                    async for event in events:
                        yield event

    def _request(self, turns: Sequence[Turn]) -> dict[str, Any]:
        settings = self._settings
        request = {
            "model": settings.model,
            "input": spoken(turns),
            "max_output_tokens": settings.max_tokens,
            "stream": True,
            "store": False,
        }
        return {**request, "instructions": settings.system} if settings.system else request


async def _must_be_accepted(response: httpx.Response) -> None:
    if response.status_code != httpx.codes.OK:
        code = _code(_parsed(await response.aread()))
        raise _trouble(code, response.status_code, retry_after_s(response.headers))


def _parsed(body: bytes) -> object:
    """What an error's body says; None where a proxy answers for the service in words of its own."""
    try:
        return json.loads(body)
    except OUT_OF_GRAMMAR:
        return None


async def _events(response: httpx.Response) -> AsyncGenerator[str | End]:
    """Texts, empty ones for what is none, and the end."""
    async with aclosing(EventSource(response).aiter_sse()) as events:
        async for event in events:
            yield _event(json.loads(event.data))


def _event(event: object) -> str | End:
    match event:
        case {"type": "response.output_text.delta", "delta": str(text)}:
            return text
        case {"type": "response.refusal.delta" | "response.refusal.done"}:
            raise Refused("Codex declined to answer this.")
        case {"type": "response.completed", "response": {} as response}:
            return _end("end_turn", response)
        case {"type": "response.incomplete", "response": {"incomplete_details": {"reason": reason}} as response}:
            return _incomplete(reason, response)
        case {"type": "response.failed" | "error"}:
            raise _trouble(_code(event))
        case {"type": str(other)} if other != "response.output_text.delta":
            return ""  # an event of another kind of output, or of a later version
    raise ValueError("no event of the service")


def _incomplete(reason: object, response: dict[str, Any]) -> End:
    """An answer that stops at its limit has ended in order, as Claude's does."""
    if reason == "max_output_tokens":
        return _end("max_tokens", response)
    if reason == "content_filter":
        raise Refused("Codex declined to answer this.")
    raise Upstream("The model's service could not finish its answer.")


def _end(stop_reason: str, response: dict[str, Any]) -> End:
    return End(stop_reason, str(response.get("model", "codex")), _usage(response.get("usage")))


def _usage(told: object) -> dict[str, int]:
    """In Claude's terms: what was read from the cache is no part of ``input_tokens``."""
    match told:
        case {
            "input_tokens": int(read),
            "output_tokens": int(written),
            "input_tokens_details": {"cached_tokens": int(known)},
        }:
            return {"input_tokens": read - known, "output_tokens": written, "cache_read_input_tokens": known}
        case {"input_tokens": int(read), "output_tokens": int(written)}:
            return {"input_tokens": read, "output_tokens": written, "cache_read_input_tokens": 0}
    return {}


def _code(failure: object) -> object:
    """An error's code, wherever it is: in an HTTP answer, in an event, in the response that failed."""
    match failure:
        case {"response": {"error": {"code": code}}} | {"error": {"code": code}} | {"code": code}:
            return code
    return None


def _trouble(code: object, status: int = httpx.codes.OK, wait_s: float | None = None) -> ReplyError:
    if code == NO_CREDIT:
        return Upstream("The relay's account with the model's service is used up.")
    if code in DECLINED:
        return Refused("Codex declined to answer this.")
    if code in BUSY or status in BUSY_STATUS:
        return Overloaded("Codex is very busy at the moment.", retry_after_s=wait_s)
    return Upstream("The model's service could not answer.")


@contextmanager
def _failures_as_ours() -> Iterator[None]:
    try:
        yield
    except httpx.HTTPError as problem:
        raise Upstream("The model's service broke off.") from problem
    except OUT_OF_GRAMMAR as problem:
        raise Upstream("The model's service sent something that is no answer.") from problem
