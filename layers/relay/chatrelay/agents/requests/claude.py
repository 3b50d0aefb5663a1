"""A conversation, with its pictures and PDFs, as a request to Claude, at Anthropic or on Bedrock. Pure.

Anthropic's rules, with the models they are about where that is not all:

* The first message is the user's, and the last: since 4.6 no model continues an answer that has begun, except a turn
  that the model has paused itself. [errors#prefill-not-supported]
* No message is empty, no text is empty or blank. [messages] Turns that were never answered are joined to the next.
* A ``server_tool_use`` has its result, and a result its use; only in a paused turn the result may be missing.
  [server-tools] A tool's input that was cut off at the model's limit does not count. [handling-stop-reasons]
* Thinking goes back exactly as it came, after exactly what came before it, or not at all. (Checked since 2026-08-31,
  by Fable 5.1, by Opus, Sonnet and Haiku 5.5, and by all later models.) [preserved-thinking] Here, what came before
  changes: conversations are cut, files expire, refused messages are left out. So only a paused turn keeps its thinking;
  leaving out the thinking of earlier turns is always allowed, and costs no cached beginning.
* Blocks have no fields but those that a request knows. [SDK 2.12, types/\\*_param.py]
* Bedrock has no web search: neither the tool nor its blocks. [web-search-tool] Bedrock knows version 2026-10-21 for
  models from 4.7 on only; up to Opus 4.6, the mark for the cache stands on a block, not on the request.
  [claude-on-amazon-bedrock-legacy]
* At most 20 pictures, or each has to be small, and 32 MB in all; at Bedrock PDFs count as pictures, and 20 MB. [vision]
  See ``Room``.

Anthropic's pages are under https://platform.claude.com/docs/en/, all read as of 2026-11-27.
"""

from collections.abc import Sequence
from typing import Any

from chatrelay.agents.requests import Message, Request
from chatrelay.agents.requests.plain_text import as_text
from chatrelay.domain.attachments import Block, as_block
from chatrelay.domain.turns import Turn
from chatrelay.settings import Claude

CACHED = {"type": "ephemeral"}
BEDROCK_VERSION = {"anthropic_version": "bedrock-2023-05-31"}
CITATION = ("type", "url", "title", "cited_text", "encrypted_index")
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def to_anthropic(turns: Sequence[Turn], system: str, settings: Claude) -> Request:
    """Return a request to answer the last of `turns`. `system` is the system prompt, or blank."""
    request = {**_to_claude(system, settings), "cache_control": CACHED, "messages": messages(turns)}
    if settings.web_searches:
        request["tools"] = [{**WEB_SEARCH, "max_uses": settings.web_searches}]
    return request


def to_bedrock(turns: Sequence[Turn], system: str, settings: Claude) -> Request:
    """Return the same request for Bedrock."""
    *before, last = messages(turns, searches=False)
    *blocks, end = last["content"]
    # The mark for the cache goes on the last block, which is a user's: up to Opus 4.6 Bedrock takes none on a request.
    marked = {**last, "content": [*blocks, {**end, "cache_control": CACHED}]}
    return {**_to_claude(system, settings), **BEDROCK_VERSION, "messages": [*before, marked]}


def continued(request: Request, blocks: Sequence[Block]) -> Request:
    """Return `request` for the model to continue a turn that it has paused after `blocks`. They go back as they came.

    Blank texts are left out, except before a thought, which the service would refuse without them.
    """
    thoughts = (at for at, each in enumerate(blocks) if each["type"] in ("thinking", "redacted_thinking"))
    bound = max(thoughts, default=0)
    kept = [each for at, each in enumerate(blocks) if at < bound or not _is_blank(each)]
    return {**request, "messages": [*request["messages"], *([{"role": "assistant", "content": kept}] if kept else [])]}


