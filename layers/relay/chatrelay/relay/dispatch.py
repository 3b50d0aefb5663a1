"""The door for every frame. All but messages are answered here; messages go on to a worker."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from chatrelay.aws.invoke import WorkerInvoker
from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.errors import (
    ClientError,
    ClientFacingError,
    Ended,
    Expired,
    Forbidden,
    Gone,
    Internal,
    InvalidMessage,
    PostError,
    RateLimited,
    Unauthorized,
    Unavailable,
)
from chatrelay.domain.identity import Identity
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.limits import left_s
from chatrelay.domain.text import pasted
from chatrelay.relay.admission import INVALID, Admission
from chatrelay.relay.resume import ResumeService
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.accounts import Account
from chatrelay.store.connections import Connection
from chatrelay.store.store import Store
from chatrelay.wire import outbound
from chatrelay.wire.builderos import AUTHENTICATED, INVALID_API_KEY
from chatrelay.wire.inbound import (
    Acknowledge,
    Asked,
    Authenticate,
    Cancel,
    Configuration,
    Defaults,
    Hello,
    Inbound,
    Question,
    Resume,
    claimed,
)
from chatrelay.wire.limits import CREDENTIAL_LIMIT

WRONG_FIRST_FRAME = outbound.error(Unauthorized("The first frame must be the API key."))


@dataclass(frozen=True)
class Frame:
    """One frame as API Gateway hands it to a function. `received_ms` is when API Gateway got it, since 1970.

    `is_counted` says that another function has had the frame before.
    """

    connection_id: str
    message_id: str
    received_ms: int
    body: str
    is_counted: bool = False

    @classmethod
    def from_event(cls, event: dict[str, Any]) -> "Frame":
        """Return the frame in a MESSAGE event, of a proxy integration or of ``template.yaml``'s mapping template."""
        context = event["requestContext"]
        return cls(
            connection_id=context["connectionId"],
            message_id=context["messageId"],
            received_ms=int(context["requestTimeEpoch"]),
            body=event.get("body") or "",
            is_counted=event.get("handed_on", False),
        )


@dataclass(frozen=True)
class Message:
    """A message for an agent, and the connection that it came by."""

    connection: Connection
    user: str
    asked: Asked
    received_ms: int


