"""Files in conversations: which can be attached, how they are named, and what a model is told of them. Pure.

What a file is, its bytes say and not its sender: a block that the model's service refuses would be part of the
conversation for ever, and so would the refusal.
"""

import base64
import codecs
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from chatrelay.domain.errors import InvalidMessage, TooLarge

Block = dict[str, Any]

PATH = "/api/files/"
ID = re.compile(r"[0-9a-f]{32}")
ATTACHMENTS_LIMIT = 10
NAME_LIMIT_BYTES = 255
"""As in the file systems that names come from; a key of S3 has at most 1024 bytes, and quoting takes three for one."""
FILE_LIMIT_BYTES = 10 * 1024 * 1024
POSTED_LIMIT_BYTES = 4_500_000
"""A Lambda takes 6 MB of request, in base64, with its headers."""
IMAGE_LIMIT_BYTES = 5 * 1024 * 1024 * 3 // 4
"""The model's service takes 5 MB of image, and counts them in base64."""
TEXT_LIMIT_BYTES = 256 * 1024
IMAGES = {
    "image/jpeg": re.compile(rb"\xff\xd8\xff"),
    "image/png": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "image/gif": re.compile(rb"GIF8[79]a"),
    "image/webp": re.compile(rb"RIFF....WEBP", re.DOTALL),
}
PDF = "application/pdf"
PDF_HEADER = re.compile(rb"%PDF-\d")
PDF_LINE = re.compile(rb"(^|\r|\n|\xef\xbb\xbf)%PDF-\d")
"""In a file that could be a text, which may speak of PDFs."""
PDF_HEADER_WITHIN = 1024
"""Readers want the header in the first so many bytes, not at the first. PDF Reference 1.7, appendix H, 3.4.1."""
TEXT = "text/plain"
READABLE = (
    f"only JPEG, PNG, GIF and WebP pictures, PDFs, and UTF-8 texts of at most {TEXT_LIMIT_BYTES // 1024} KB can be read"
)

IMAGE_TOKENS = 1600
PDF_BYTES_PER_TOKEN = 25
"""A page has some 2000 tokens and 50 KB; nobody but the model's service counts them."""
TEXT_BYTES_PER_TOKEN = 3


@dataclass(frozen=True)
class Attachment:
    """One file of a message. A client names no more than the id, inside a url; ``Files.checked`` finds the rest.

    `mime_type` is what the file's bytes are.
    """

    id: str
    filename: str = ""
    mime_type: str = ""
    size: int = 0

    @property
    def path(self) -> str:
        """Of its url."""
        return PATH + self.id

    @property
    def tokens(self) -> int:
        """About how many a model reads it as."""
        if self.mime_type in IMAGES:
            return IMAGE_TOKENS
        return self.size // (PDF_BYTES_PER_TOKEN if self.mime_type == PDF else TEXT_BYTES_PER_TOKEN) + 1


@dataclass(frozen=True)
class Loaded:
    """An attachment with its bytes; without them if they are no longer there, or have no room in a request."""

    attachment: Attachment
    content: bytes | None


@dataclass(frozen=True)
class FileRoom:
    """What one request to a model has room for of files: how many pictures, and bytes.

    With more than 20 pictures in a request Anthropic's service wants each to be small, and it takes 32 MB of request,
    in base64. `pdfs_count` says whether a PDF counts as a picture.
    """

    pictures: int = 20
    pdfs_count: bool = False
    size: int = 20 * 1024 * 1024


def file_id(url: str) -> str | None:
    """Which file a url of ours means, on whatever host; None if it is none of ours."""
    try:
        path = urlsplit(url).path
    except ValueError:
        return None
    named = path.removeprefix(PATH)
    return named if path.startswith(PATH) and ID.fullmatch(named) else None


def folder(user: str, file: str) -> str:
    """Where a user's file lies. Nothing in it means more than itself in any path."""
    return f"{_safe(user)}/{file}/"


