"""The routes ``hello``, ``resume``, ``cancel`` and ``ack``: small frames that are answered at once.

Where API Gateway does not call ``message`` itself, also ``send`` and ``$default``, whose messages are handed on. Every
deployment that takes keys as frames is one of these, so nobody without a key starts the large function.
"""

from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

from chatrelay.domain.errors import Internal
from chatrelay.relay.dispatch import Frame
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> dict[str, Any]:
    """Return 200 whatever the answer is: answers go out through the Management API, as frames."""
    frame = Frame.from_event(event)
    try:
        wiring.dispatcher.dispatch(frame, event)
    except Exception:  # the last door: an exception would reach the client as API Gateway's frame, with no code
        logger.exception("a frame was not answered")
        wiring.dispatcher.send_error(frame, Internal(context.aws_request_id))
    return {"statusCode": 200}
