"""Files in conversations: which can be attached, how they are named, and how a model reads them. Pure.

A file's type is decided by its bytes, not by its sender: a block that the model's service refuses would stay in the
conversation, and so would the refusal.
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
ID = re.compile(r"[0-9a-f]{32}")  # as `uuid4().hex` writes it
ATTACHMENTS_LIMIT = 10
NAME_LIMIT_BYTES = 255
"""The limit of the file systems that names come from. A key of S3 has 1024 bytes; quoting makes three of one."""
FILE_LIMIT_BYTES = 10 * 1024 * 1024
POSTED_LIMIT_BYTES = 4_500_000
"""A Lambda takes requests of 6 MB, in base64 and with headers."""
IMAGE_LIMIT_BYTES = 5 * 1024 * 1024 * 3 // 4
"""The model's service takes images of 5 MB, counted in base64."""
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
"""For a file that reads as text, which may mention PDFs: there the header begins a line."""
PDF_HEADER_WITHIN = 1024
"""Readers accept the header anywhere in the first 1024 bytes. Source: PDF Reference 1.7, appendix H, 3.4.1."""
TEXT = "text/plain"
READABLE = (
    f"only JPEG, PNG, GIF and WebP pictures, PDFs, and UTF-8 texts of at most {TEXT_LIMIT_BYTES // 1024} KB can be read"
)

IMAGE_TOKENS = 1600
PDF_BYTES_PER_TOKEN = 25
"""A page has about 2000 tokens and 50 KB. Only the model's service counts exactly."""
TEXT_BYTES_PER_TOKEN = 3


@dataclass(frozen=True)
class Attachment:
    """One file of a message. A client names only the id, in a url; ``Files.checked`` finds the rest.

    `mime_type` is the type of the file's bytes.
    """

    id: str
    filename: str = ""
    mime_type: str = ""
    size: int = 0

    @property
    def path(self) -> str:
        """The path of the file's url."""
        return PATH + self.id

    @property
    def tokens(self) -> int:
        """About how many tokens a model reads the file as."""
        if self.mime_type in IMAGES:
            return IMAGE_TOKENS
        return self.size // (PDF_BYTES_PER_TOKEN if self.mime_type == PDF else TEXT_BYTES_PER_TOKEN) + 1


@dataclass(frozen=True)
class Loaded:
    """An attachment with its bytes; None if the file has expired, or the request has no room for it."""

    attachment: Attachment
    content: bytes | None


@dataclass(frozen=True)
class FileRoom:
    """How many pictures and bytes of files one request to a model has room for.

    Anthropic's service wants pictures to be small if a request has more than 20, and takes requests of 32 MB, in
    base64. `pdfs_count` says whether a PDF counts as a picture.
    """

    pictures: int = 20
    pdfs_count: bool = False
    size: int = 20 * 1024 * 1024


def file_id(url: str) -> str | None:
    """Return the id of the file that a url means, on any host; None for a url that is none of ours."""
    try:
        path = urlsplit(url).path
    except ValueError:  # brackets around what is no IPv6 address, for instance
        return None
    named = path.removeprefix(PATH)
    return named if path.startswith(PATH) and ID.fullmatch(named) else None


def folder(user: str, file: str) -> str:
    """Return the folder of a user's file. No character in it has a meaning in a path."""
    return f"{_safe(user)}/{file}/"


def key(user: str, file: str, filename: str) -> str:
    """Return the file's key. The whole name is in it, so ``name_in`` can return the name as it was."""
    return folder(user, file) + _safe(filename)


def name_in(key: str) -> str:
    """Return the file name in a ``key``."""
    return unquote(key.rpartition("/")[2])


def must_be_name(filename: str) -> str:
    """Return `filename`. Raise ``InvalidMessage`` if it is empty or too long."""
    if not filename.strip():
        raise InvalidMessage("filename", "must not be empty")
    if (length := len(filename.encode())) > NAME_LIMIT_BYTES:
        raise InvalidMessage("filename", f"must have at most {NAME_LIMIT_BYTES} bytes of UTF-8, has {length}")
    return filename


def identified(file: str, filename: str, size: int, beginning: bytes) -> Attachment:
    """Return the file with its type, which at least its first ``TEXT_LIMIT_BYTES`` + 1 bytes show.

    Raise ``InvalidMessage`` for a type that no model reads, and ``TooLarge``.
    """
    mime_type = next((each for each, sign in IMAGES.items() if sign.match(beginning)), None)
    if mime_type is None:
        is_all = len(beginning) <= TEXT_LIMIT_BYTES
        try:
            codecs.getincrementaldecoder("utf-8")().decode(beginning, final=is_all)  # of more, a character may be cut
            reads_as_text = b"\0" not in beginning  # NUL is UTF-8 as well, but no text has it
        except UnicodeDecodeError:
            reads_as_text = False
        if (PDF_LINE if reads_as_text else PDF_HEADER).search(beginning[:PDF_HEADER_WITHIN]):
            mime_type = PDF
        elif reads_as_text and is_all and beginning:
            mime_type = TEXT
        else:
            raise InvalidMessage("attachments", f"{filename}: {READABLE}")
    limit = IMAGE_LIMIT_BYTES if mime_type in IMAGES else FILE_LIMIT_BYTES
    if size > limit:
        raise TooLarge(f"attachments: {filename}: must have at most {limit} bytes, has {size}")
    return Attachment(file, filename, mime_type, size)


def affordable(attachments: Iterable[Attachment], room: FileRoom) -> list[Attachment]:
    """Return the first of `attachments`, as far as one request has `room`. A later, smaller one does not fill a gap."""
    left, pictures, found = room.size, room.pictures, []
    for attachment in attachments:
        left -= attachment.size
        # Bedrock counts PDFs as pictures, Anthropic does not: see `agents.requests.claude`.
        pictures -= attachment.mime_type in IMAGES or (room.pdfs_count and attachment.mime_type == PDF)
        if left < 0 or pictures < 0:
            break
        found.append(attachment)
    return found


def as_block(file: Loaded) -> Block:
    """Return the file as a content block for the model."""
    attachment, content = file.attachment, file.content
    if content is None or attachment.mime_type == TEXT:
        return {"type": "text", "text": as_text(file)}
    # The same bytes give the same block in every turn, so what the model's service has cached stays good.
    data = base64.b64encode(content).decode()
    source = {"type": "base64", "media_type": attachment.mime_type, "data": data}
    if attachment.mime_type == PDF:
        return {"type": "document", "source": source, "title": attachment.filename}
    return {"type": "image", "source": source}


def as_text(file: Loaded) -> str:
    """Return the file for a model that reads text only: the whole of a text, the name of anything else."""
    attachment, content = file.attachment, file.content
    if content is None:
        return f"[{attachment.filename} was attached here and is no longer available.]"
    if attachment.mime_type == TEXT:
        return f"{attachment.filename}:\n\n{content.decode(errors='replace')}"
    return f"[{attachment.filename} ({attachment.mime_type}) is attached and cannot be shown here.]"


def _safe(name: str) -> str:
    """Quote `name` so that no slash and no dot is left to make a path of."""
    # `quote` leaves dots alone, and "." and ".." are steps in a path (RFC 3986 5.2.4).
    return quote(name, safe="").replace(".", "%2E")
