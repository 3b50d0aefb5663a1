"""Frames in and out, version 1 of the wire protocol, one type each. Pure.

In: the text of a frame becomes one of the ``Inbound`` types or raises ``InvalidMessage``, which names the field and
the limit. Out: every frame is a JSON object with the strings ``type``, ``content`` and ``timestamp``; the existing
iOS app refuses a frame that lacks one of them, and ignores every other field.

Two dialects share the way: ``relay`` (this protocol) and ``builderos`` (the app that existed before it: a bare key as
the first frame, a configuration frame, messages without an ``action``).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from chatrelay.attachments import ATTACHMENTS_LIMIT, Attachment, file_id
from chatrelay.errors import InvalidMessage, ReplyError, Told, TooLarge
from chatrelay.reply import Aside
from chatrelay.text import beginning, fitting, whole

VERSION = 1
SUBPROTOCOL = "chatrelay.v1"
FRAME_LIMIT_BYTES = 31 * 1024
"""API Gateway closes a socket over a frame of more than 32 KB, or perhaps of as many; it meters by that size."""
CONTENT_LIMIT_BYTES = 300_000
"""A message has to fit into one item of DynamoDB."""
HEARTBEAT_S = 480
"""How rarely a client that waits for nothing may ping: API Gateway closes a socket that was idle for 10 minutes."""
ID_LIMIT = 64
CONVERSATION_LIMIT = 128
DEVICE_LIMIT = 128
OFFSET_LIMIT = 2**53 - 1
"""The largest whole number that every JSON reader keeps exactly."""
AGENTS = ("claude", "codex")

AUTHENTICATED = "authenticated"
INVALID_API_KEY = "error:invalid_api_key"
"""The two bare texts of the ``builderos`` dialect."""


class Dialect(StrEnum):
    """How a connection speaks."""

    RELAY = "relay"
    BUILDEROS = "builderos"


# --- in ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Hello:
    """``{"action":"hello","conversation"?,"device"?}``: asks for ``ready``.

    `device` is the name under which the device registered for push notifications: what it acknowledges is not pushed.
    """

    conversation: str | None
    device: str | None = None


@dataclass(frozen=True)
class Send:
    """A message for an agent. ``id`` is the client's own; sending it again is safe.

    ``content`` may be empty where there are ``attachments``; of these the client names ``{"url"}``, and what else it
    may say of them is not listened to.
    """

    id: str
    conversation: str
    content: str
    agent: str
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True)
class Resume:
    """``{"action":"resume","conversation"?,"reply"?,"offset"}``: everything of a reply from `offset` on, then live.

    Without a reply it is the conversation's latest.
    """

    reply: str | None
    conversation: str | None
    offset: int


@dataclass(frozen=True)
class Cancel:
    """``{"action":"cancel","reply"}``: stop; what was written stays."""

    reply: str


@dataclass(frozen=True)
class Acknowledge:
    """``{"action":"ack","reply","offset"}``: the connection has shown the reply up to there."""

    reply: str
    offset: int


@dataclass(frozen=True)
class Configuration:
    """The ``builderos`` app's ``{"working_directory": …}``: asks for ``ready`` once more."""


Question = Hello | Resume | Cancel | Acknowledge | Configuration
Inbound = Send | Question


def parse_conversation(name: str) -> str:
    """The conversation that an address names. Raises ``InvalidMessage``."""
    return must_be_name({"conversation": name}, "conversation", CONVERSATION_LIMIT)


def parse_posted(body: str | None, *, conversation: str, agent: str) -> Send:
    """A message that came by HTTP, with the fields of ``send`` but those that its address has. Raises as ``parse``."""
    return _send({**json_object(body), "conversation": conversation}, agent)


def parse(body: str | None, *, dialect: Dialect, agent: str, message_id: str, own_conversation: str) -> Inbound:
    """One frame as the client sent it.

    `agent` is the connection's default; `message_id` stands in for the id that the ``builderos`` app does not send, and
    `own_conversation`, which is the connection's, for one that it leaves out. Raises ``InvalidMessage``.
    """
    frame = json_object(body)
    action = given(frame, "action")
    if action is None and dialect is Dialect.BUILDEROS:
        return _builderos(frame, agent, message_id, own_conversation)
    match action:
        case "send":
            return _send(frame, agent)
        case "hello":
            return Hello(_optional(frame, "conversation", CONVERSATION_LIMIT), _optional(frame, "device", DEVICE_LIMIT))
        case "resume":
            return _resume(frame)
        case "cancel":
            return Cancel(must_be_name(frame, "reply", ID_LIMIT))
        case "ack":
            return Acknowledge(must_be_name(frame, "reply", ID_LIMIT), _offset(frame))
        case _:
            raise InvalidMessage("action", "must be one of ack, cancel, hello, ping, resume, send")


def _send(frame: dict[str, Any], agent: str) -> Send:
    attachments = _attachments(frame)
    return Send(
        id=must_be_name(frame, "id", ID_LIMIT),
        conversation=must_be_name(frame, "conversation", CONVERSATION_LIMIT),
        content=_content(frame, attachments),
        agent=agent_in(frame, "agent", agent),
        attachments=attachments,
    )


