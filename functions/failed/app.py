"""On-failure destination of ``message``: tells the phone that its message was not answered."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.errors import Interrupted
from chatrelay.reception import Frame
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> None:
    """`event` is Lambda's record of the failed invocation, with the event that ``message`` was given."""
    failed = event["requestPayload"]
    logger.error("a message was not answered", condition=event["requestContext"]["condition"])
    if "requestContext" in failed:  # not a mere wake-up call
        wiring.reception.tell(Frame.from_event(failed), Interrupted("The answer broke off. Send the message again."))
