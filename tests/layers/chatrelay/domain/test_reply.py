import pytest

from chatrelay.domain.errors import Interrupted, Overloaded, Refused, ReplyError, Upstream
from chatrelay.domain.reply import Ending, IllegalMove, Reply, Status
from tests.builders.written import text

ENDING = Ending("end_turn", "claude", {"output_tokens": 1}, [{"type": "text", "text": "hi"}])


def test_a_reply_streams_until_it_is_complete() -> None:
    reply = Reply("r")
    assert (reply.status, reply.has_ended) == (Status.STREAMING, False)

    reply.complete(ENDING)

    assert (reply.status, reply.has_ended, reply.ending) == (Status.COMPLETE, True, ENDING)


@pytest.mark.parametrize(
    ("written", "reason", "status"),
    [
        ("", Overloaded("busy"), Status.FAILED),
        ("", Refused("no"), Status.FAILED),
        ("", Upstream("cut"), Status.INTERRUPTED),
        ("", Interrupted("late"), Status.INTERRUPTED),
        ("some", Overloaded("busy"), Status.INTERRUPTED),
        ("some", Refused("no"), Status.INTERRUPTED),
        ("some", Upstream("cut"), Status.INTERRUPTED),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, ReplyError) else str(value),
)
def test_a_reply_that_breaks_off_is_interrupted_or_failed(written: str, reason: ReplyError, status: Status) -> None:
    reply = Reply("r")
    reply.append(text(written))

    reply.break_off(reason)

    assert (reply.status, reply.log.text, reply.ending) == (status, written, None)


@pytest.mark.parametrize("ended", ["complete", "broken off"])
@pytest.mark.parametrize("move", ["append", "complete", "break off"])
def test_a_reply_that_has_ended_stays_as_it_is(ended: str, move: str) -> None:
    reply = Reply("r")
    reply.append(text("text"))
    reply.complete(ENDING) if ended == "complete" else reply.break_off(Upstream("cut"))
    status, sha256 = reply.status, reply.log.sha256

    with pytest.raises(IllegalMove):
        _move(reply, move)

    assert (reply.log.text, reply.status, reply.log.sha256) == ("text", status, sha256)


def _move(reply: Reply, move: str) -> None:
    match move:
        case "append":
            reply.append(text("more"))
        case "complete":
            reply.complete(ENDING)
        case "break off":
            reply.break_off(Interrupted("late"))
