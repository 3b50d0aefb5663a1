"""On-failure destination of ``message``: ends the reply as interrupted, tells the phone, and calls another worker."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.domain.errors import Interrupted
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.dispatch import Frame
from chatrelay.relay.resume import DIED
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> None:
    """`event` is Lambda's record of the failed invocation, with the event that ``message`` was given."""
    failed, worker = event["requestPayload"], event["requestContext"]["requestId"]
    logger.error("a message was not answered", condition=event["requestContext"]["condition"])
    wrote = wiring.leases.place_of(worker)
    key = wrote or _place(failed)
    if key is not None:
        # Whoever came to write has made the queue shorter, and is no further call in a row that led nowhere.
        wiring.resumption.after_failure(key, worker, 0 if wrote else failed.get("attempt", 0))
    elif "requestContext" in failed:  # not a mere wake-up call
        wiring.reception.tell(Frame.from_event(failed), Interrupted(DIED))


def _place(failed: dict[str, Any]) -> ConversationKey | None:
    """The conversation in which something may wait for an answer; None for a message that was never accepted."""
    if "continue" in failed:
        return ConversationKey(**failed["continue"])
    message = wiring.reception.message(Frame.from_event(failed)) if "requestContext" in failed else None
    key = ConversationKey(message.user, message.send.conversation) if message else None
    return key if message and key and wiring.conversations.has(key, message.send.id) else None
