"""What a request to the Messages API asks: whether it is valid, and what its prompt costs.

Sources of the rules: https://platform.claude.com/docs/en/api/errors and api/messages, agents-and-tools/tool-use/
server-tools, build-with-claude/preserved-thinking, the SDK's types of parameters; sentences as they were seen.
"""

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from types import UnionType
from typing import Any

from emulator.stand_ins.script import output_tokens

WITHDRAWN = ("temperature", "top_p", "top_k")
CACHE_MARKS = 4  # Source: build-with-claude/prompt-caching
FIELDS = {
    "text": {"type", "text", "citations", "cache_control"},
    "image": {"type", "source", "cache_control"},
    "document": {"type", "source", "title", "context", "citations", "cache_control"},
    "thinking": {"type", "thinking", "signature"},
    "redacted_thinking": {"type", "data"},
    "tool_use": {"type", "id", "name", "input", "caller", "cache_control"},
    "tool_result": {"type", "tool_use_id", "content", "is_error", "cache_control"},
    "server_tool_use": {"type", "id", "name", "input", "caller", "cache_control"},
    "web_search_tool_result": {"type", "tool_use_id", "content", "caller", "cache_control"},
}
"""The blocks that a request may have, as far as they are played here."""

NESTED: dict[str, dict[str, type | UnionType]] = {
    "web_search_result": {
        "type": str,
        "title": str,
        "url": str,
        "encrypted_content": str,
        "page_age": str | None,
    },
    "web_search_tool_result_error": {"type": str, "error_code": str},
    "web_search_result_location": {
        "type": str,
        "url": str,
        "title": str | None,
        "cited_text": str,
        "encrypted_index": str,
    },
}
"""What is within them, and of which types."""


def fault_in(body: object) -> str | None:
    """Return the first thing that the service would refuse, in its own words where they are known; None if valid."""
    if not isinstance(body, dict):
        return "The request body is not valid JSON: expected an object"
    checks: tuple[Callable[[dict[str, Any]], str | None], ...] = (
        _field_fault,
        _turn_fault,
        _content_fault,
        _block_fault,
        _search_fault,
        _thinking_fault,
        _cache_fault,
    )
    return next((fault for check in checks if (fault := check(body))), None)


def _field_fault(body: dict[str, Any]) -> str | None:
    if not isinstance(body.get("model"), str) or not body["model"]:
        return "model: Field required"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        return "max_tokens: Field required, an integer greater than 0"
    if withdrawn := [name for name in WITHDRAWN if name in body]:
        return f"{withdrawn[0]}: not supported by this version of the API"
    if body.get("stream") is not True:
        return "stream: this server only streams; send true"
    return None


def _turn_fault(body: dict[str, Any]) -> str | None:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages: at least one message is required"
    roles = [message.get("role") if isinstance(message, dict) else None for message in messages]
    if unknown := [role for role in roles if role not in ("user", "assistant")]:
        return f'messages: unexpected role "{unknown[0]}"; allowed are "user" and "assistant"'
    if roles[0] != "user":
        return 'messages: first message must use the "user" role'
    if twice := [role for role, following in pairwise(roles) if role == following]:
        return (
            'messages: roles must alternate between "user" and "assistant", '
            f'but found multiple "{twice[0]}" roles in a row'
        )
    return None


def _content_fault(body: dict[str, Any]) -> str | None:
    for position, message in enumerate(body["messages"]):
        content = message.get("content")
        if not isinstance(content, str | list) or not content:
            return f"messages.{position}: {message['role']} messages must have non-empty content"
        texts = [block.get("text", "") for block in _blocks(content) if block.get("type") == "text"]
        if not all(text.strip() for text in texts):
            return f"messages.{position}: text content blocks must contain non-whitespace text"
    return None


def _block_fault(body: dict[str, Any]) -> str | None:
    for place, role, block in _placed(body):
        kind = block.get("type")
        if kind not in FIELDS:
            return f"{place}: Input tag {kind!r} found using 'type' does not match any of the expected tags"
        if extra := sorted(block.keys() - FIELDS[kind]):
            return f"{place}.{kind}.{extra[0]}: Extra inputs are not permitted"
        if role == "user" and kind == "text" and block.get("citations"):
            return f"{place}.text.citations: not supported in user messages by this version of the API"
        if role == "assistant" and kind in ("document", "image"):
            return f"{place}: {kind} blocks are not supported in assistant messages by this version of the API"
        if nested := [f"{place}.{kind}.{fault}" for fault in _nested_faults(block)]:
            return f"{nested[0]}: Extra inputs are not permitted, or of another type"
        if kind in ("tool_use", "server_tool_use") and not isinstance(block.get("input"), dict):
            return f"{place}.{kind}.input: Input should be a valid dictionary"
    return None


