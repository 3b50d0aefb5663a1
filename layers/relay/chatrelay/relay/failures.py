"""Failed invocations of ``message``, and what becomes of their conversations."""

from typing import Any

from chatrelay.domain.errors import Interrupted
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.dispatch import Dispatcher, Frame, Message
from chatrelay.relay.recovery import DIED, Recovery
from chatrelay.store.store import Store
from chatrelay.wire.inbound import Regenerate, Send


class Failures:
    """The handling of Lambda's records of invocations that have failed."""

    def __init__(self, store: Store, dispatcher: Dispatcher, recovery: Recovery) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._recovery = recovery

    def handle(self, record: dict[str, Any]) -> None:
        """End the reply that the invocation wrote and call another worker, or tell the sender that nobody answered.

        `record` has the event that ``message`` was given, as ``requestPayload``, and the invocation's id.
        """
        event, worker = record["requestPayload"], record["requestContext"]["requestId"]
        # Lambda's record names the invocation and nothing of the reply.
        key = wrote = self._store.leases.place_of(worker)
        if wrote is None and "continue" in event:
            key = ConversationKey(**event["continue"])
        elif wrote is None and "requestContext" in event:  # not a mere wake-up call
            frame = Frame.from_event(event)
            match self._dispatcher.message(frame):
                case Message(user=user, asked=Regenerate(reply)):
                    key = self._store.conversations.owed_instead(user, reply)
                case Message(user=user, asked=Send(message_id, conversation)):
                    asked = ConversationKey(user, conversation)
                    key = asked if self._store.conversations.owes(asked, message_id) else None
            if key is None:
                # The message was never accepted, or was sent once more after its reply had ended: its sender hears
                # nothing otherwise.
                self._dispatcher.send_error(frame, Interrupted(DIED))
        if key is not None:
            # An invocation that began a reply has shortened the queue, so the count of fruitless calls begins again.
            self._recovery.after_failure(key, worker, 0 if wrote else event.get("attempt", 0))
