"""Routes ``send`` and ``$default``: iterates the model's stream and pushes each chunk back to the phone.

API Gateway invokes this function asynchronously, so it has fifteen minutes instead of 29 seconds. An exception here is
not retried; it makes Lambda call ``failed``, which tells the phone.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

import chatrelay.agents.claude  # noqa: F401  takes a second, which the first message need not wait for
from chatrelay.domain.errors import ClientError, Duplicate, Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.dispatch import Frame, Message
from chatrelay.relay.relay import Invocation, Outcome
from chatrelay.wiring import Wiring

logger = Logger()
metrics = Metrics()
wiring = Wiring()
runner = asyncio.Runner()  # one event loop as long as the environment lives, so that connections survive between events


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Answers one frame, for as long as it takes, and what waits behind it.

    ``{"continue": {"user", "conversation"}, "attempt"}`` answers what waits in a conversation; ``{"warm": true}`` only
    builds what the next frame will need.
    """
    if "warm" in event:
        _ = wiring.reception, wiring.relay
        return
    shift = Invocation.of(context.aws_request_id, context.get_remaining_time_in_millis() / 1000)
    if "continue" in event:
        _write(wiring.relay.continue_queue(ConversationKey(**event["continue"]), shift, is_fresh=True))
        return
    frame = Frame.from_event(event)
    message = wiring.reception.receive(frame)
    if message is not None:
        _answer(frame, message, shift)


def _answer(frame: Frame, message: Message, shift: Invocation) -> None:
    try:
        _write(wiring.relay.answer(message, shift))
    except Duplicate as known:
        wiring.reception.attach(frame, message, known.reply)
    except ClientError as problem:
        wiring.reception.tell(frame, problem)


def _write(replies: AsyncIterator[Outcome]) -> None:
    try:
        runner.run(_record_all(replies))
    except Superseded:
        logger.warning("the reply was ended by somebody else")


async def _record_all(replies: AsyncIterator[Outcome]) -> None:
    async for outcome in replies:
        _record(outcome)


def _record(outcome: Outcome) -> None:
    metrics.add_dimension("status", outcome.status.value)
    metrics.add_metric("Replies", MetricUnit.Count, 1)
    metrics.add_metric("Posts", MetricUnit.Count, outcome.posts)
    metrics.add_metric("ReadersLeft", MetricUnit.Count, outcome.readers_left)
    if outcome.first_text_s is not None:
        metrics.add_metric("FirstText", MetricUnit.Seconds, outcome.first_text_s)
    logger.info("reply ended", status=outcome.status.value, length=outcome.length, posts=outcome.posts)
    metrics.flush_metrics()
