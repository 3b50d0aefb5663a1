"""The fields of frames and of requests, as clients give them. Pure.

Each reader returns one field, and raises ``InvalidMessage``, which names the field.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from chatrelay.domain.attachments import ATTACHMENTS_LIMIT, Attachment, file_id
from chatrelay.domain.errors import InvalidMessage, TooLarge
from chatrelay.domain.text import join_surrogates
from chatrelay.wire.limits import AGENTS, CONTENT_LIMIT_BYTES, OFFSET_LIMIT


def json_object(body: str | None) -> dict[str, Any]:
    """Return a frame's or a request's body. Raise ``InvalidMessage``."""
    try:
        frame = json.loads(body or "")
    except (ValueError, RecursionError):  # the second: brackets nested too deeply for Python's parser
        raise InvalidMessage("frame", "must be JSON") from None
    if not isinstance(frame, dict):
        raise InvalidMessage("frame", "must be a JSON object")
    return frame


def given(fields: Mapping[str, Any], name: str) -> Any:
    """Return an optional field. None if the field was left out, is null or is empty: all three mean the same."""
    value = fields.get(name)
    return None if value == "" else value


def string(frame: Mapping[str, Any], name: str) -> str:
    value = frame.get(name)
    if value is None:
        raise InvalidMessage(name, "is missing")
    if not isinstance(value, str):
        raise InvalidMessage(name, "must be a string")
    return join_surrogates(value)  # JSON can escape half a pair, which nothing can encode or store


def must_be_name(fields: Mapping[str, Any], name: str, limit: int) -> str:
    """Return a name that a client chose, of at most `limit` characters. Raise ``InvalidMessage``."""
    value = string(fields, name)
    if not value.strip():
        raise InvalidMessage(name, "must not be empty")
    # Percent-encoded or not, clients resolve these two away in a path: RFC 3986 5.2.4, WHATWG URL 4.2.
    if value in (".", ".."):
        raise InvalidMessage(name, 'must not be "." or "..", which no address can name')
    if len(value) > limit:
        raise InvalidMessage(name, f"must have at most {limit} characters, has {len(value)}")
    return value


def optional_name(frame: dict[str, Any], name: str, limit: int) -> str | None:
    return None if given(frame, name) is None else must_be_name(frame, name, limit)


def content(frame: dict[str, Any], attachments: Sequence[Attachment]) -> str:
    content = "" if attachments and given(frame, "content") is None else string(frame, "content")
    if not content.strip() and not attachments:
        raise InvalidMessage("content", "must not be empty")
    if (length := len(content.encode())) > CONTENT_LIMIT_BYTES:
        raise TooLarge(f"content: must have at most {CONTENT_LIMIT_BYTES} bytes of UTF-8, has {length}")
    return content


def attachments(frame: dict[str, Any]) -> tuple[Attachment, ...]:
    named = given(frame, "attachments")
    if named is None:
        return ()
    if not isinstance(named, list):
        raise InvalidMessage("attachments", "must be a list")
    if len(named) > ATTACHMENTS_LIMIT:
        raise InvalidMessage("attachments", f"must be at most {ATTACHMENTS_LIMIT}, are {len(named)}")
    found = []
    for each in named:
        url = each.get("url") if isinstance(each, dict) else None
        file = file_id(url) if isinstance(url, str) else None
        if file is None:
            raise InvalidMessage("attachments", "must each have the url that its upload to this relay gave")
        found.append(Attachment(file))
    return tuple(found)


def offset(frame: dict[str, Any]) -> int:
    offset = frame.get("offset")
    if offset is None:
        raise InvalidMessage("offset", "is missing")
    # To Python, true is an integer.
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= OFFSET_LIMIT:
        raise InvalidMessage("offset", f"must be a whole number from 0 to {OFFSET_LIMIT}")
    return offset


def agent_in(fields: Mapping[str, Any], name: str, default: str) -> str:
    """Return the agent that the field names, or `default`. Raise ``InvalidMessage``."""
    value = given(fields, name)
    if value is None:
        return default
    if value not in AGENTS:
        raise InvalidMessage(name, f"must be one of {', '.join(AGENTS)}")
    return str(value)
