"""What clients post to have a file kept. Pure."""

import re
from dataclasses import dataclass
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import collapse_rfc2231_value
from typing import Any

from chatrelay.domain.attachments import FILE_LIMIT_BYTES, POSTED_LIMIT_BYTES, must_be_name
from chatrelay.domain.errors import InvalidMessage, TooLarge
from chatrelay.domain.text import join_surrogates

FORM = "multipart/form-data"
UNKNOWN = "application/octet-stream"
MIME_TYPE_LIMIT = 127
FOLD = re.compile(r"\r?\n(?=[ \t])")
ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}
"""How browsers write these in names. WHATWG HTML 4.10.21.8."""


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
    """Return the part ``file`` of ``multipart/form-data`` (RFC 7578). Raise ``InvalidMessage`` and ``TooLarge``."""
    # The mail parser, because a form is MIME: it takes white space after a boundary, too (RFC 2046 5.1.1).
    head = f"Content-Type: {FOLD.sub('', content_type)}\r\n\r\n".encode("latin-1", "replace")
    form = BytesParser(policy=HTTP.clone(message_factory=_Part)).parsebytes(head + body)
    if form.get_content_type() != FORM or form.defects:
        raise InvalidMessage("body", f"must be {FORM}")
    for part in form.iter_parts():
        headers = part.raw_items()
        raw = next((str(value) for header, value in headers if header.lower() == "content-disposition"), "")
        # A form's header is UTF-8, which no header of a mail is: so the parser has kept its bytes as surrogates.
        named = FOLD.sub("", raw).encode("ascii", "surrogateescape").decode(errors="replace")
        disposition = Message()
        disposition["content-disposition"] = named
        filename = _parameter(disposition, "filename")
        if _parameter(disposition, "name") == "file" and filename:
            break
    else:
        raise InvalidMessage("file", "is missing")
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes) or not content:
        raise InvalidMessage("file", "must not be empty")
    if len(content) > POSTED_LIMIT_BYTES:
        raise TooLarge(f"file: must have at most {POSTED_LIMIT_BYTES} bytes; larger ones go by POST /api/files")
    kind = str(part.get("content-type", "")).partition(";")[0].strip()
    return Posted(must_be_name(join_surrogates(filename)), kind if _is_mime_type(kind) else UNKNOWN, content)


def parse_asked(fields: dict[str, Any]) -> Asked:
    """Read ``{"filename", "mime_type", "size"}``. Raise ``InvalidMessage`` and ``TooLarge``."""
    filename = must_be_name(join_surrogates(_string(fields, "filename")))
    mime_type, size = _string(fields, "mime_type"), fields.get("size")
    if not _is_mime_type(mime_type):
        raise InvalidMessage("mime_type", "must be a media type")
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise InvalidMessage("size", "must be a positive whole number")
    if size > FILE_LIMIT_BYTES:
        raise TooLarge(f"size: must be at most {FILE_LIMIT_BYTES} bytes, is {size}")
    return Asked(filename, mime_type, size)


class _Part(EmailMessage):
    """One part, which is a file even if it is a mail or a form itself."""

    def get_content_type(self) -> str:
        kind = super().get_content_type()
        return UNKNOWN if kind.startswith(("message/", "multipart/")) and kind != FORM else kind


def _parameter(disposition: Message, name: str) -> str:
    value = disposition.get_param(name, "", "content-disposition")
    if not isinstance(value, str):
        return collapse_rfc2231_value(value)
    for escaped, character in ESCAPED.items():
        value = value.replace(escaped, character)
    return value


def _string(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidMessage(name, "must be a string")
    return value


def _is_mime_type(value: str) -> bool:
    return value.isascii() and value.isprintable() and "/" in value and len(value) <= MIME_TYPE_LIMIT