def _resume(frame: dict[str, Any]) -> Resume:
    reply, conversation = _optional(frame, "reply", ID_LIMIT), _optional(frame, "conversation", CONVERSATION_LIMIT)
    if reply is None and conversation is None:
        raise InvalidMessage("reply", "is missing, and so is conversation")
    return Resume(reply, conversation, 0 if given(frame, "offset") is None else _offset(frame))


def _builderos(frame: dict[str, Any], agent: str, message_id: str, own_conversation: str) -> Inbound:
    attachments = _attachments(frame)
    if "working_directory" in frame and given(frame, "content") is None and not attachments:
        return Configuration()
    return Send(
        id=message_id,
        conversation=_optional(frame, "session_id", CONVERSATION_LIMIT) or own_conversation,
        content=_content(frame, attachments),
        agent="claude" if frame.get("chat_type") == "jarvis" else agent_in(frame, "chat_type", agent),
        attachments=attachments,
    )


def json_object(body: str | None) -> dict[str, Any]:
    """A frame's or a request's body. Raises ``InvalidMessage``."""
    try:
        frame = json.loads(body or "")
    except (ValueError, RecursionError):
        raise InvalidMessage("frame", "must be JSON") from None
    if not isinstance(frame, dict):
        raise InvalidMessage("frame", "must be a JSON object")
    return frame


def given(fields: Mapping[str, Any], name: str) -> Any:
    """What an optional field has. Whether it was left out, is null or is empty makes no difference: None."""
    value = fields.get(name)
    return None if value == "" else value


def _string(frame: Mapping[str, Any], name: str) -> str:
    value = frame.get(name)
    if value is None:
        raise InvalidMessage(name, "is missing")
    if not isinstance(value, str):
        raise InvalidMessage(name, "must be a string")
    return whole(value)


def must_be_name(fields: Mapping[str, Any], name: str, limit: int) -> str:
    """The field, which is a name that a client chose, of at most `limit` characters. Raises ``InvalidMessage``.

    Two names cannot be addressed: percent-encoded or not, they are steps in a path (RFC 3986 5.2.4; WHATWG URL 4.2).
    """
    value = _string(fields, name)
    if not value.strip():
        raise InvalidMessage(name, "must not be empty")
    if value in (".", ".."):
        raise InvalidMessage(name, 'must not be "." or "..", which no address can name')
    if len(value) > limit:
        raise InvalidMessage(name, f"must have at most {limit} characters, has {len(value)}")
    return value


def _optional(frame: dict[str, Any], name: str, limit: int) -> str | None:
    return None if given(frame, name) is None else must_be_name(frame, name, limit)


def _content(frame: dict[str, Any], attachments: Sequence[Attachment]) -> str:
    content = "" if attachments and given(frame, "content") is None else _string(frame, "content")
    if not content.strip() and not attachments:
        raise InvalidMessage("content", "must not be empty")
    if (length := len(content.encode())) > CONTENT_LIMIT_BYTES:
        raise TooLarge(f"content: must have at most {CONTENT_LIMIT_BYTES} bytes of UTF-8, has {length}")
    return content


def _attachments(frame: dict[str, Any]) -> tuple[Attachment, ...]:
    named = given(frame, "attachments")
    if named is None:
        return ()
    if not isinstance(named, list):
        raise InvalidMessage("attachments", "must be a list")
    if len(named) > ATTACHMENTS_LIMIT:
        raise InvalidMessage("attachments", f"must be at most {ATTACHMENTS_LIMIT}, are {len(named)}")
    return tuple(map(_attachment, named))


def _attachment(named: Any) -> Attachment:
    url = named.get("url") if isinstance(named, dict) else None
    file = file_id(url) if isinstance(url, str) else None
    if file is None:
        raise InvalidMessage("attachments", "must each have the url that its upload to this relay gave")
    return Attachment(file)


def _offset(frame: dict[str, Any]) -> int:
    offset = frame.get("offset")
    if offset is None:
        raise InvalidMessage("offset", "is missing")
    if not isinstance(offset, int) or isinstance(offset, bool) or not 0 <= offset <= OFFSET_LIMIT:
        raise InvalidMessage("offset", f"must be a whole number from 0 to {OFFSET_LIMIT}")
    return offset


def agent_in(fields: Mapping[str, Any], name: str, default: str) -> str:
    """The agent that the field names, or `default`. Raises ``InvalidMessage``."""
    value = given(fields, name)
    if value is None:
        return default
    if value not in AGENTS:
        raise InvalidMessage(name, f"must be one of {', '.join(AGENTS)}")
    return str(value)


# --- out --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Origin:
    """Where a frame belongs: the reply, its conversation, and the epoch of the worker that writes it."""

    conversation: str
    reply: str
    epoch: int

    def fields(self) -> dict[str, Any]:
        return {"conversation": self.conversation, "reply": self.reply, "epoch": self.epoch}


