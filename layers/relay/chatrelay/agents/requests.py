"""What a request tells a model's service of a conversation: one place, for the first message and all later ones. Pure.

What a service refuses once it would refuse for ever, because it goes out again with every later message. So whatever is
stored, what goes out keeps the services' rules. Anthropic's, and by which models where not by all:

* The first message is the user's, and the last: since 4.6 no model goes on with an answer that has begun, but for a
  turn that it has paused itself. [errors#prefill-not-supported]
* No message is empty, no text is empty or blank. [messages] Turns that were never answered are joined to the next.
* A ``server_tool_use`` has its result, and a result its use; only in a paused turn it may wait. [server-tools] A tool's
  input that was cut off at the model's limit is none. [handling-stop-reasons]
* Thinking goes back exactly as it came, after exactly what came before it, or not at all. (Checked since 2026-08-31,
  by Fable 5.1, by Opus, Sonnet and Haiku 5.5, and by all that came later.) [preserved-thinking] What comes before it
  changes here: conversations are cut, files expire, refused messages are left out. So only a paused turn has it; to
  leave out that of earlier turns is always right, and costs no cached beginning.
* Blocks have no fields but those that a request knows. [SDK 2.12, types/\\*_param.py]
* Bedrock has no web search: neither the tool nor its blocks. [web-search-tool] It knows version 2026-10-21 for models
  from 4.7 on only, and up to Opus 4.6 no mark for the cache on the request as a whole, but on blocks.
  [claude-on-amazon-bedrock-legacy]
* At most 20 pictures, or each has to be small, and 32 MB in all; at Bedrock PDFs count as pictures, and 20 MB. [vision]
  See ``Room``.

OpenAI's: texts have at most 10,485,760 characters and are not null, instructions are left out rather than empty; roles
may come in any order. [openai-openapi, EasyInputMessage; public reports] ``max_output_tokens`` is at least 16, which
the template holds.

Pages of Anthropic's are under https://platform.claude.com/docs/en/, all read as of 2026-11-27.
"""

from collections.abc import Sequence
from typing import Any

from chatrelay.domain.attachments import Block, as_text, block
from chatrelay.domain.turns import Turn
from chatrelay.settings import Claude, OpenAI

Request = dict[str, Any]
Message = dict[str, Any]

CACHED = {"type": "ephemeral"}
BEDROCK_VERSION = {"anthropic_version": "bedrock-2023-05-31"}
CITATION = ("type", "url", "title", "cited_text", "encrypted_index")
WEB_SEARCH = {"type": "web_search_20250305", "name": "web_search"}


# --- Anthropic --------------------------------------------------------------------------------------------------------


def to_anthropic(model: str, turns: Sequence[Turn], system: str, settings: Claude) -> Request:
    """A request for `model` to answer the last of `turns`; `system` is what it is told before them, or blank."""
    request = {**_to_claude(model, system, settings), "cache_control": CACHED, "messages": messages(turns)}
    if settings.web_searches:
        request["tools"] = [{**WEB_SEARCH, "max_uses": settings.web_searches}]
    return request


def to_bedrock(model: str, turns: Sequence[Turn], system: str, settings: Claude) -> Request:
    """The same for Bedrock."""
    asked = _marked(messages(turns, searches=False))
    return {**_to_claude(model, system, settings), **BEDROCK_VERSION, "messages": asked}


def resumed(request: Request, blocks: Sequence[Block]) -> Request:
    """`request` for the model to take up again a turn that it has paused after `blocks`: they go back as they came.

    A blank text is left out, unless a thought follows, which would not be taken without it.
    """
    thoughts = (at for at, each in enumerate(blocks) if each["type"] in ("thinking", "redacted_thinking"))
    bound = max(thoughts, default=0)
    kept = [each for at, each in enumerate(blocks) if at < bound or not _is_blank(each)]
    return {**request, "messages": [*request["messages"], *([{"role": "assistant", "content": kept}] if kept else [])]}


def _to_claude(model: str, system: str, settings: Claude) -> Request:
    request: Request = {"model": model, "max_tokens": settings.max_tokens, "stream": True}
    if system.strip():
        request["system"] = system
    if settings.thinking:  # what a model shows of its thoughts by itself depends on the model
        request["thinking"] = {"type": "adaptive", "display": "summarized"}
    return request


def messages(turns: Sequence[Turn], *, searches: bool = True) -> list[Message]:
    """`turns` as messages of user and assistant; of answers only the text where the service has no web `searches`."""
    found: list[Message] = []
    known: set[str] = set()
    for turn in turns:
        asked = _asked(turn)
        if found and found[-1]["role"] == "user":
            found[-1]["content"] += asked
        else:
            found.append({"role": "user", "content": asked})
        if answered := _texts(turn.blocks) if turn.plain or not searches else _answered(turn.blocks, known):
            found.append({"role": "assistant", "content": answered})
    return found


