"""Frames in: the text of each becomes one of the ``Inbound`` types, or raises ``InvalidMessage``. Pure."""

from dataclasses import dataclass
from typing import Any

from chatrelay.domain.attachments import Attachment
from chatrelay.domain.errors import InvalidMessage
from chatrelay.domain.text import pasted
from chatrelay.wire import fields
from chatrelay.wire.limits import CONVERSATION_LIMIT, CREDENTIAL_LIMIT, DEVICE_LIMIT, ID_LIMIT


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

    ``content`` may be empty where there are ``attachments``. Of an attachment only the ``url`` counts. `replaces` is
    the id of the message in whose place this one comes: its own, where `regenerates` names the reply that it had.
    """

    id: str
    conversation: str
    content: str
    agent: str
    attachments: tuple[Attachment, ...] = ()
    replaces: str | None = None
    regenerates: str | None = None


@dataclass(frozen=True)
class Regenerate:
    """``{"action":"regenerate","reply"}``: answer its message anew."""

    reply: str


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
class Authenticate:
    """``{"action":"auth","token"}``: the connection goes on by these credentials, a key's or a token's."""

    token: str


@dataclass(frozen=True)
class Configuration:
    """The ``builderos`` app's ``{"working_directory": …}``: asks for ``ready`` once more."""


Question = Hello | Resume | Cancel | Acknowledge | Authenticate | Configuration
Asked = Send | Regenerate
"""What a worker answers."""
Inbound = Asked | Question


@dataclass(frozen=True)
class Defaults:
    """What stands in for fields that a frame leaves out, as its connection has them."""

    agent: str
    message_id: str
    conversation: str


def parse_conversation(name: str) -> str:
    """Return the conversation that an address names. Raise ``InvalidMessage``."""
    return fields.must_be_name({"conversation": name}, "conversation", CONVERSATION_LIMIT)


def parse_posted(body: str | None, *, conversation: str, agent: str) -> Send:
    """Return the message in the body of an HTTP call: the fields of ``send`` but those that its address has.

    Raise ``InvalidMessage``.
    """
    return _send({**fields.json_object(body), "conversation": conversation}, agent)


def parse_action(frame: dict[str, Any], agent: str) -> Inbound:
    """Return one frame of version 1. `agent` is the connection's default. Raise ``InvalidMessage``."""
    match fields.given(frame, "action"):
        case "send":
            return _send({**frame, "replaces": None}, agent)
        case "edit":
            fields.must_be_name(frame, "replaces", ID_LIMIT)
            return _send(frame, agent)
        case "regenerate":
            return Regenerate(fields.must_be_name(frame, "reply", ID_LIMIT))
        case "hello":
            return Hello(
                fields.optional_name(frame, "conversation", CONVERSATION_LIMIT),
                fields.optional_name(frame, "device", DEVICE_LIMIT),
            )
        case "resume":
            reply = fields.optional_name(frame, "reply", ID_LIMIT)
            conversation = fields.optional_name(frame, "conversation", CONVERSATION_LIMIT)
            if reply is None and conversation is None:
                raise InvalidMessage("reply", "is missing, and so is conversation")
            return Resume(reply, conversation, 0 if fields.given(frame, "offset") is None else fields.offset(frame))
        case "cancel":
            return Cancel(fields.must_be_name(frame, "reply", ID_LIMIT))
        case "ack":
            return Acknowledge(fields.must_be_name(frame, "reply", ID_LIMIT), fields.offset(frame))
        case "auth":
            return Authenticate(pasted(fields.must_be_name(frame, "token", CREDENTIAL_LIMIT)))
        case _:  # API Gateway answers "ping" itself, so that one never comes here
            raise InvalidMessage(
                "action", "must be one of ack, auth, cancel, edit, hello, ping, regenerate, resume, send"
            )


def claimed(body: str | None, name: str) -> str | None:
    """Return the ``id`` or ``reply`` in a frame that may be anything at all: an error says what it is about."""
    try:
        return fields.must_be_name(fields.json_object(body), name, ID_LIMIT)
    except InvalidMessage:
        return None


def _send(frame: dict[str, Any], agent: str) -> Send:
    attachments = fields.attachments(frame)
    return Send(
        id=fields.must_be_name(frame, "id", ID_LIMIT),
        conversation=fields.must_be_name(frame, "conversation", CONVERSATION_LIMIT),
        content=fields.content(frame, attachments),
        agent=fields.agent_in(frame, "agent", agent),
        attachments=attachments,
        replaces=fields.optional_name(frame, "replaces", ID_LIMIT),
    )
