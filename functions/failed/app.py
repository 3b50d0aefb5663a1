"""On-failure destination of ``message``: ends the reply as interrupted, and tells the phone."""

from typing import Any

from aws_lambda_powertools import Logger

from chatrelay.errors import Interrupted
from chatrelay.reception import Frame
from chatrelay.resumption import DIED
from chatrelay.store.place import Place
from chatrelay.wiring import Wiring

logger = Logger()
wiring = Wiring()


@logger.inject_lambda_context
def handler(event: dict[str, Any], context: object) -> None:
    """`event` is Lambda's record of the failed invocation, with the event that ``message`` was given."""
    failed, worker = event["requestPayload"], event["requestContext"]["requestId"]
    logger.error("a message was not answered", condition=event["requestContext"]["condition"])
    if "continue" in failed:
        wiring.resumption.settle(Place(**failed["continue"]), dead_worker=worker)
    elif "requestContext" in failed:  # not a mere wake-up call
        _settle(Frame.from_event(failed), worker)


def _settle(frame: Frame, worker: str) -> None:
    """The conversation goes on without that worker; a message that it never accepted is told to be lost."""
    message = wiring.reception.message(frame)
    if message is None:
        return wiring.reception.tell(frame, Interrupted(DIED))
    place = Place(message.user, message.send.conversation)
    wiring.resumption.settle(place, dead_worker=worker)
    if not wiring.conversations.has(place, message.send.id):
        wiring.reception.tell(frame, Interrupted(DIED))
    return None
