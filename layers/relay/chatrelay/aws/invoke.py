"""Calls of other functions as events, for what the caller has no time for."""

import json
from typing import TYPE_CHECKING, Any, Self

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chatrelay.aws.session import client
from chatrelay.domain.errors import Unavailable
from chatrelay.domain.keys import ConversationKey, ReplyLocation

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient


class FunctionInvoker:
    """One function, by name."""

    def __init__(self, client: "LambdaClient", function: str) -> None:
        self._client = client
        self._function = function

    @classmethod
    def connect(cls, function: str) -> Self:
        """Return the function of that name."""
        config = Config(connect_timeout=1, read_timeout=2, retries={"total_max_attempts": 2})
        return cls(client("lambda", config), function)

    def _invoke(self, event: dict[str, Any]) -> None:
        payload = json.dumps(event).encode()
        try:
            # "Event" answers once Lambda has kept the event, not once the function has run.
            self._client.invoke(FunctionName=self._function, InvocationType="Event", Payload=payload)
        except (BotoCoreError, ClientError) as problem:
            raise Unavailable(type(problem).__name__) from problem


class WorkerInvoker(FunctionInvoker):
    """The function ``message``, which writes replies."""

    def warm(self) -> None:
        """Begin a cold start now, before the first message. Raise ``Unavailable``."""
        self._invoke({"warm": True})

    def continue_queue(self, key: ConversationKey, attempt: int = 0) -> None:
        """Let a worker answer the conversation's queue. Idempotent: an extra worker finds nothing to do.

        `attempt` counts the calls in a row that have failed before this one. Raise ``Unavailable``.
        """
        self._invoke({"continue": {"user": key.user, "conversation": key.conversation}, "attempt": attempt})

    def hand_on(self, event: dict[str, Any]) -> None:
        """Let a worker answer the message in API Gateway's `event`. Raise ``Unavailable``."""
        self._invoke({**event, "handed_on": True})


class PushInvoker(FunctionInvoker):
    """The function ``notify``, which sends push notifications."""

    def enqueue(self, location: ReplyLocation) -> None:
        """Notify the user's phones of an ended reply. Idempotent: each phone gets one push. Raise ``Unavailable``."""
        self._invoke(
            {
                "user": location.key.user,
                "conversation": location.key.conversation,
                "reply": location.reply,
                "turn": location.turn,
            }
        )