def _marked(asked: Sequence[Message]) -> list[Message]:
    """`asked` with a mark for the cache on its last block, which is a user's."""
    *before, last = asked
    *blocks, end = last["content"]
    return [*before, {**last, "content": [*blocks, {**end, "cache_control": CACHED}]}]


def _asked(turn: Turn) -> list[Block]:
    if turn.plain:
        return [{"type": "text", "text": told(turn)}]
    said = {"type": "text", "text": turn.content}
    files = [block(file) for file in turn.files]
    return files if files and _is_blank(said) else [*files, said]


def _texts(blocks: Sequence[Block]) -> list[Block]:
    """Nothing but the texts of an earlier answer."""
    return [_with(each, "type", "text") for each in blocks if each["type"] == "text" and not _is_blank(each)]


def _answered(blocks: Sequence[Block], known: set[str]) -> list[Block]:
    """The blocks of an earlier answer that go back, in their order; `known` are the searches of those before it."""
    kept = _searches(blocks, known)
    for at, each in enumerate(blocks):
        if each["type"] == "text" and not _is_blank(each):
            kept[at] = _with(each, "type", "text") | _citations(each)
    return [kept[at] for at in sorted(kept)]


def _searches(blocks: Sequence[Block], known: set[str]) -> dict[int, Block]:
    """By their places, the searches that have a result, and the results that have a search. Each id comes once."""
    uses: dict[str, int] = {}
    kept: dict[int, Block] = {}
    for at, each in enumerate(blocks):
        match each:
            case {"type": "server_tool_use", "id": str(use), "name": "web_search", "input": {}}:
                uses.setdefault(use, at)
            case {"type": "web_search_tool_result", "tool_use_id": str(use), "content": found} if (
                use in uses and use not in known and _is_found(found)
            ):
                known.add(use)
                asked = blocks[uses[use]]
                kept[uses[use]] = _with(asked, "type", "id", "name", "input") | _caller(asked)
                kept[at] = _with(each, "type", "tool_use_id") | {"content": _known_only(found)} | _caller(each)
    return kept


def _is_found(found: object) -> bool:
    """A search has found pages, or has failed."""
    match found:
        case {"type": "web_search_tool_result_error", "error_code": str()}:
            return True
        case [*pages]:
            return all(map(_is_page, pages))
    return False


def _caller(block: Block) -> Block:
    match block:
        case {"caller": {"type": str()} as caller}:
            return {"caller": caller}
    return {}


def _known_only(found: Any) -> Any:
    if isinstance(found, dict):
        return _with(found, "type", "error_code")
    return [_with(page, "type", "title", "url", "encrypted_content") | _age(page) for page in found]


def _age(page: Block) -> Block:
    match page:
        case {"page_age": str() | None as age}:
            return {"page_age": age}
    return {}


def _is_page(page: object) -> bool:
    match page:
        case {"type": "web_search_result", "title": str(), "url": str(), "encrypted_content": str(sealed)} if sealed:
            return True
    return False


def _citations(text: Block) -> Block:
    """An empty list of them is left out: some services take none."""
    match text:
        case {"citations": [*cited]} if kept := [_with(each, *CITATION) for each in cited if _is_citation(each)]:
            return {"citations": kept}
    return {}


def _is_citation(cited: object) -> bool:
    match cited:
        case {
            "type": "web_search_result_location",
            "url": str(),
            "title": str() | None,
            "cited_text": str(),
            "encrypted_index": str(),
        }:
            return True
    return False


def _with(block: Block, *names: str) -> Block:
    return {name: block[name] for name in names if name in block}


def _is_blank(block: Block) -> bool:
    return block["type"] == "text" and not (block.get("text") or "").strip()


# --- models that read nothing but text --------------------------------------------------------------------------------


def to_openai(turns: Sequence[Turn], instructions: str, settings: OpenAI) -> Request:
    """A request to answer the last of `turns`; `instructions` are what the model is told before them, or blank."""
    request = {
        "model": settings.model,
        "input": as_plain_messages(turns),
        "max_output_tokens": settings.max_tokens,
        "stream": True,
        "store": False,
    }
    return {**request, "instructions": instructions} if instructions.strip() else request


def as_plain_messages(turns: Sequence[Turn]) -> list[Message]:
    """`turns` as ``[{"role", "content"}]`` with nothing but text."""
    found: list[Message] = []
    for turn in turns:
        found.append({"role": "user", "content": told(turn)})
        answered = "".join(each["text"] for each in turn.blocks if each["type"] == "text" and each.get("text"))
        if answered.strip():
            found.append({"role": "assistant", "content": answered})
    return found


def told(turn: Turn) -> str:
    """What the user said, with the files that came with it, as nothing but text."""
    return "\n\n".join([*map(as_text, turn.files), *([turn.content] if turn.content.strip() or not turn.files else [])])
