"""Routes ``hello`` and ``ping``: small frames that are answered at once."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.reception import Frame
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """200 whatever the answer is: answers go out through the Management API, as frames."""
    wiring.reception.receive(Frame.from_event(event))
    return {"statusCode": 200}
