"""Everything that can go wrong, as one tree.

RelayError
├── ClientError          the sender can correct it
│   ├── InvalidMessage       names the field and the problem
│   │   ├── NoSuchAddress        a path that leads nowhere
│   │   ├── NoSuchAgent          this deployment does not have it
│   │   └── NoDevice             a registration without a token or a device
│   ├── Unauthorized         no credentials, or wrong ones
│   │   ├── TokenRefused         a token of an issuer; says why to the operator alone
│   │   └── Ended                right credentials that are not good any more
│   ├── Expired              the credentials of a connection have run out
│   ├── Forbidden            another user's, or no such thing: one answer for both, so nobody can probe
│   ├── TooLarge             names the limit, and the other way in
│   ├── RateLimited          more at once than the user may have
│   │   └── TooManyReplies       names those that are owed
│   └── QuotaExceeded        the user's day or month is used up
├── ReplyError           the reply ended without being complete
│   ├── Overloaded           the model's service is busy
│   ├── Upstream             the model's service failed or cut the stream
│   ├── Denied               the model's service refuses this deployment; only its operator can correct that
│   ├── Refused              the model declined to answer
│   │   └── Unaccepted           the model's service does not take this request
│   ├── TooLong              the model's service takes no request of that length
│   └── Interrupted          the worker died or ran out of time
├── Duplicate            this message id was accepted before
├── Superseded           a reply has ended already, or another worker writes it now
├── Unavailable          a service could not be reached; another try may succeed later
│   └── Conflict             too many writers of one item at once
├── PostError            a frame could not be delivered
│   ├── Gone                 the connection is closed for good
│   ├── Throttled            the connection or the account is at its limit
│   ├── NotDelivered         any other failure: the frame may have arrived
│   └── Unreachable          nothing was delivered for too long
├── Unanswered           a push service could not be reached, or did not answer
├── PushesPending        another call may reach phones that this call could not
├── SettingError         a variable of the environment is missing or malformed
└── Internal             anything else; carries a correlation id, never a stack trace

``ClientError``, ``ReplyError`` and ``Internal`` have a ``code`` of the wire protocol and become ``error`` frames.
The text of an error is a sentence for a person; nothing is ever chosen by it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class RelayError(Exception):
    """The base of the tree."""


class ClientFacingError(RelayError):
    """An error that goes to the client, as a frame or as an HTTP answer.

    ``retry_after_s`` is the number of seconds after which a retry makes sense, if the source of the error named it.
    """

    code: ClassVar[str]
    retryable: ClassVar[bool]

    def __init__(self, sentence: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class ClientError(ClientFacingError):
    """An error that the sender can correct."""

    retryable = False


class InvalidMessage(ClientError):
    """A frame or a body outside the protocol. ``field`` is the part that is wrong."""

    code = "invalid_message"

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class NoSuchAddress(InvalidMessage):
    """A path that leads nowhere."""

    def __init__(self) -> None:
        # Past `InvalidMessage`, whose sentences begin with the name of a field: so in the next two.
        ClientError.__init__(self, "There is nothing at this address.")
        self.field = "path"


class NoSuchAgent(InvalidMessage):
    """An agent of the protocol that this deployment does not have."""

    def __init__(self, agent: str) -> None:
        ClientError.__init__(self, f"{agent.capitalize()} is not connected to this relay yet.")
        self.field = "agent"


class NoDevice(InvalidMessage):
    """A registration without a token or a device, in the words that the existing app expects."""

    def __init__(self) -> None:
        ClientError.__init__(self, "Missing device_token or device_id")
        self.field = "device_token"


class Unauthorized(ClientError):
    """No credentials, or wrong ones."""

    code = "unauthorized"


class TokenReason(StrEnum):
    """Why a token was refused, for the operator. The values are few and fixed: they may be a metric's dimension."""

    TOO_LONG = "too_long"
    MALFORMED = "malformed"
    ISSUER = "issuer"
    ALGORITHM = "algorithm"
    KEYS = "keys"
    KEY = "key"
    SIGNATURE = "signature"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    KIND = "kind"
    AUDIENCE = "audience"
    CLAIM = "claim"


class TokenRefused(Unauthorized):
    """A token of an issuer that is not taken. Its client gets one sentence, whatever the reason.

    `reason` and `advice`, a sentence that says what to do, are for the log. Neither has the token or whose it is.
    """

    def __init__(self, reason: TokenReason, advice: str) -> None:
        super().__init__("Invalid token")
        self.reason = reason
        self.advice = advice


class Ended(Unauthorized):
    """Right credentials that are not good any more. `reason` is for the log: blocked, signed out or revoked."""

    def __init__(self, reason: str) -> None:
        super().__init__("This key or sign-in is not good any more.")
        self.reason = reason


class Expired(ClientError):
    """The credentials by which a connection came have run out. The connection can be given new ones."""

    code = "expired"

    def __init__(self) -> None:
        super().__init__("Your sign-in has run out. Sign in again.")


