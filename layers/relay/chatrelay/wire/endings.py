"""The ways in which a reply ends: each ends it, and gives the frame that says so. Pure."""

from chatrelay.domain.errors import ReplyError
from chatrelay.domain.keys import StreamId
from chatrelay.domain.reply import Ending, Reply
from chatrelay.wire import outbound
from chatrelay.wire.outbound import Outbound


def complete(stream: StreamId, reply: Reply, ending: Ending) -> Outbound:
    """The model has said all it had to say, or its limit."""
    reply.complete(ending)
    return _whole(stream, reply, ending)


def cancel(stream: StreamId, reply: Reply) -> Outbound:
    """The user had enough."""
    reply.cancel()
    return _whole(stream, reply, Ending("cancelled", "", {}, []))


def break_off(stream: StreamId, reply: Reply, problem: ReplyError) -> Outbound:
    """The model's service or the worker failed."""
    reply.break_off(problem)
    return outbound.error(problem, stream=stream)


def _whole(stream: StreamId, reply: Reply, ending: Ending) -> Outbound:
    return outbound.complete(
        stream,
        length=reply.length,
        sha256=reply.sha256,
        stop_reason=ending.stop_reason,
        model=ending.model,
        usage=ending.usage,
    )