def key(user: str, file: str, filename: str) -> str:
    """The file's key. The name is in it whole, so that it can be shown again as it was: see ``name_in``."""
    return folder(user, file) + _safe(filename)


def name_in(key: str) -> str:
    """The name that ``key`` was given."""
    return unquote(key.rpartition("/")[2])


def shown_inline(filename: str) -> str:
    """A ``Content-Disposition`` for the file (RFC 6266)."""
    return f"inline; filename*=UTF-8''{quote(filename, safe='')}"


def must_be_name(filename: str) -> str:
    """`filename`. Raises ``InvalidMessage`` if it is empty or too long."""
    if not filename.strip():
        raise InvalidMessage("filename", "must not be empty")
    if (length := len(filename.encode())) > NAME_LIMIT_BYTES:
        raise InvalidMessage("filename", f"must have at most {NAME_LIMIT_BYTES} bytes of UTF-8, has {length}")
    return filename


def identified(file: str, filename: str, size: int, beginning: bytes) -> Attachment:
    """The file as it is, by at least its first ``TEXT_LIMIT_BYTES`` + 1. Raises ``InvalidMessage``, ``TooLarge``."""
    mime_type = _mime_type(beginning)
    if mime_type is None:
        raise InvalidMessage("attachments", f"{filename}: {READABLE}")
    limit = IMAGE_LIMIT_BYTES if mime_type in IMAGES else FILE_LIMIT_BYTES
    if size > limit:
        raise TooLarge(f"attachments: {filename}: must have at most {limit} bytes, has {size}")
    return Attachment(file, filename, mime_type, size)


def affordable(attachments: Iterable[Attachment], room: FileRoom) -> list[Attachment]:
    """The first of them, as far as one request has `room`. Nobody gains from a smaller one behind."""
    left, pictures, found = room.size, room.pictures, []
    for attachment in attachments:
        left -= attachment.size
        pictures -= attachment.mime_type in IMAGES or (room.pdfs_count and attachment.mime_type == PDF)
        if left < 0 or pictures < 0:
            break
        found.append(attachment)
    return found


def block(file: Loaded) -> Block:
    """The file as a content block for the model."""
    attachment, content = file.attachment, file.content
    if content is None or attachment.mime_type == TEXT:
        return {"type": "text", "text": as_text(file)}
    data = base64.b64encode(content).decode()
    source = {"type": "base64", "media_type": attachment.mime_type, "data": data}
    if attachment.mime_type == PDF:
        return {"type": "document", "source": source, "title": attachment.filename}
    return {"type": "image", "source": source}


def as_text(file: Loaded) -> str:
    """The file for a model that reads nothing but text: a text whole, of anything else the name."""
    attachment, content = file.attachment, file.content
    if content is None:
        return f"[{attachment.filename} was attached here and is no longer available.]"
    if attachment.mime_type == TEXT:
        return f"{attachment.filename}:\n\n{content.decode(errors='replace')}"
    return f"[{attachment.filename} ({attachment.mime_type}) is attached and cannot be shown here.]"


def _safe(name: str) -> str:
    """No slash and no dot is left, so no path can be made of it."""
    return quote(name, safe="").replace(".", "%2E")


def _mime_type(beginning: bytes) -> str | None:
    for mime_type, sign in IMAGES.items():
        if sign.match(beginning):
            return mime_type
    reads_as_text = _reads_as_text(beginning)
    if (PDF_LINE if reads_as_text else PDF_HEADER).search(beginning[:PDF_HEADER_WITHIN]):
        return PDF
    return TEXT if reads_as_text and 0 < len(beginning) <= TEXT_LIMIT_BYTES else None


def _reads_as_text(beginning: bytes) -> bool:
    """Whether it is UTF-8, of which the last character may be cut."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(beginning, final=len(beginning) <= TEXT_LIMIT_BYTES)
    except UnicodeDecodeError:
        return False
    return b"\0" not in beginning
