"""Routes ``hello``, ``resume``, ``cancel`` and ``ack``: small frames that are answered at once.

Where API Gateway does not call ``message`` itself, ``send`` and ``$default``, too: messages are handed on to it. So it
is in every deployment that lets clients bring their keys as frames, and nobody without a key starts the large function.
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
    except Exception:
        logger.exception("a frame was not answered")
        wiring.dispatcher.send_error(frame, Internal(context.aws_request_id))
    return {"statusCode": 200}