def _to_claude(system: str, settings: Claude) -> Request:
    request: Request = {"model": settings.model, "max_tokens": settings.max_tokens, "stream": True}
    if system.strip():
        request["system"] = system
    if settings.thinking:  # what a model shows of its thoughts by itself depends on the model
        request["thinking"] = {"type": "adaptive", "display": "summarized"}
    return request


def messages(turns: Sequence[Turn], *, searches: bool = True) -> list[Message]:
    """Return `turns` as messages of user and assistant. Without web `searches`, only the text of answers goes back."""
    found: list[Message] = []
    known: set[str] = set()
    for turn in turns:
        asked = _asked(turn)
        if found and found[-1]["role"] == "user":  # the turn before was never answered
            found[-1]["content"] += asked
        else:
            found.append({"role": "user", "content": asked})
        if turn.plain or not searches:
            texts = (each for each in turn.blocks if each["type"] == "text" and not _is_blank(each))
            answered = [_with(each, "type", "text") for each in texts]
        else:
            answered = _answered(turn.blocks, known)
        if answered:
            found.append({"role": "assistant", "content": answered})
    return found


def _asked(turn: Turn) -> list[Block]:
    if turn.plain:
        return [{"type": "text", "text": as_text(turn)}]
    said = {"type": "text", "text": turn.content}
    files = [as_block(file) for file in turn.files]
    return files if files and _is_blank(said) else [*files, said]


def _answered(blocks: Sequence[Block], known: set[str]) -> list[Block]:
    """Return the blocks of an earlier answer that go back, in their order: texts, and searches that have a result.

    `known` has the ids of the searches before them: each comes once.
    """
    uses: dict[str, int] = {}
    kept: dict[int, Block] = {}  # by position: a search goes back once its result is found
    for at, each in enumerate(blocks):
        match each:
            case {"type": "text"} if not _is_blank(each):
                kept[at] = _with(each, "type", "text") | _citations(each)
            case {"type": "server_tool_use", "id": str(use), "name": "web_search", "input": {}}:
                uses.setdefault(use, at)
            case {"type": "web_search_tool_result", "tool_use_id": str(use), "content": content} if (
                use in uses and use not in known and (found := _found(content)) is not None
            ):
                known.add(use)
                asked = blocks[uses[use]]
                kept[uses[use]] = _with(asked, "type", "id", "name", "input") | _caller(asked)
                kept[at] = _with(each, "type", "tool_use_id") | {"content": found} | _caller(each)
    return [kept[at] for at in sorted(kept)]


def _found(content: Any) -> Any:
    """Return a search's result with the fields that a request knows: pages, or an error. None if it is neither."""
    match content:
        case {"type": "web_search_tool_result_error", "error_code": str()}:
            return _with(content, "type", "error_code")
        case [*pages]:
            known = []
            for page in pages:
                match page:
                    case {
                        "type": "web_search_result",
                        "title": str(),
                        "url": str(),
                        "encrypted_content": str(sealed),
                        **more,
                    } if sealed:
                        age = ["page_age"] if isinstance(more.get("page_age"), str | None) else []
                        known.append(_with(page, "type", "title", "url", "encrypted_content", *age))
                    case _:
                        return None
            return known
    return None


def _caller(block: Block) -> Block:
    match block:
        case {"caller": {"type": str()} as caller}:
            return {"caller": caller}
    return {}


def _citations(text: Block) -> Block:
    """Return the citations of a text, if there are any: some services refuse an empty list."""
    cited, known = text.get("citations"), []
    for each in cited if isinstance(cited, list) else ():
        match each:
            case {
                "type": "web_search_result_location",
                "url": str(),
                "title": str() | None,
                "cited_text": str(),
                "encrypted_index": str(),
            }:
                known.append(_with(each, *CITATION))
    return {"citations": known} if known else {}


def _with(block: Block, *names: str) -> Block:
    return {name: block[name] for name in names if name in block}


def _is_blank(block: Block) -> bool:
    return block["type"] == "text" and not (block.get("text") or "").strip()