class Dispatcher:
    """The answers to every frame but messages, errors of messages included."""

    def __init__(
        self,
        store: Store,
        api: ManagementApi,
        resume: ResumeService,
        workers: WorkerInvoker,
        telemetry: Telemetry,
        admission: Admission,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._api = api
        self._resume = resume
        self._workers = workers
        self._telemetry = telemetry
        self._admission = admission
        self._clock = clock

    def dispatch(self, frame: Frame, event: dict[str, Any]) -> None:
        """Answer `frame`, or hand the message in it on to a worker, with the `event` that it came in."""
        if self.receive(frame) is not None:
            self._workers.hand_on(event)

    def receive(self, frame: Frame) -> Message | None:
        """Return the message in `frame`, or None if the frame is answered. A client that has left is no error."""
        connection = None
        try:
            hear = self._store.connections.get if frame.is_counted else self._store.connections.hear
            connection = hear(frame.connection_id)
            if connection is None:
                self._forget(frame.connection_id)
                return self.message(frame)  # its sender has left, and wants an answer all the same
            if connection.user is None:
                self._authenticate(connection, frame)
                return None
            if not frame.is_counted:
                self._check_rate(connection)
            parsed = _parse(connection, frame)
            if isinstance(parsed, Authenticate):
                self._renew(connection, parsed)
                return None
            if self._has_expired(connection):
                raise Expired
            if isinstance(parsed, Asked):
                return Message(connection, connection.user, parsed, frame.received_ms)
            self._answer(connection, connection.user, parsed)
        except ClientFacingError as problem:
            self.send_error(frame, problem, connection)
        except Gone:
            self._forget(frame.connection_id)
        return None

    def attach(self, frame: Frame, message: Message, reply: str) -> None:
        """Let the sender of a message that was accepted before read along with its reply, from the beginning."""
        # Such a client sends no message twice, so Lambda has repeated the event; it would show the text twice.
        if not message.connection.dialect.tells_replies_apart:
            return
        try:
            self._resume.resume(message.user, message.connection, Resume(reply, None, 0))
        except ClientFacingError as problem:
            self.send_error(frame, problem)
        except Gone:
            self._forget(frame.connection_id)

    def message(self, frame: Frame) -> Message | None:
        """Return the message in `frame`, answering nothing. None if it is no message, or nobody's."""
        connection_id = frame.connection_id
        connection = self._store.connections.get(connection_id) or self._store.connections.recently_closed(
            connection_id
        )
        if connection is None or connection.identity is None or self._has_expired(connection):
            return None
        try:
            # Whoever revokes a credential closes the sockets that are open, and knows nothing of this one.
            self._store.accounts.admit(connection.identity)
            parsed = _parse(connection, frame)
        except (Ended, InvalidMessage):
            return None
        user = connection.identity.user
        return Message(connection, user, parsed, frame.received_ms) if isinstance(parsed, Asked) else None

    def send_error(self, frame: Frame, problem: ClientFacingError, connection: Connection | None = None) -> None:
        """Send the sender of `frame` what is wrong, with the id of its message or else the reply that it is about.

        `connection` is the sender's, where it is known.
        """
        if isinstance(problem, Internal):
            self._telemetry.internal_error()
        message_id = claimed(frame.body, "id")
        reply = None if message_id is not None else claimed(frame.body, "reply")
        told = outbound.error(problem, message_id=message_id, reply=reply)
        try:
            self._api.deliver_frame(frame.connection_id, told if connection is None else connection.dialect.adapt(told))
        except Gone:
            self._forget(frame.connection_id)

    def _answer(self, connection: Connection, user: str, asked: Question) -> None:
        match asked:
            case Hello(conversation, device):
                if device is not None:
                    self._store.connections.set_device(connection, device)
                if conversation is not None:
                    self._store.connections.subscribe(connection, conversation)
                self._greet(connection, user, conversation)
            case Resume():
                self._resume.resume(user, connection, asked)
            case Cancel():
                self._resume.cancel(user, asked)
            case Acknowledge():
                self._resume.acknowledge(user, connection.device, asked)
            case Configuration():
                self._greet(connection, user)

    def _authenticate(self, connection: Connection, frame: Frame) -> None:
        """Authenticate a pending connection by its key, which is the whole frame. Close it for anything else."""
        key = pasted(frame.body)
        is_json = key.startswith("{")
        try:
            if is_json or len(key) > CREDENTIAL_LIMIT:
                raise Unauthorized(INVALID)
            identity, account = self._admission.admit(key)
            connection = self._identified(connection, identity, account)
            self._store.connections.authenticate(connection, account.limits.sockets)
        except ClientError:
            self._turn_away(
                connection, WRONG_FIRST_FRAME.encode(datetime.now(UTC)) if is_json else INVALID_API_KEY.encode()
            )
            return
        self._api.deliver(connection.id, AUTHENTICATED.encode())
        self._greet(connection, identity.user)
        # Last, so that a wake-up call that fails keeps no client waiting.
        with suppress(Unavailable):  # then the cold start begins with the message
            self._workers.warm()

    def _turn_away(self, connection: Connection, answer: bytes) -> None:
        """Say once what is wrong with a first frame, and close the connection."""
        if not self._store.connections.turn_away(connection):  # of wrong frames that come at once, one is answered
            return
        try:
            with suppress(PostError):  # a client that does not read hears the close
                self._api.deliver(connection.id, answer)
        finally:
            self._forget(connection.id)

    def _renew(self, connection: Connection, asked: Authenticate) -> None:
        """Let the connection go on by other credentials of its user. Raise ``Unauthorized`` and ``Forbidden``."""
        identity, account = self._admission.admit(asked.token)
        if identity.user != connection.user:
            raise Forbidden("This connection is another user's. Open one of your own.")
        connection = self._identified(connection, identity, account)
        self._store.connections.renew(connection)
        self._greet(connection, identity.user, connection.viewing)

    def _identified(self, connection: Connection, identity: Identity, account: Account) -> Connection:
        return replace(
            connection,
            identity=identity,
            good_until=self._admission.good_until(identity),
            frames_per_minute=account.limits.frames_per_minute,
        )

    def _check_rate(self, connection: Connection) -> None:
        """Raise ``RateLimited`` if the connection has sent more frames this minute than it may."""
        most = connection.frames_per_minute
        if most is not None and connection.frames > most:
            wait_s = left_s("minute", self._clock()) if most else None
            raise RateLimited(f"A socket may send {most} frames a minute.", retry_after_s=wait_s)

    def _has_expired(self, connection: Connection) -> bool:
        return connection.good_until is not None and connection.good_until <= self._clock()

    def _greet(self, connection: Connection, user: str, conversation: str | None = None) -> None:
        active = conversation and self._resume.active(ConversationKey(user, conversation))
        ready = outbound.ready(
            user=user,
            agent=connection.agent,
            conversation=conversation,
            active=active,
            good_until=connection.good_until,
        )
        self._api.deliver_frame(connection.id, ready)

    def _forget(self, connection_id: str) -> None:
        """Forget the connection. A socket that is open all the same closes, and its client connects again."""
        self._store.connections.close(connection_id)
        with suppress(PostError):
            self._api.close(connection_id)


def _parse(connection: Connection, frame: Frame) -> Inbound:
    message_id = f"{frame.connection_id}{frame.message_id}"
    return connection.dialect.parse(frame.body, Defaults(connection.agent, message_id, frame.connection_id))
