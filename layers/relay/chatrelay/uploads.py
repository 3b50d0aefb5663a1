"""What clients post to have a file kept. Pure."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

from multipart import MultipartError, MultipartPart, parse_form_data  # type: ignore[import-untyped]

from chatrelay.attachments import FILE_LIMIT_BYTES, POSTED_LIMIT_BYTES, must_be_name
from chatrelay.errors import InvalidMessage, TooLarge
from chatrelay.text import whole

UNKNOWN = "application/octet-stream"
MIME_TYPE_LIMIT = 127


@dataclass(frozen=True)
class Posted:
    """A file that came in a request."""

    filename: str
    mime_type: str
    content: bytes


@dataclass(frozen=True)
class Asked:
    """A file that is to be posted elsewhere. `size` in bytes."""

    filename: str
    mime_type: str
    size: int


def parse_upload(body: bytes, content_type: str) -> Posted:
    """The part ``file`` of ``multipart/form-data``. Raises ``InvalidMessage`` and ``TooLarge``."""
    part = _part(body, content_type, "file")
    if part.size == 0:
        raise InvalidMessage("file", "must not be empty")
    if part.size > POSTED_LIMIT_BYTES:
        raise TooLarge(f"file: must have at most {POSTED_LIMIT_BYTES} bytes; larger ones go by POST /api/files")
    filename = must_be_name(whole(part.filename))
    return Posted(filename, part.content_type if _is_mime_type(part.content_type) else UNKNOWN, part.raw)


def parse_asked(fields: dict[str, Any]) -> Asked:
    """``{"filename", "mime_type", "size"}``. Raises ``InvalidMessage`` and ``TooLarge``."""
    filename = must_be_name(whole(_string(fields, "filename")))
    return Asked(filename, _mime_type(_string(fields, "mime_type")), _size(fields.get("size")))


def _part(body: bytes, content_type: str, name: str) -> MultipartPart:
    request = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
    try:
        _, files = parse_form_data(request, strict=True, spool_limit=len(body))  # nothing goes to disk
    except MultipartError:
        raise InvalidMessage("body", "must be multipart/form-data") from None
    part = files.get(name)
    if part is None or not part.filename:
        raise InvalidMessage(name, "is missing")
    return part


def _string(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidMessage(name, "must be a string")
    return value


def _mime_type(value: str) -> str:
    if not _is_mime_type(value):
        raise InvalidMessage("mime_type", "must be a media type")
    return value


def _is_mime_type(value: str) -> bool:
    return value.isascii() and value.isprintable() and "/" in value and len(value) <= MIME_TYPE_LIMIT


def _size(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidMessage("size", "must be a positive whole number")
    if value > FILE_LIMIT_BYTES:
        raise TooLarge(f"size: must be at most {FILE_LIMIT_BYTES} bytes, is {value}")
    return value
