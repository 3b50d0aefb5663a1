"""On-failure destination of ``message``: ends the reply as interrupted, and tells the phone."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.errors import Interrupted, Superseded
from chatrelay.reception import Frame
from chatrelay.resumption import DIED
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> None:
    """`event` is Lambda's record of the failed invocation, with the event that ``message`` was given."""
    failed = event["requestPayload"]
    logger.error("a message was not answered", condition=event["requestContext"]["condition"])
    if "requestContext" in failed:  # not a mere wake-up call
        _interrupt(Frame.from_event(failed), event["requestContext"]["requestId"])


def _interrupt(frame: Frame, worker: str) -> None:
    message = wiring.reception.message(frame)
    try:
        reply = message and wiring.conversations.reply_of(message.user, message.send, worker)
    except Superseded:
        return
    where = reply and wiring.replies.find(reply)
    if where:
        wiring.resumption.bury(where, is_dead=True)
    else:
        wiring.reception.tell(frame, Interrupted(DIED))
