"""The ways in which a reply ends: each ends it, and gives the frame that says so. Pure."""

from chatrelay import protocol
from chatrelay.errors import ReplyError
from chatrelay.protocol import Origin, Outbound
from chatrelay.reply import Ending, Reply


def complete(origin: Origin, reply: Reply, ending: Ending) -> Outbound:
    """The model has said all it had to say, or its limit."""
    reply.complete(ending)
    return _whole(origin, reply, ending)


def cancel(origin: Origin, reply: Reply) -> Outbound:
    """The user had enough."""
    reply.cancel()
    return _whole(origin, reply, Ending("cancelled", "", {}, []))


def break_off(origin: Origin, reply: Reply, problem: ReplyError) -> Outbound:
    """The model's service or the worker failed."""
    reply.break_off(problem)
    return protocol.error(problem, origin=origin)


def _whole(origin: Origin, reply: Reply, ending: Ending) -> Outbound:
    return protocol.complete(
        origin,
        length=reply.length,
        sha256=reply.sha256,
        stop_reason=ending.stop_reason,
        model=ending.model,
        usage=ending.usage,
    )