def _nested_faults(block: dict[str, Any]) -> Iterator[str]:
    """Yield the fields within a block that a request does not know, or not of this type."""
    if "caller" in block and not isinstance(block["caller"], dict):
        yield "caller"
    for holder in ("citations", "content"):
        nested = block.get(holder)
        if holder in block and not isinstance(nested, list | dict | str):
            yield holder
        for part in nested if isinstance(nested, list) else [nested] if isinstance(nested, dict) else []:
            known = NESTED.get(part.get("type", ""), {}) if isinstance(part, dict) else {}
            for name in part.keys() - known.keys() if known else []:
                yield f"{holder}.{name}"
            for name, types in known.items():
                if name in part and not isinstance(part[name], types):
                    yield f"{holder}.{name}"


def _search_fault(body: dict[str, Any]) -> str | None:
    # Pairs go by id, in their order; only the last turn, if it is the assistant's, may wait for a result.
    waiting: dict[str, str] = {}
    known: set[str] = set()
    for place, _, block in _placed(body):
        if block["type"] in ("tool_use", "server_tool_use"):
            if block["id"] in known:
                return f"{place}: `tool_use` ids must be unique"
            known.add(block["id"])
            waiting[block["id"]] = block["name"]
        elif block["type"].endswith("tool_result") and waiting.pop(block["tool_use_id"], None) is None:
            return f"{place}: unexpected `tool_use_id` found in `{block['type']}` blocks: {block['tool_use_id']}"
    if waiting and body["messages"][-1]["role"] == "user":
        use, name = next(iter(waiting.items()))
        return f"`{name}` tool use with id `{use}` was found without a corresponding `{name}_tool_result` block"
    return None


def _thinking_fault(body: dict[str, Any]) -> str | None:
    # As strictly as the models since 2026-08-31: thoughts of an earlier turn are bound to all that was before.
    *earlier, last = body["messages"]
    for place, message in enumerate(earlier):
        for at, block in enumerate(_blocks(message["content"])):
            if block["type"] in ("thinking", "redacted_thinking"):
                return (
                    f"messages.{place}.content.{at}: Invalid `signature` in `thinking` block. "
                    "The block is bound to a different conversation."
                )
    for block in _blocks(last["content"]):
        if block["type"] == "thinking" and not block.get("signature"):
            return f"messages.{len(earlier)}: thinking.signature: Field required"
    return None


def _cache_fault(body: dict[str, Any]) -> str | None:
    marks = sum("cache_control" in block for _, _, block in _placed(body)) + ("cache_control" in body)
    return f"A maximum of {CACHE_MARKS} blocks with cache_control may be provided." if marks > CACHE_MARKS else None


def _placed(body: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every block of the messages, with its place as the service names it, and whose it is."""
    for number, message in enumerate(body["messages"]):
        for at, block in enumerate(_blocks(message["content"])):
            yield f"messages.{number}.content.{at}", message["role"], block


class PromptCache:
    """A count of a prompt's tokens like the service's prompt cache's: by prefixes that end at a `cache_control`.

    Simpler than the real one: no minimum length, no expiry, four characters a token.
    """

    def __init__(self) -> None:
        self._prefixes: set[tuple[str, ...]] = set()

    def usage(self, body: dict[str, Any]) -> dict[str, int]:
        """Return a prompt's usage. `input_tokens` counts what was neither read from the cache nor written to it."""
        marked = list(_prompt(body))
        prompt = tuple(text for text, _ in marked)
        marks = [length for length, (_, mark) in enumerate(marked, start=1) if mark]
        if "cache_control" in body:
            marks.append(len(prompt))
        written = max(marks, default=0)
        read = max((n for n in range(1, written + 1) if prompt[:n] in self._prefixes), default=0)
        self._prefixes.update(prompt[:length] for length in marks)
        return {
            "input_tokens": _tokens(prompt[written:]),
            "cache_creation_input_tokens": _tokens(prompt[read:written]),
            "cache_read_input_tokens": _tokens(prompt[:read]),
            "output_tokens": 1,
        }


def _prompt(body: dict[str, Any]) -> Iterator[tuple[str, bool]]:
    """Yield every block of the prompt in the cache's order, with whether it is marked."""
    rows = [("tools", body.get("tools", [])), ("system", body.get("system", []))]
    rows += [(message["role"], message["content"]) for message in body["messages"]]
    for place, content in rows:
        for block in _blocks(content):
            # A mark is no part of the prefix: it moves on with the next turn, and the text stays cached.
            bare = {key: value for key, value in block.items() if key != "cache_control"}
            yield place + json.dumps(bare, sort_keys=True, ensure_ascii=False), "cache_control" in block


def _blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks of a content, for which a plain string is the short form of one text block."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _tokens(blocks: tuple[str, ...]) -> int:
    return output_tokens("".join(blocks)) if blocks else 0
