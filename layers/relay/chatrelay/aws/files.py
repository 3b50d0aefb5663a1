"""S3: the users' files, in one bucket of the deployment's own. Nothing is ever fetched from anywhere else."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatrelay.aws.session import client
from chatrelay.domain import attachments
from chatrelay.domain.attachments import Attachment, Loaded
from chatrelay.domain.errors import Forbidden, Interrupted, Reason, Unavailable
from chatrelay.domain.turns import Room, Turn
from chatrelay.wire.inbound import Send

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

UPLOAD_S = 600
"""How long an upload form is valid."""
DOWNLOAD_S = 60
"""Long enough, because a client follows a redirect at once."""
CONCURRENT_READS = 8


@dataclass(frozen=True)
class Form:
    """Where and with which fields to post a file (multipart, the file last), and the id that the file will have."""

    id: str
    url: str
    fields: dict[str, str]


class Files:
    """The files of all users. Safe to use from several threads at once."""

    def __init__(self, client: "S3Client", bucket: str) -> None:
        self._client = client
        self._bucket = bucket

    @classmethod
    def connect(cls, bucket: str) -> "Files":
        """Return the files in `bucket`."""
        config = Config(
            signature_version="s3v4",
            # In the bucket's Region: global addresses redirect while a bucket is new, which no signature survives.
            s3={"addressing_style": "virtual"},
            connect_timeout=3,
            read_timeout=10,
            retries={"total_max_attempts": 3},
            max_pool_connections=CONCURRENT_READS,
        )
        return cls(client("s3", config), bucket)

    # --- in ---

    def keep(self, user: str, filename: str, mime_type: str, content: bytes) -> str:
        """Store a file and return its id. Raise ``Unavailable``."""
        file = uuid4().hex
        key = attachments.key(user, file, filename)
        with _translate_errors():
            self._client.put_object(Bucket=self._bucket, Key=key, Body=content, ContentType=mime_type)
        return file

    def form(self, user: str, filename: str, mime_type: str, size: int) -> Form:
        """Return a form that uploads a file of exactly that type and size, past the functions."""
        file = uuid4().hex
        post = self._client.generate_presigned_post(
            self._bucket,
            attachments.key(user, file, filename),
            Fields={"Content-Type": mime_type},
            # S3 holds the sender to these: nothing of the upload passes through a function.
            Conditions=[{"Content-Type": mime_type}, ["content-length-range", size, size]],
            ExpiresIn=UPLOAD_S,
        )
        return Form(file, post["url"], post["fields"])

    # --- out ---

    def address(self, user: str, file: str) -> str:
        """Return an address from which anybody can get the file for a minute. Raise ``Forbidden`` if there is none."""
        key, _ = self._find(user, file)
        shown = f"inline; filename*=UTF-8''{quote(attachments.name_in(key), safe='')}"  # RFC 6266
        parameters = {"Bucket": self._bucket, "Key": key, "ResponseContentDisposition": shown}
        return self._client.generate_presigned_url("get_object", parameters, DOWNLOAD_S)

    def checked(self, user: str, send: Send) -> Send:
        """Return the message with the names, types and sizes of its attachments.

        Raise ``Forbidden`` for files that the user has not uploaded, ``InvalidMessage`` and ``TooLarge`` for files that
        no model can read, and ``Unavailable``.
        """
        found = []
        part = f"bytes=0-{attachments.TEXT_LIMIT_BYTES}"  # one byte more than a text may have
        for attachment in send.attachments:
            key, size = self._find(user, attachment.id)
            with _translate_errors():
                beginning = self._client.get_object(Bucket=self._bucket, Key=key, Range=part)["Body"].read()
            found.append(attachments.identified(attachment.id, attachments.name_in(key), size, beginning))
        return replace(send, attachments=tuple(found))

    def load(self, user: str, turns: Sequence[Turn], room: Room) -> Sequence[Turn]:
        """Return `turns` with the contents of their files, the latest files first, as far as a request has `room`.

        Raise ``Interrupted`` if a file cannot be read at the moment. A file that has expired stays without content.
        """
        wanted = attachments.affordable((each for turn in reversed(turns) for each in turn.attachments), room.files)
        with ThreadPoolExecutor(CONCURRENT_READS, "file") as reading:
            contents = dict(zip(wanted, reading.map(partial(self._content, user), wanted), strict=True))
        return [
            replace(turn, files=tuple(Loaded(each, contents.get(each)) for each in turn.attachments)) for turn in turns
        ]

    def _find(self, user: str, file: str) -> tuple[str, int]:
        """Return the key and the size of a file, which is alone in its folder. Raise ``Forbidden`` if there is none."""
        folder = attachments.folder(user, file)
        with _translate_errors():
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=folder, MaxKeys=1).get("Contents")
        if not found:
            raise Forbidden("There is no such file.")
        return found[0]["Key"], found[0]["Size"]

    def _content(self, user: str, attachment: Attachment) -> bytes | None:
        key = attachments.key(user, attachment.id, attachment.filename)
        try:
            return self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except self._client.exceptions.NoSuchKey:  # expired: the conversation goes on without the file
            return None
        except (BotoCoreError, ClientError) as problem:
            sentence = "An attached file could not be read. Send the message again."
            raise Interrupted(sentence, reason=Reason.FILES) from problem


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Raise ``Unavailable`` for every failure of S3."""
    try:
        yield
    except (BotoCoreError, ClientError) as problem:
        raise Unavailable(type(problem).__name__) from problem
