"""The routes ``send`` and ``$default``: iterates the model's stream and pushes each chunk back to the phone.

API Gateway invokes this function asynchronously, so it has fifteen minutes instead of 29 seconds. An exception here is
not retried; it makes Lambda call ``failed``, which tells the phone.
"""

import asyncio
from typing import Any

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.typing import LambdaContext

# Imported here, so that the cold start pays for the SDK and not the first message.
import chatrelay.agents.claude
import chatrelay.aws.parameters
import chatrelay.relay.conversation_worker  # noqa: F401
from chatrelay.relay.invocation import Invocation
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()
runner = asyncio.Runner()  # one event loop as long as the environment lives, so that connections survive between events


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Answer one frame, for as long as it takes, and what waits behind it.

    ``{"continue": {"user", "conversation"}, "attempt"}`` answers what waits in a conversation; ``{"warm": true}`` only
    builds what the next frame will need.
    """
    invocation = Invocation.begun(context.aws_request_id, context.get_remaining_time_in_millis() / 1000)
    runner.run(wiring.worker.handle(event, invocation))
