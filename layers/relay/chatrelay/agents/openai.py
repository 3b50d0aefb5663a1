"""Codex without BridgeHub: OpenAI's Responses API.

Grammar of a stream: https://platform.openai.com/docs/api-reference/responses-streaming. A stream ends with
``response.completed``, ``response.incomplete``, ``response.failed`` or ``error``; otherwise it was cut off.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import httpx
from httpx_sse import EventSource, SSEError

from chatrelay.agents import KeptText, bearer, refusals
from chatrelay.agents.output_items import tools
from chatrelay.agents.refusals import OPENAI, Refusal
from chatrelay.agents.requests.openai import to_openai
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.agents.text_stream import ROOM, End, Growing, answered, text_field
from chatrelay.agents.usage import counted
from chatrelay.domain.blocks import cited
from chatrelay.domain.errors import Reason, Refused, ReplyError, Said, Upstream
from chatrelay.domain.log import Cited, Written
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Room, Turn
from chatrelay.settings import OpenAI as Settings

DONE = "[DONE]"
"""Outside the grammar, but some services end a stream with it."""
OUT_OF_GRAMMAR = (ValueError, RecursionError, SSEError)
"""What is raised by an event that is no JSON or lacks a field, and by an answer that is no stream of events."""


def client(base_url: str, read_timeout_s: float) -> httpx.AsyncClient:
    """Return a client of the service at `base_url`, which ends in ``/v1``. Every request brings its own key."""
    return bearer.client(base_url, read_timeout_s)


class OpenAI:
    """The agent ``codex``, at OpenAI."""

    room: Room = ROOM

    def __init__(
        self, client: httpx.AsyncClient, secret_key: KeptText, prompt: KeptText | None, settings: Settings
    ) -> None:
        self._client = client
        self._secret_key = secret_key
        self._prompt = prompt
        self._settings = settings

    @property
    def model(self) -> str:
        return self._settings.model

    async def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending]:  # noqa: ARG002
        """Implement ``Agent``."""
        asked = to_openai(turns, await self._prompt() if self._prompt else "", self._settings)
        with _translate_errors():
            async with bearer.posted(self._client, self._secret_key, "/responses", asked) as response:
                if response.status_code != httpx.codes.OK:
                    page, body = await response.aread(), None
                    with suppress(*OUT_OF_GRAMMAR):  # no JSON: a proxy has answered for the service
                        body = json.loads(page)
                    raise _failure(body, response)
                heard = _said(response)
                with _translate_errors(heard):
                    async with aclosing(answered(_events(response), heard)) as events:
                        async for event in events:
                            yield event


async def _events(response: httpx.Response) -> AsyncGenerator[Written | End]:
    """Yield what is written, and the end."""
    # UTF-8 whatever the headers say, and perhaps with a byte order mark: WHATWG HTML 9.2.5 and 9.2.6.
    response.encoding = "utf-8-sig"
    # httpx-sse compares the media type as it stands; RFC 9110 8.3.1 lets services write it in capitals.
    response.headers["content-type"] = response.headers.get("content-type", "").lower()
    growing = Growing()
    async with aclosing(EventSource(response).aiter_sse()) as events:
        async for event in events:
            # An event without data does not count: WHATWG HTML 9.2.6.
            if event.data and not event.data.startswith(DONE):
                for written in _event(json.loads(event.data), growing, response):
                    yield written


def _event(event: Any, growing: Growing, response: httpx.Response) -> Iterator[Written | End]:
    match event:
        case {"type": "response.refusal.delta" | "response.refusal.done"} | {
            "type": "response.incomplete",
            "response": {"incomplete_details": {"reason": "content_filter"}},
        }:
            raise Refused("Codex declined to answer this.", said=_said(response))
        case {"type": "response.completed", **more}:
            yield from growing.end()
            yield _end("end_turn", more.get("response"))
        case {
            "type": "response.incomplete",
            "response": {"incomplete_details": {"reason": "max_output_tokens"}} as stopped,
        }:
            yield from growing.end()
            yield _end("max_tokens", stopped)  # at its limit, as Claude's answers do
        case {"type": "response.incomplete"}:
            raise Upstream("The model's service could not finish its answer.", said=_said(response))
        case {"type": "response.failed" | "error"}:
            raise _failure(event, response)
        case {"type": str()}:
            yield from _written(event, growing)
        case _:
            raise ValueError("no event of the service")


def _written(event: Mapping[Any, Any], growing: Growing) -> Iterator[Written]:
    """Yield what an event adds to the log: nothing if it is of another kind of output, or of a later version."""
    # What tells the stretches of one kind apart: a pair goes on in its own part only.
    stretch = tuple(event.get(name) for name in ("output_index", "content_index", "summary_index"))
    match event:
        case {"type": "response.output_text.delta", **more}:
            yield from growing.grow("message", text_field(more.get("delta")), stretch)
        # The second is of open models, whose thoughts nobody sums up.
        case {"type": "response.reasoning_summary_text.delta" | "response.reasoning_text.delta", **more}:
            yield from growing.grow("reasoning", text_field(more.get("delta")), stretch)
        case {"type": "response.output_text.annotation.added", "annotation": {"type": "url_citation", **citation}}:
            yield from _source(citation, growing)
        case {"type": "response.output_item.done", "item": {"type": str()} as item}:
            if pieces := list(tools(item)):
                yield from growing.end()
                yield from pieces


def _source(citation: Mapping[Any, Any], growing: Growing) -> Iterator[Cited]:
    """Yield the source that a citation adds to the text that grows; without such a text, there is nothing to support.

    The citation names the stretch of its text at which it stands, in characters, and comes when that is written. So it
    supports what is written from there on. One that names no place within the text supports all of it.
    """
    url, title, start = text_field(citation.get("url")), text_field(citation.get("title")), citation.get("start_index")
    if start is not None and type(start) is not int:  # not `isinstance`: to Python, true is an integer
        raise ValueError("start_index is no number")
    if url and growing.kind == "message" and (text := growing.text):
        yield cited(url, title, text[start:] if start is not None and 0 <= start < len(text) else text)


def _end(stop_reason: str, response: object) -> End:
    fields = response if isinstance(response, dict) else {}
    model, told = fields.get("model"), fields.get("usage")
    usage = counted(told, "input_tokens", "output_tokens")
    if usage.keys() == {"input_tokens", "output_tokens"}:
        # In Claude's terms: `input_tokens` includes neither what was read from the cache nor what was written to it.
        details = told.get("input_tokens_details") if isinstance(told, dict) else None
        cache = counted(details, "cached_tokens", "cache_write_tokens")
        read, created = cache.get("cached_tokens", 0), cache.get("cache_write_tokens", 0)
        usage |= {
            "input_tokens": max(usage["input_tokens"] - read - created, 0),
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": created,
        }
    else:
        usage = {}
    return End(stop_reason, model if isinstance(model, str) else "codex", usage)


def _failure(body: object, response: httpx.Response) -> ReplyError:
    """Return what an error means, in the body of an HTTP answer, in an event, or in the response that failed."""
    error: Mapping[Any, Any] = {}
    match body:
        case {"response": {"error": {} as found}} | {"error": {} as found} | ({"code": _} as found):
            error = found if isinstance(found, Mapping) else {}
    # The sentence of a 401 has a part of the key in it.
    sentence = None if response.status_code == httpx.codes.UNAUTHORIZED else error.get("message")
    code, field = (value if isinstance(value, str) else "" for value in (error.get("code"), error.get("param")))
    kind = None if error.get("type") == "error" else error.get("type")  # that is the event's type, not the error's
    said = _said(response, kind, sentence)
    refusal = Refusal(said, code, field, retry_after_s=retry_after_s(response.headers))
    return refusals.meaning("Codex", OPENAI, refusal)


def _said(response: httpx.Response, kind: object = None, sentence: object = None) -> Said:
    return refusals.said(response.status_code, kind, sentence, response.headers.get("x-request-id"))


@contextmanager
def _translate_errors(heard: Said | None = None) -> Iterator[None]:
    """Raise our errors for those of httpx and of the grammar. `heard` is what the service has said so far."""
    try:
        yield
    except bearer.UNREACHABLE as problem:
        raise Upstream("The model's service cannot be reached.", reason=Reason.UNREACHABLE) from problem
    except OUT_OF_GRAMMAR as problem:
        sentence = "The model's service sent something that is no answer."
        raise Upstream(sentence, reason=Reason.OUT_OF_GRAMMAR, said=heard) from problem
    except httpx.HTTPError as problem:
        raise Upstream("The model's service broke off.", reason=Reason.CUT_OFF, said=heard) from problem