class Forbidden(ClientError):
    """Another user's, or no such thing: one answer for both, so that nobody can probe."""

    code = "forbidden"


class TooLarge(ClientError):
    """A message or a file over the limit of this way in. Another way in may take it."""

    code = "too_large"


class RateLimited(ClientError):
    """More at once than the user may have. It is let in after `retry_after_s`, if that is known."""

    code = "rate_limited"
    retryable = True


class TooManyReplies(RateLimited):
    """So many replies are owed to the user that one of them has to end first. `replies` are their ids."""

    def __init__(self, limit: int, replies: frozenset[str]) -> None:
        super().__init__(f"You may have {limit} replies written at once. Wait until one has ended.")
        self.replies = replies


class QuotaExceeded(ClientError):
    """The user's day or month is used up. It begins anew after `retry_after_s`, if ever."""

    code = "quota_exceeded"
    retryable = True


class Reason(StrEnum):
    """Why a reply failed, for the operator. The values are few and fixed: they are a metric's dimension."""

    BUSY = "busy"
    FAILED = "failed"
    CUT_OFF = "cut_off"
    UNREACHABLE = "unreachable"
    OUT_OF_GRAMMAR = "out_of_grammar"
    KEY = "key"
    PERMISSION = "permission"
    ACCOUNT = "account"
    MODEL = "model"
    SETTINGS = "settings"
    DECLINED = "declined"
    UNACCEPTED = "unaccepted"
    TOO_LONG = "too_long"
    DIED = "died"
    TIME = "time"
    FILES = "files"


@dataclass(frozen=True)
class Said:
    """What a model's service said of its failure, if anything. For the log, never for clients."""

    status: int | None = None
    type: str = ""
    sentence: str = ""
    request_id: str = ""


class ReplyError(ClientFacingError):
    """A reply ended without being complete. Its partial text is kept.

    `reason` is for the operator's metric, `said` for the log.
    """

    retryable = True
    reason: Reason

    def __init__(
        self,
        sentence: str,
        *,
        retry_after_s: float | None = None,
        reason: Reason | None = None,
        said: Said | None = None,
    ) -> None:
        super().__init__(sentence, retry_after_s=retry_after_s)
        self.reason = reason or type(self).reason
        self.said = said or Said()


class Overloaded(ReplyError):
    """The model's service is busy."""

    code = "overloaded"
    reason = Reason.BUSY


class Upstream(ReplyError):
    """The model's service failed, or cut its stream."""

    code = "upstream"
    reason = Reason.FAILED


class Denied(ReplyError):
    """The model's service refuses this deployment: its key, its account, its model or its settings.

    The same message cannot be answered until the operator has corrected that.
    """

    code = "upstream"
    retryable = False
    reason = Reason.SETTINGS


class Refused(ReplyError):
    """The model declined to answer."""

    code = "refused"
    retryable = False
    reason = Reason.DECLINED


class Unaccepted(Refused):
    """The model's service does not take the request as it is. Another request may succeed."""

    reason = Reason.UNACCEPTED


class TooLong(ReplyError):
    """The model's service takes no request of that length.

    `fits` is about the part of the request that would be taken, below 1; 0 if even the last message is too long.
    """

    code = TooLarge.code
    retryable = False
    reason = Reason.TOO_LONG

    def __init__(self, sentence: str, *, fits: float, said: Said | None = None) -> None:
        super().__init__(sentence, said=said)
        self.fits = fits


class Interrupted(ReplyError):
    """The worker that wrote the reply died or ran out of time."""

    code = "interrupted"
    reason = Reason.DIED


class Internal(ClientFacingError):
    """A failure of our own. ``correlation`` finds it in the logs."""

    code = "internal"
    retryable = True

    def __init__(self, correlation: str) -> None:
        super().__init__(f"Something went wrong here. It was recorded as {correlation}.")
        self.correlation = correlation


class Duplicate(RelayError):
    """A message id that was accepted before. `reply` answers it."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.reply = reply


class Superseded(RelayError):
    """The reply has ended already, or another worker writes it now."""


class Unavailable(RelayError):
    """A service could not be reached. Another try may succeed later."""


class Conflict(Unavailable):
    """Too many writers of one item at once."""


class PostError(RelayError):
    """A frame could not be delivered to a connection."""


class Gone(PostError):
    """The connection is closed for good."""


class Throttled(PostError):
    """The connection's buffer is full, or the account is at its rate."""


class NotDelivered(PostError):
    """Any other failure, time-outs included: the frame may or may not have arrived."""


class Unreachable(PostError):
    """Nothing could be delivered to the connection for too long."""


class Unanswered(RelayError):
    """A push service could not be reached, or did not answer."""


class PushesPending(RelayError):
    """Some phones have no push of a reply yet. The same call may reach them later, and reaches no phone twice."""


class SettingError(RelayError):
    """A variable of the environment is missing or malformed."""
