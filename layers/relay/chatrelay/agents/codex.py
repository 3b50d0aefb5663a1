"""Codex, over BridgeHub: a command-line relay on its user's own machine.

There, ``infra/bridgehub`` takes BridgeHub's request and answers with lines of JSON, as its ``openapi.yaml`` says: what
is written as it is written, pings in between, and ``end`` or ``error`` last. An answer without that was cut off.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Any

import httpx

from chatrelay.agents import KeptText, bearer, refusals
from chatrelay.agents.refusals import Refusal
from chatrelay.agents.requests import Message
from chatrelay.agents.requests.plain_text import as_plain_messages, as_text
from chatrelay.agents.retry_after import retry_after_s
from chatrelay.agents.text_stream import ROOM, End, Growing, answered, text_field
from chatrelay.agents.usage import counted
from chatrelay.domain.blocks import called, returned
from chatrelay.domain.errors import Denied, Overloaded, Reason, ReplyError, Said, Upstream
from chatrelay.domain.log import Written
from chatrelay.domain.reply import Ending
from chatrelay.domain.text import beginning, join_surrogates, json_bytes
from chatrelay.domain.turns import Room, Turn
from chatrelay.settings import BridgeHub as Settings

SILENCE_S = 30.0
"""Three of the sidecar's pings: a machine that has sent none of them is asleep or cut off."""
REQUEST_BYTES = 128 * 1024 - 1
"""BridgeHub takes its request as one argument; Linux takes no longer argument. Source: execve(2), MAX_ARG_STRLEN."""
LINE_BYTES = 8 * 1024 * 1024
"""Far more than any answer has. Only a line that never ends is longer."""
SENTENCE_CHARS = 300
"""An error's sentence is for a person, and goes out in one frame."""

BUSY = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
OUT_OF_GRAMMAR = (ValueError, RecursionError)
"""What a line raises that is no JSON, or no event of the sidecar."""

USAGE = ("input_tokens", "output_tokens", "cache_read_input_tokens")


def client(base_url: str, read_timeout_s: float = SILENCE_S) -> httpx.AsyncClient:
    """Return a client of the sidecar at `base_url`. Every request brings its own token."""
    return bearer.client(base_url, read_timeout_s)


class Codex:
    """The agent ``codex``, on the machine of its user."""

    room: Room = ROOM
    model = "codex"

    def __init__(self, client: httpx.AsyncClient, token: KeptText, settings: Settings) -> None:
        self._client = client
        self._token = token
        self._settings = settings

    def answer(self, conversation: str, turns: Sequence[Turn]) -> AsyncGenerator[Written | Ending]:
        """Implement ``Agent``."""
        return self.call_codex(as_text(turns[-1]), conversation, as_plain_messages(turns[:-1]))

    async def call_codex(
        self, message: str, session_id: str, conversation_history: Sequence[Message]
    ) -> AsyncGenerator[Written | Ending]:
        """Yield the answer to `message`, as ``Agent`` does. The history is ``[{"role", "content"}]``, oldest first.

        The oldest messages are left out if a request has no room for all.
        """
        directory = self._settings.working_directory
        bare = json.dumps(_request(message, session_id, directory, []), ensure_ascii=False)
        room_bytes = REQUEST_BYTES - len(bare.encode())
        first = len(conversation_history)
        while first > 0:
            earlier = json.dumps(conversation_history[first - 1], ensure_ascii=False)
            room_bytes -= json_bytes(earlier) + len(", ")  # the history is JSON inside a JSON string
            if room_bytes < 0:
                break
            first -= 1
        asked = _request(message, session_id, directory, conversation_history[first:])
        try:
            async with bearer.posted(self._client, self._token, "/v1/answers", asked) as response:
                said = refusals.said(response.status_code, None, None, None)
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response, said)
                async with aclosing(answered(_events(response), said)) as events:
                    async for event in events:
                        yield event
        except bearer.UNREACHABLE as problem:
            raise Upstream("BridgeHub cannot be reached. Is its machine awake?", reason=Reason.UNREACHABLE) from problem
        except httpx.HTTPError as problem:
            raise Upstream("BridgeHub broke off.", reason=Reason.CUT_OFF) from problem
        except OUT_OF_GRAMMAR as problem:
            raise Upstream("BridgeHub sent something that is no answer.", reason=Reason.OUT_OF_GRAMMAR) from problem