@dataclass(frozen=True)
class Outbound:
    """A frame to the client: ``type``, ``content`` and whatever else its type has."""

    type: str
    content: str = ""
    fields: dict[str, Any] = field(default_factory=dict)

    def encode(self, now: datetime) -> bytes:
        """The frame as UTF-8 JSON, with `now` as its timestamp (ISO 8601, UTC)."""
        timestamp = now.astimezone(UTC).isoformat()
        frame = {"type": self.type, "content": self.content, "timestamp": timestamp, **self.fields}
        return json.dumps(frame, ensure_ascii=False, separators=(",", ":")).encode()

    def to_json(self) -> str:
        """The frame to keep, and to send again at another time."""
        return json.dumps([self.type, self.content, self.fields], ensure_ascii=False)

    @classmethod
    def from_json(cls, kept: str) -> "Outbound":
        """The frame that ``to_json`` kept."""
        return cls(*json.loads(kept))


def ready(*, user: str, agent: str, conversation: str | None, active: str | None = None) -> Outbound:
    """The answer to ``hello``; `active` is the reply that is being written in the conversation.

    Never names a working directory: the app ignores every frame that does.
    """
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
    return Outbound("ready", "Connected", fields)


def typing(origin: Origin, message_id: str) -> Outbound:
    """The message is accepted and kept; its answer is coming, in epoch 0 after the conversation's other ones."""
    return Outbound("typing", "", {"id": message_id, **origin.fields()})


def user(origin: Origin, message_id: str, content: str, attachments: Sequence[Attachment] = ()) -> Outbound:
    """The user's message, for the user's other devices in this conversation.

    Of one that is too long for a frame it has the beginning, and says so: ``truncated``.
    """
    fields: dict[str, Any] = {"id": message_id, **origin.fields()}
    if attachments:
        fields["attachments"] = [described(attachment) for attachment in attachments]
    shown = beginning(content, len(fitting(content, _room_bytes(Outbound("user", "", {**fields, "truncated": True})))))
    if len(shown) < len(content):
        fields["truncated"] = True
    return Outbound("user", shown, fields)


def described(attachment: Attachment) -> dict[str, Any]:
    """An attachment as clients are told of it."""
    facts = {"filename": attachment.filename, "mime_type": attachment.mime_type, "size": attachment.size}
    return {"url": attachment.path, **facts}


def message(origin: Origin, offset: int, content: str) -> Outbound:
    """The next text of a reply; `offset` is where it begins, in UTF-16 code units."""
    return Outbound("message", content, {"offset": offset, **origin.fields()})


def aside(origin: Origin, told: Aside) -> Outbound:
    """What the model does beside its text: ``thinking`` or ``tool``. No part of the reply, and not repeated."""
    return Outbound(told.kind, told.content, origin.fields())


def message_room_bytes(origin: Origin) -> int:
    """How many bytes of text a ``message`` frame has room for; that of an aside has more."""
    return _room_bytes(message(origin, OFFSET_LIMIT, ""))


def _room_bytes(empty: Outbound) -> int:
    return FRAME_LIMIT_BYTES - len(empty.encode(datetime.now(UTC).replace(microsecond=1)))


def complete(
    origin: Origin, *, length: int, sha256: str, stop_reason: str, model: str, usage: dict[str, Any]
) -> Outbound:
    """The end of a reply. `length` in UTF-16 code units, `sha256` of the UTF-8 bytes, hexadecimal."""
    fields = {"length": length, "sha256": sha256, "stop_reason": stop_reason, "model": model, "usage": usage}
    return Outbound("complete", "Response complete", {**fields, **origin.fields()})


def error(problem: Told, *, message_id: str | None = None, origin: Origin | None = None) -> Outbound:
    """What went wrong, as a sentence for a person and a code for a program.

    That a reply failed has a `reason`, too: what whoever runs the relay has to mend, if anything.
    """
    fields: dict[str, Any] = {"code": problem.code, "retryable": problem.retryable}
    if isinstance(problem, ReplyError):
        fields["reason"] = problem.reason
    if problem.retry_after_s is not None:
        fields["retry_after"] = problem.retry_after_s
    if message_id is not None:
        fields["id"] = message_id
    if origin is not None:
        fields |= origin.fields()
    return Outbound("error", str(problem), fields)


def spoken(frame: Outbound, dialect: Dialect) -> Outbound:
    """The frame as `dialect` has it. The BuilderOS app's frames stay what they were before errors had a `reason`."""
    if dialect is Dialect.RELAY or "reason" not in frame.fields:
        return frame
    return replace(frame, fields={name: value for name, value in frame.fields.items() if name != "reason"})


def resumed(origin: Origin, message_id: str, offset: int) -> Outbound:
    """The text from `offset` on follows, of the reply to the message of that id."""
    return Outbound("resumed", "", {"id": message_id, "offset": offset, **origin.fields()})


def claimed_id(body: str | None) -> str | None:
    """The ``id`` in a frame that may be anything at all, so that an error can say which message it is about."""
    try:
        return must_be_name(json_object(body), "id", ID_LIMIT)
    except InvalidMessage:
        return None
