"""What a scripted model does with one request, as a value.

A `Script` is a row of steps. When it runs out, the body of the HTTP answer ends cleanly: `answer` is a whole
reply, and the same steps without `message_stop` are the silent truncation that the SDK does not report.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


@dataclass(frozen=True)
class Send:
    """One server-sent event. A `message_start` may leave out id, model and usage: the request decides."""

    event: Mapping[str, Any]


@dataclass(frozen=True)
class Pause:
    """A silence. `math.inf` is a mute stall: nothing more comes, and the connection stays open."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """A close of the TCP connection in the middle of the body.

    Closed, not reset: a reset may also destroy bytes that were sent before it, and then the reader's partial text would
    differ from run to run.
    """


@dataclass(frozen=True)
class Refuse:
    """An HTTP error instead of a stream. Only pauses may stand before it."""

    status: int
    type: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


Step = Send | Pause | Cut | Refuse


@dataclass(frozen=True)
class Script:
    steps: tuple[Step, ...]

    def __add__(self, other: "Script") -> "Script":
        return Script(self.steps + other.steps)


def answer(
    text: str,
    *,
    thinking: str = "",
    delta_chars: int = 8,
    first_s: float = 0.0,
    pause_s: float = 0.0,
    stop_reason: str = "end_turn",
) -> Script:
    """Return a whole reply: `first_s` before the first event, `pause_s` before each delta of `delta_chars`."""
    said = partial(text, thinking=thinking, delta_chars=delta_chars, first_s=first_s, pause_s=pause_s)
    return said + closing(output_tokens(thinking + text), index=1 if thinking else 0, stop_reason=stop_reason)


def partial(
    text: str,
    *,
    thinking: str = "",
    delta_chars: int = 8,
    first_s: float = 0.0,
    pause_s: float = 0.0,
) -> Script:
    """Return a reply up to and with `text`. Alone, its body ends cleanly and without `message_stop`."""
    steps: list[Step] = [Pause(first_s)] if first_s else []
    steps.append(message_start())
    if thinking:
        steps += thinking_block(thinking, delta_chars, pause_s)
    index = 1 if thinking else 0
    steps += [block_start(index, {"type": "text", "text": ""}), Send({"type": "ping"})]
    for piece in pieces(text, delta_chars):
        steps += paced(block_delta(index, {"type": "text_delta", "text": piece}), pause_s)
    return Script(tuple(steps))


def cut_after(text: str, *, delta_chars: int = 8, pause_s: float = 0.0) -> Script:
    """Return `text`, after which the connection is closed under the reader."""
    return partial(text, delta_chars=delta_chars, pause_s=pause_s) + Script((Cut(),))


def stall_after(text: str, *, delta_chars: int = 8, pause_s: float = 0.0) -> Script:
    """Return `text`, then silence on an open connection until the client goes away."""
    return partial(text, delta_chars=delta_chars, pause_s=pause_s) + Script((Pause(math.inf),))


def fail_after(
    text: str,
    type: str = "overloaded_error",  # noqa: A002 - the field's name
    message: str = "Overloaded",
    *,
    delta_chars: int = 8,
    pause_s: float = 0.0,
) -> Script:
    """Return `text`, then an `error` event in the stream, whose HTTP status was 200 long ago."""
    failure = Send({"type": "error", "error": {"type": type, "message": message}})
    return partial(text, delta_chars=delta_chars, pause_s=pause_s) + Script((failure,))


def refuse(
    status: int,
    type: str | None = None,  # noqa: A002 - the field's name
    message: str = "Refused by the script.",
    *,
    headers: Mapping[str, str] | None = None,
    after_s: float = 0.0,
) -> Script:
    """Return an HTTP error in place of a stream. `type` is Anthropic's usual one for `status` unless given."""
    wait: tuple[Step, ...] = (Pause(after_s),) if after_s else ()
    return Script((*wait, Refuse(status, type or ERROR_TYPES[status], message, headers or {})))


def blocks(*steps: Step, stop_reason: str = "end_turn") -> Script:
    """Return a whole reply out of its blocks, each as `thinking_block`, `text_block` and so on write it."""
    opened = [step for step in steps if isinstance(step, Send) and step.event["type"] == "content_block_start"]
    ending = closing(len(steps), index=len(opened) - 1, stop_reason=stop_reason).steps[1:]
    return Script((message_start(), *steps, *ending))


def closing(tokens: int, *, index: int = 0, stop_reason: str = "end_turn") -> Script:
    """Return the end of a reply whose last open block is `index`."""
    return Script(
        (
            block_stop(index),
            Send(
                {
                    "type": "message_delta",
                    "delta": {"stop_reason": stop_reason, "stop_sequence": None},
                    "usage": {"output_tokens": tokens},
                }
            ),
            Send({"type": "message_stop"}),
        )
    )


def message_start() -> Send:
    unknown_yet: dict[str, Any] = {"stop_reason": None, "stop_sequence": None}
    message = {"type": "message", "role": "assistant", "content": [], **unknown_yet}
    return Send({"type": "message_start", "message": message})


def block_start(index: int, block: Mapping[str, Any]) -> Send:
    return Send({"type": "content_block_start", "index": index, "content_block": block})


def block_delta(index: int, delta: Mapping[str, Any]) -> Send:
    return Send({"type": "content_block_delta", "index": index, "delta": delta})


def text_block(index: int, text: str, *citations: Mapping[str, Any], delta_chars: int = 8) -> list[Step]:
    """Return a text, and before it what it cites."""
    return [
        block_start(index, {"type": "text", "text": ""} | ({"citations": []} if citations else {})),
        *(block_delta(index, {"type": "citations_delta", "citation": citation}) for citation in citations),
        *(block_delta(index, {"type": "text_delta", "text": piece}) for piece in pieces(text, delta_chars)),
        block_stop(index),
    ]


def search_block(index: int, use: str, query: str) -> list[Step]:
    """Return a search of the web at the service; `use` is its id."""
    tool = {"type": "server_tool_use", "id": use, "name": "web_search", "input": {}}
    written = json.dumps({"query": query})
    deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces(written, 8))
    return [block_start(index, tool), *(block_delta(index, delta) for delta in deltas), block_stop(index)]


def found_block(index: int, use: str, content: Any) -> list[Step]:
    """Return what the search `use` has found: a list of pages, or an error's object."""
    found = {"type": "web_search_tool_result", "tool_use_id": use, "content": content}
    return [block_start(index, found), block_stop(index)]


def block_stop(index: int) -> Send:
    return Send({"type": "content_block_stop", "index": index})


def thinking_block(thinking: str, delta_chars: int, pause_s: float) -> list[Step]:
    steps: list[Step] = [block_start(0, {"type": "thinking", "thinking": "", "signature": ""})]
    for piece in pieces(thinking, delta_chars):
        steps += paced(block_delta(0, {"type": "thinking_delta", "thinking": piece}), pause_s)
    # Base64 of `scripted`: the fake service asks that there is a signature, and reads none.
    steps.append(block_delta(0, {"type": "signature_delta", "signature": "c2NyaXB0ZWQ="}))
    steps.append(block_stop(0))
    return steps


def paced(step: Send, pause_s: float) -> list[Step]:
    return [Pause(pause_s), step] if pause_s else [step]


def pieces(text: str, chars: int) -> Iterator[str]:
    return (text[at : at + chars] for at in range(0, len(text), chars))


def output_tokens(text: str) -> int:
    """Return how many tokens a text has: about one for four characters."""
    # Never none: the real service counts the empty reply as one, too.
    return max(1, round(len(text) / 4))
