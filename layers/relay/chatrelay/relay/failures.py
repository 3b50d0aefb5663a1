"""Failed invocations of ``message``, and what becomes of their conversations."""

from typing import Any

from chatrelay.domain.errors import Interrupted
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.dispatch import Dispatcher, Frame
from chatrelay.relay.recovery import DIED, Recovery
from chatrelay.store.store import Store
from chatrelay.wire.inbound import Regenerate


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
        wrote = self._store.leases.place_of(worker)
        key = wrote or self._waiting(event)
        if key is not None:
            # An invocation that began a reply has shortened the queue, so the count of fruitless calls begins again.
            self._recovery.after_failure(key, worker, 0 if wrote else event.get("attempt", 0))
        elif "requestContext" in event:  # not a mere wake-up call
            self._dispatcher.send_error(Frame.from_event(event), Interrupted(DIED))

    def _waiting(self, event: dict[str, Any]) -> ConversationKey | None:
        """Return the conversation in which something may wait for an answer. None if nothing of the message does.

        Then it was never accepted, or was sent once more after its reply had ended: its sender hears nothing otherwise.
        """
        if "continue" in event:
            return ConversationKey(**event["continue"])
        message = self._dispatcher.message(Frame.from_event(event)) if "requestContext" in event else None
        if message is None:
            return None
        if isinstance(message.asked, Regenerate):
            return self._store.conversations.owed_instead(message.user, message.asked.reply)
        key = ConversationKey(message.user, message.asked.conversation)
        return key if self._store.conversations.owes(key, message.asked.id) else None
