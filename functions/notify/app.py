"""Push notifications of a reply, for whoever has ended the reply. Lambda repeats an invocation that fails.

A function of its own, so that a push can neither delay nor break a reply.
"""

import asyncio
from functools import cache
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.typing import LambdaContext

from chatrelay.domain.devices import Platform
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.push.notifier import NotServed
from chatrelay.push.service import Delivered, Misconfigured, Notification, Rejected
from chatrelay.wiring import Wiring

ACKNOWLEDGED_WITHIN_S = 3.0
"""How long a device that shows the conversation has to acknowledge the reply."""
RECORDING_S = 5.0

logger = Logger()
metrics = Metrics()
wiring = Wiring()
runner = asyncio.Runner()


@logger.inject_lambda_context
@metrics.log_metrics
def handler(event: dict[str, Any], context: LambdaContext) -> None:
    """Notify of the reply in ``{"user", "conversation", "reply", "turn"}``. Raise ``PushesPending``."""
    location = ReplyLocation(event["reply"], ConversationKey(event["user"], event["conversation"]), event["turn"])
    # Most users have no phone registered; only the others need the pause and the reply.
    if wiring.store.devices.all(location.key.user):
        budget_s = context.get_remaining_time_in_millis() / 1000 - RECORDING_S
        runner.run(_notify(location, budget_s))


async def _notify(location: ReplyLocation, budget_s: float) -> None:
    await asyncio.sleep(ACKNOWLEDGED_WITHIN_S)
    stored = await asyncio.to_thread(wiring.store.conversations.stored, location)
    if stored is None or stored.stream.reply != location.reply:  # deleted, or replaced by another try
        return
    shown = await asyncio.to_thread(wiring.store.replies.acknowledged, location.reply)
    # Who has shown a part of the reply has not seen its end.
    acknowledged = [device for device, offset in shown.items() if offset >= stored.log.length]
    notification = Notification(location.reply, location.key.conversation, stored.agent, stored.log.text)
    budget_s -= ACKNOWLEDGED_WITHIN_S
    outcome = await wiring.notifier.notify(location.key.user, notification, acknowledged, budget_s)
    metrics.add_metric("Pushes", MetricUnit.Count, len(outcome.of(Delivered)))
    metrics.add_metric("PushesMisconfigured", MetricUnit.Count, len(outcome.of(Misconfigured)))
    for misconfigured in outcome.of(Misconfigured):
        logger.error("this deployment cannot push", reason=misconfigured.reason)
    for rejected in outcome.of(Rejected):
        logger.error("a push was not understood", reason=rejected.reason)
    for unserved in outcome.of(NotServed):
        _warn_unserved(unserved.platform)
    outcome.raise_for_pending()  # last: it makes Lambda call again


@cache
def _warn_unserved(platform: Platform) -> None:
    """Warn once an environment: the deployment may mean it, and every reply would repeat the warning."""
    logger.warning("no push service is set up for this platform", platform=platform.value)
