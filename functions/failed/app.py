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
    if (place := wiring.leases.place_of(worker)) is not None:
        wiring.resumption.settle(place, dead_worker=worker)
    if "continue" in failed:
        wiring.resumption.settle(Place(**failed["continue"]))
    elif "requestContext" in failed:  # not a mere wake-up call
        _tell(Frame.from_event(failed))


def _tell(frame: Frame) -> None:
    """A message that was never accepted is told to be lost; one that waits is looked after."""
    message = wiring.reception.message(frame)
    place = Place(message.user, message.send.conversation) if message else None
    if message and place and wiring.conversations.has(place, message.send.id):
        wiring.resumption.settle(place)
    else:
        wiring.reception.tell(frame, Interrupted(DIED))
