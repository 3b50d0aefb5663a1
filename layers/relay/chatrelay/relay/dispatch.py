"""Whatever comes in before any model is asked: greetings, authentication, refusals; messages are handed on."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from chatrelay.aws.invoke import WorkerInvoker
from chatrelay.aws.management_api import ManagementApi
from chatrelay.aws.telemetry import Telemetry
from chatrelay.domain.errors import (
    ClientFacingError,
    Duplicate,
    Gone,
    Internal,
    InvalidMessage,
    PostError,
    Unauthorized,
    Unavailable,
)
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.text import pasted
from chatrelay.relay.resume import Resumption
from chatrelay.store.connections import Connection, Connections
from chatrelay.store.conversations import Conversations
from chatrelay.store.keys import Keys
from chatrelay.wire import builderos, frames, inbound
from chatrelay.wire.frames import Outbound
from chatrelay.wire.inbound import Acknowledge, Cancel, Configuration, Defaults, Hello, Inbound, Question, Resume, Send

KEY_LIMIT = 256
WRONG_FIRST_FRAME = frames.error(Unauthorized("The first frame must be the API key."))


@dataclass(frozen=True)
class Frame:
    """One frame as API Gateway hands it to a function. `received_ms` is when API Gateway got it, since 1970."""

    connection_id: str
    message_id: str
    received_ms: int
    body: str

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "Frame":
        """The frame in a MESSAGE event, of a proxy integration or of the mapping template in ``template.yaml``."""
        context = event["requestContext"]
        return cls(
            connection_id=context["connectionId"],
            message_id=context["messageId"],
            received_ms=int(context["requestTimeEpoch"]),
            body=event.get("body") or "",
        )


@dataclass(frozen=True)
class Message:
    """A message for an agent, and the connection that it came by."""

    connection: Connection
    user: str
    send: Send
    received_ms: int


class Dispatcher:
    """Receives every frame; answers all but messages, which it hands on."""

    def __init__(
        self,
        connections: Connections,
        conversations: Conversations,
        keys: Keys,
        gateway: ManagementApi,
        resumption: Resumption,
        workers: WorkerInvoker,
        telemetry: Telemetry,
    ) -> None:
        self._connections = connections
        self._conversations = conversations
        self._keys = keys
        self._gateway = gateway
        self._resumption = resumption
        self._workers = workers
        self._telemetry = telemetry

    def receive(self, frame: Frame) -> Message | None:
        """The message in `frame`, or None if the frame is answered already. A client that has left is no error."""
        try:
            return self._receive(frame)
        except ClientFacingError as problem:
            self.tell(frame, problem)
        except Gone:
            self._forget(frame.connection_id)
        return None

    def attach(self, frame: Frame, message: Message, reply: str) -> None:
        """The sender of a message that was accepted before reads along with its reply, from the beginning.

        The BuilderOS app never sends a message twice, and would show a text twice: a repeated event leaves it alone.
        """
        if not message.connection.dialect.tells_replies_apart:
            return
        try:
            self._resumption.resume(message.user, message.connection, Resume(reply, None, 0))
        except ClientFacingError as problem:
            self.tell(frame, problem)
        except Gone:
            self._forget(frame.connection_id)

    def keep(self, user: str, send: Send, received_ms: int) -> str:
        """Stores a message that came by another way than a socket, and calls a worker for it; gives its reply's id.

        The same one again is only looked after again. Raises ``Unavailable`` if no worker could be called: it is kept.
        """
        try:
            reply = self._conversations.accept(user, send, received_ms).stream.reply
        except Duplicate as known:
            reply = known.reply
        self._resumption.settle(ConversationKey(user, send.conversation))
        return reply

    def message(self, frame: Frame) -> Message | None:
        """The message in `frame`, answering nothing; None if it is no message, or nobody's."""
        connection = self._connections.get(frame.connection_id) or self._connections.recently_closed(
            frame.connection_id
        )
        if connection is None or connection.user is None:
            return None
        try:
            parsed = _parse(connection, frame)
        except InvalidMessage:
            return None
        return Message(connection, connection.user, parsed, frame.received_ms) if isinstance(parsed, Send) else None

    def tell(self, frame: Frame, problem: ClientFacingError) -> None:
        """Sends the sender of `frame` what is wrong, with the id of its message if it has one."""
        if isinstance(problem, Internal):
            self._telemetry.internal_error()
        try:
            self._post(frame.connection_id, frames.error(problem, message_id=inbound.claimed_id(frame.body)))
        except Gone:
            self._forget(frame.connection_id)

    def _forget(self, connection_id: str) -> None:
        """A socket that is still open, whatever we were told, closes: its client connects again."""
        self._connections.close(connection_id)
        with suppress(PostError):
            self._gateway.close(connection_id)

    def _receive(self, frame: Frame) -> Message | None:
        connection = self._connections.get(frame.connection_id)
        if connection is None:
            self._forget(frame.connection_id)
            return self.message(frame)  # its sender has left, and wants an answer all the same
        if connection.user is None:
            self._first_frame(connection, frame)
            return None
        parsed = _parse(connection, frame)
        if isinstance(parsed, Send):
            self._connections.subscribe(connection, parsed.conversation)
            return Message(connection, connection.user, parsed, frame.received_ms)
        self._answer(connection, connection.user, parsed)
        return None

    def _answer(self, connection: Connection, user: str, asked: Question) -> None:
        match asked:
            case Hello(conversation, device):
                if device is not None:
                    self._connections.set_device(connection, device)
                if conversation is not None:
                    self._connections.subscribe(connection, conversation)
                self._greet(connection, user, conversation)
            case Resume():
                self._resumption.resume(user, connection, asked)
            case Cancel():
                self._resumption.cancel(user, asked)
            case Acknowledge():
                self._resumption.acknowledge(user, connection.device, asked)
            case Configuration():
                self._greet(connection, user)

    def _first_frame(self, connection: Connection, frame: Frame) -> None:
        """Authenticates a pending connection by its key, which is the whole frame. Anything else closes it.

        Once the client has its answers, and not before, the function that will answer its first message is woken.
        """
        key = pasted(frame.body)
        is_json = key.startswith("{")
        user = self._keys.user_of(key) if not is_json and len(key) <= KEY_LIMIT else None
        if user is None:
            self._turn_away(connection, _encoded(WRONG_FIRST_FRAME) if is_json else builderos.INVALID_API_KEY.encode())
            return
        self._connections.authenticate(connection, user)
        self._gateway.deliver(connection.id, builderos.AUTHENTICATED.encode())
        self._greet(connection, user)
        with suppress(Unavailable):  # then its cold start begins with the message
            self._workers.warm()

    def _turn_away(self, connection: Connection, answer: bytes) -> None:
        """One answer, however many wrong frames came at once, and then the close, whatever became of the answer."""
        if not self._connections.turn_away(connection):
            return
        try:
            with suppress(PostError):  # who does not read hears the close
                self._gateway.deliver(connection.id, answer)
        finally:
            self._forget(connection.id)

    def _greet(self, connection: Connection, user: str, conversation: str | None = None) -> None:
        active = conversation and self._resumption.active(ConversationKey(user, conversation))
        ready = frames.ready(user=user, agent=connection.agent, conversation=conversation, active=active)
        self._post(connection.id, ready)

    def _post(self, connection_id: str, frame: Outbound) -> None:
        self._gateway.deliver(connection_id, _encoded(frame))


def _encoded(frame: Outbound) -> bytes:
    return frame.encode(datetime.now(UTC))


def _parse(connection: Connection, frame: Frame) -> Inbound:
    message_id = f"{frame.connection_id}{frame.message_id}"
    return connection.dialect.parse(frame.body, Defaults(connection.agent, message_id, frame.connection_id))