def _request(message: str, session_id: str, directory: str, history: Sequence[Message]) -> dict[str, Any]:
    """Return a request of BridgeHub's version 1.0."""
    context = json.dumps(history, ensure_ascii=False)
    return {
        "version": "bridgehub/1.0",
        "action": "freeform",
        "capsule": directory,
        "session": session_id,
        "payload": {
            "message": message,
            "intent": "mobile_codex_query",
            "direction": "claude_to_codex",
            "context": [{"title": "Full Conversation History", "role": "note", "content": context}],
            "metadata": {"source": "builderos_mobile", "visibility": "full"},
        },
    }


def _refusal(response: httpx.Response, said: Said) -> ReplyError:
    """Return what the sidecar's refusal means. A shorter history would not help: the request has only what fits."""
    if response.status_code in BUSY:
        wait_s = retry_after_s(response.headers)
        return Overloaded("Codex is busy with other messages at the moment.", retry_after_s=wait_s, said=said)
    if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        return refusals.too_long("Codex", 0, said)
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return refusals.denied("BridgeHub", Reason.KEY, said)
    if response.status_code in refusals.NEVER:
        return refusals.denied("BridgeHub", Reason.SETTINGS, said)
    return Upstream("BridgeHub did not take the message.", said=said)


async def _events(response: httpx.Response) -> AsyncGenerator[Written | End]:
    """Yield what is written, and the end. Raise ``ValueError`` outside the grammar."""
    is_first, rest, growing = True, b"", Growing()
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            # Some senders begin with a byte order mark, which RFC 8259 8.1 lets readers ignore.
            for written in _event(line.removeprefix(BYTE_ORDER_MARK) if is_first else line, growing):
                yield written
            is_first = False
        if len(rest) > LINE_BYTES:
            raise ValueError("a line without an end")
    # Some senders do not end the last line.
    with suppress(*OUT_OF_GRAMMAR):  # a last line that is cut in half says nothing
        for written in _event(rest, growing):
            yield written


def _event(line: bytes, growing: Growing) -> Iterator[Written | End]:
    if not line.strip():  # ndjson-spec 1.0.0: empty lines keep a connection alive, and lines may end in CR LF
        return
    match json.loads(line):
        case {"type": "text", **more}:
            yield from growing.grow("message", text_field(more.get("text")))
        case {"type": "reasoning", **more}:
            yield from growing.grow("reasoning", text_field(more.get("text")))
        case {"type": "tool", **more}:
            tool = called(text_field(more.get("call")), text_field(more.get("name")), "model", more.get("input"))
            yield from growing.end()
            yield tool
        case {"type": "tool_result", **more}:
            is_error = more.get("is_error")
            if not isinstance(is_error, bool | None):
                raise ValueError("is_error is neither true nor false")
            result = returned(text_field(more.get("call")), more.get("content"), is_error=bool(is_error))
            yield from growing.end()
            yield result
        case {"type": "end", **more}:
            yield from growing.end()
            yield End("end_turn", "codex", counted(more.get("usage"), *USAGE))
        case {"type": "error", **more}:
            raise _failure(text_field(more.get("message")).strip() or "Codex could not answer.")
        case {"type": str()}:
            pass  # a ping, or an event of a later version
        case _:
            raise ValueError("no event of the sidecar")


def _failure(sentence: str) -> ReplyError:
    """Return the error that ended the answer, in the sidecar's words: they say more than the relay could."""
    said = refusals.said(httpx.codes.OK, "error", sentence, None)
    shown = beginning(join_surrogates(sentence), SENTENCE_CHARS)
    match next((row.means for row in refusals.CODEX if row.reads(Refusal(said))), None):
        case Reason.TOO_LONG:
            return refusals.too_long("Codex", 0, said)
        case Reason() as reason:
            return Denied(shown, reason=reason, said=said)
    return Upstream(shown)
