"""The ways in which a reply ends: each ends it, and gives the frame that says so. Pure."""

from chatrelay.domain.errors import ReplyError
from chatrelay.domain.keys import StreamId
from chatrelay.domain.reply import Ending, Reply
from chatrelay.wire import outbound
from chatrelay.wire.outbound import Outbound


def complete(stream: StreamId, reply: Reply, ending: Ending) -> Outbound:
    """End the reply whose model has said all it had to say, or has reached its limit."""
    reply.complete(ending)
    return outbound.complete(stream, reply.log, ending)


def cancel(stream: StreamId, reply: Reply) -> Outbound:
    """End the reply that its user has stopped."""
    reply.cancel()
    return outbound.complete(stream, reply.log, Ending("cancelled", "", {}, []))


def break_off(stream: StreamId, reply: Reply, problem: ReplyError) -> Outbound:
    """End the reply whose model's service or worker has failed."""
    reply.break_off(problem)
    return outbound.broken_off(stream, reply.log, problem)
