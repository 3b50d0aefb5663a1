"""Tools among the items of a response of OpenAI's, as pieces of a reply's log. Pure.

Types: https://platform.openai.com/docs/api-reference/responses/object, and ResponseOutputItem of openai-python 3.57. An
item is whole only in ``response.output_item.done``: before that, its input is empty or grows.

| item | tool | input | result |
|---|---|---|---|
| ``web_search_call`` | ``web_search`` | the action | its sources |
| ``code_interpreter_call`` | ``code_interpreter`` | the code | its outputs |
| ``file_search_call`` | ``file_search`` | the queries | its results |
| ``mcp_call`` | server and name | the arguments | its output, or its error |
| ``function_call`` | its name | the arguments | an item of its own, if anybody runs it |
| ``custom_tool_call`` | its name | a text | the same |

Most results are left out unless a request asks for them. Then the status is what came back.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from chatrelay.agents.text_stream import text_field
from chatrelay.domain.blocks import called, returned
from chatrelay.domain.log import Piece


def tools(item: Mapping[Any, Any]) -> Iterator[Piece]:
    """Yield the tool's call and result that `item` is; nothing for any other item.

    Raise ``ValueError`` for a field of another type.
    """
    status = item.get("status")
    asked = None
    match item:
        case _ if status == "incomplete":
            return  # cut off at the model's limit: the input may never have become whole
        case {"type": "function_call"}:
            asked = _arguments(item)
        case {"type": "custom_tool_call"}:
            asked = text_field(item.get("input"))
        case {"type": "function_call_output" | "custom_tool_call_output", **more}:
            yield returned(text_field(more.get("call_id")), more.get("output"), is_error=status == "failed")
        case {"type": "web_search_call" | "code_interpreter_call" | "file_search_call" | "mcp_call"}:
            yield from _hosted(item, text_field(status))
    if asked is not None:
        yield called(text_field(item.get("call_id")), text_field(item.get("name")), "client", asked)


def _hosted(item: Mapping[Any, Any], status: str) -> Iterator[Piece]:
    """Yield the call and the result of a tool that the service runs."""
    call, server, name = (text_field(item.get(field)) for field in ("id", "server_label", "name"))
    asked = found = error = None
    match item:
        case {"type": "web_search_call", **more}:
            action = {} if more.get("action") is None else more["action"]
            if not isinstance(action, Mapping):
                raise ValueError("no action")
            name, found = "web_search", action.get("sources")
            asked = {field: value for field, value in action.items() if field != "sources"}
        case {"type": "code_interpreter_call", **more}:
            name, asked, found = "code_interpreter", {"code": text_field(more.get("code"))}, more.get("outputs")
        case {"type": "file_search_call", **more}:
            name, asked, found = "file_search", {"queries": more.get("queries")}, more.get("results")
        case {"type": "mcp_call", **more}:
            name, asked, error = f"{server}.{name}" if server else name, _arguments(item), more.get("error")
            found = more.get("output") if error is None else error
    if asked is not None:
        yield called(call, name, "model", asked)
        back = {"status": status or "completed"} if found is None else found
        yield returned(call, back, is_error=status == "failed" or error is not None)


def _arguments(item: Mapping[Any, Any]) -> Any:
    """Return the arguments of a call; None if the model has written no JSON, which no tool can be asked."""
    written = text_field(item.get("arguments")) or "{}"
    with suppress(ValueError, RecursionError):
        value = json.loads(written)
        json.dumps(value, allow_nan=False)  # Python reads numbers that JSON does not have
        return value or {}
    return None
