"""Frames out, one function each. Every frame is a JSON object with the strings ``type``, ``content`` and ``timestamp``.

The existing iOS app refuses a frame that lacks one of them, and ignores every other field. Pure.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from chatrelay.domain.attachments import ATTACHMENTS_LIMIT, Attachment
from chatrelay.domain.cursor import Stretch
from chatrelay.domain.errors import ClientFacingError, ReplyError
from chatrelay.domain.keys import StreamId
from chatrelay.domain.log import Log, Part
from chatrelay.domain.reply import Ending
from chatrelay.domain.text import beginning, truncate_to_json, utf16_length
from chatrelay.domain.usage import MICRO
from chatrelay.wire.limits import (
    CONTENT_LIMIT_BYTES,
    CONVERSATION_LIMIT,
    FRAME_LIMIT_BYTES,
    HEARTBEAT_S,
    ID_LIMIT,
    OFFSET_LIMIT,
    VERSION,
)


@dataclass(frozen=True)
class Outbound:
    """A frame to the client: ``type``, ``content`` and whatever else its type has."""

    type: str
    content: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def encode(self, now: datetime) -> bytes:
        """Return the frame as UTF-8 JSON, with `now` as its timestamp (ISO 8601, UTC)."""
        timestamp = now.astimezone(UTC).isoformat()
        frame = {"type": self.type, "content": self.content, "timestamp": timestamp, **self.fields}
        # Not as escapes: they would make six bytes of a character, and a frame has room for few.
        return json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode()

    def to_json(self) -> str:
        """Return the frame to keep, and to send again at another time."""
        return json.dumps([self.type, self.content, self.fields], ensure_ascii=False)

    @classmethod
    def from_json(cls, kept: str) -> "Outbound":
        """Return the frame that ``to_json`` kept."""
        return cls(*json.loads(kept))


def ready(
    *, user: str, agent: str, conversation: str | None, active: str | None = None, good_until: int | None = None
) -> Outbound:
    """Return the answer to ``hello`` and ``auth``; `active` is the reply that is being written in the conversation.

    `good_until`, in seconds since 1970, is when the client has to say ``auth`` again at the latest.
    """
    # Never a working directory: until it is ready, the BuilderOS app ignores every frame that names one.
    limits = {
        "frame_bytes": FRAME_LIMIT_BYTES,
        "content_bytes": CONTENT_LIMIT_BYTES,
        "id": ID_LIMIT,
        "conversation": CONVERSATION_LIMIT,
        "attachments": ATTACHMENTS_LIMIT,
    }
    fields = {"user": user, "agent": agent, "protocol": VERSION, "heartbeat": HEARTBEAT_S, "limits": limits}
    if conversation is not None:
        fields["conversation"] = conversation
    if active is not None:
        fields["active"] = active
    if good_until is not None:
        fields["good_until"] = datetime.fromtimestamp(good_until, UTC).isoformat()
    return Outbound("ready", "Connected", fields)


def typing(stream: StreamId, message_id: str) -> Outbound:
    """Return the frame that says: the message is kept, and its answer comes; in epoch 0, after those before it."""
    return Outbound("typing", "", {"id": message_id, **stream.fields()})


def user(
    stream: StreamId,
    message_id: str,
    content: str,
    attachments: Sequence[Attachment] = (),
    replaces: str | None = None,
) -> Outbound:
    """Return the user's message, for the user's other devices in this conversation.

    A message that is too long for a frame is cut, and the frame says so: ``truncated``.
    """
    fields: dict[str, Any] = {"id": message_id, **stream.fields()}
    if replaces is not None:
        fields["replaces"] = replaces
    if attachments:
        fields["attachments"] = [described(attachment) for attachment in attachments]
    shown = beginning(
        content, len(truncate_to_json(content, _room_bytes(Outbound("user", "", {**fields, "truncated": True}))))
    )
    if len(shown) < len(content):
        fields["truncated"] = True
    return Outbound("user", shown, fields)


def described(attachment: Attachment) -> dict[str, Any]:
    """Return an attachment as clients are told of it."""
    facts = {"filename": attachment.filename, "mime_type": attachment.mime_type, "size": attachment.size}
    return {"url": attachment.path, **facts}


def part(stream: StreamId, stretch: Stretch) -> Outbound:
    """Return a stretch of a reply's log, with the fields that describe its part. A part that comes whole has a size."""
    own = {} if stretch.part.grows else {"size": utf16_length(stretch.part.content)}
    place = {"part": stretch.number, "offset": stretch.offset}
    return Outbound(stretch.part.kind, stretch.content, {**place, **stretch.part.facts, **own, **stream.fields()})


def room_bytes(stream: StreamId, number: int, part_: Part) -> int:
    """Return how many bytes of the content of that part a frame has room for."""
    return _room_bytes(part(stream, Stretch(number, part_, OFFSET_LIMIT, "")))  # no frame has a longer offset


def _room_bytes(empty: Outbound) -> int:
    now = datetime.now(UTC).replace(microsecond=1)  # `isoformat` leaves out microseconds that are 0
    return FRAME_LIMIT_BYTES - len(empty.encode(now))


def complete(stream: StreamId, log: Log, ending: Ending) -> Outbound:
    """Return the end of a reply, with what proves that all of it is there."""
    how: dict[str, Any] = {"stop_reason": ending.stop_reason, "model": ending.model, "usage": ending.usage}
    if ending.cost is not None:
        how["cost"] = ending.cost / MICRO
    return Outbound("complete", "Response complete", {**proof(log), "parts": len(log.parts), **how, **stream.fields()})


def broken_off(stream: StreamId, log: Log, problem: ReplyError) -> Outbound:
    """Return the end of a reply that broke off: what is kept of it may be less than what was shown."""
    ended = error(problem, stream=stream)
    return replace(ended, fields={**ended.fields, **proof(log)})


def proof(log: Log) -> dict[str, Any]:
    """Return the log's length in UTF-16 code units, and the SHA-256 of its UTF-8 bytes, hexadecimal."""
    return {"length": log.length, "sha256": log.sha256}


def error(
    problem: ClientFacingError,
    *,
    message_id: str | None = None,
    reply: str | None = None,
    stream: StreamId | None = None,
) -> Outbound:
    """Return what went wrong, as a sentence for a person and a code for a program.

    `message_id` is the message that was refused; `reply` the one of which something was asked in vain; `stream` the one
    that went wrong itself. The error of a reply has a ``reason`` as well: what whoever runs the relay has to mend, if
    anything.
    """
    fields: dict[str, Any] = {"code": problem.code, "retryable": problem.retryable}
    if isinstance(problem, ReplyError):
        fields["reason"] = problem.reason
    if problem.retry_after_s is not None:
        fields["retry_after"] = problem.retry_after_s
    if message_id is not None:
        fields["id"] = message_id
    if reply is not None:
        fields["reply"] = reply
    if stream is not None:
        fields |= stream.fields()
    return Outbound("error", str(problem), fields)


def resumed(stream: StreamId, message_id: str, offset: int) -> Outbound:
    """Return the frame before the log from `offset` on, of the reply to the message of that id."""
    return Outbound("resumed", "", {"id": message_id, "offset": offset, **stream.fields()})
