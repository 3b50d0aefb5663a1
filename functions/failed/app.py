"""On-failure destination of ``message``: ends the reply as interrupted, tells the phone, and calls another worker."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> None:
    """Handle `event`: Lambda's record of the failed invocation, with the event that ``message`` was given."""
    logger.error("a message was not answered", condition=event["requestContext"]["condition"])
    wiring.failures.handle(event)
