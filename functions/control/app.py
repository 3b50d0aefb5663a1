"""Routes ``hello``, ``resume``, ``cancel``, ``ack`` and ``ping``: small frames that are answered at once."""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from chatrelay.errors import Internal
from chatrelay.reception import Frame
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """200 whatever the answer is: answers go out through the Management API, as frames."""
    frame = Frame.from_event(event)
    try:
        wiring.reception.receive(frame)
    except Exception:
        logger.exception("a frame was not answered")
        wiring.reception.tell(frame, Internal(context.aws_request_id))
    return {"statusCode": 200}
