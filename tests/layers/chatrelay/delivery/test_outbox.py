import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatrelay.delivery.liveness import Liveness
from chatrelay.delivery.outbox import Outbox
from chatrelay.delivery.sender import PATIENCE_S as POSTS_PATIENCE_S
from chatrelay.delivery.sender import Post, Sender
from chatrelay.domain.errors import NotDelivered, PostError, Throttled
from chatrelay.domain.keys import StreamId
from chatrelay.domain.log import Cited, Piece, Written
from chatrelay.domain.reply import Ending, Reply
from chatrelay.relay.reply_writer import ORDERLY_END_S
from chatrelay.wire import outbound
from chatrelay.wire.dialect import Pacing
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.outbound import Outbound
from tests.builders.doubles import Reader, assembled
from tests.builders.patience import PATIENCE_S
from tests.builders.written import text, thought

STREAM = StreamId("talk", "r1", 1)
FIRST = outbound.typing(STREAM, "m1")
LAST = Outbound("last")
ENDING = Ending("end_turn", "claude", {}, [])
TOOL = Piece("tool", "{}", {"call": "c1", "name": "clock", "by": "model"})
FAST = Pacing(min_interval_s=0.001, quiet_s=0.0)


def made(reply: Reply, post: Post, pacing: Pacing = FAST, patience_s: float = POSTS_PATIENCE_S) -> Outbox:
    return Outbox(reply, STREAM, [FIRST], Sender(post, pacing, Liveness(math.inf), patience_s=patience_s), VERSION_1)


class Writer:
    """Writes a reply and tells its outbox, as the relay does."""

    def __init__(self, reader: Reader, pacing: Pacing, patience_s: float) -> None:
        self.reply = Reply("r1")
        self.outbox = made(self.reply, reader, pacing, patience_s)

    def write(self, content: str) -> None:
        self.say(text(content))

    def say(self, written: Written) -> None:
        self.reply.append(written)
        self.outbox.changed.set()

    def end(self) -> None:
        self.reply.complete(ENDING)
        self.outbox.changed.set()
        self.outbox.end(LAST)


@asynccontextmanager
async def writing(reader: Reader, pacing: Pacing = FAST, patience_s: float = POSTS_PATIENCE_S) -> AsyncIterator[Writer]:
    """A writer to `reader`; when the block ends, everything has gone out."""
    writer = Writer(reader, pacing, patience_s=patience_s)
    async with writer.outbox:
        yield writer
        writer.end()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - the reader keeps records, not events
            await asyncio.sleep(0.001)


async def test_the_first_frame_the_text_and_the_last_frame_go_out_in_this_order() -> None:
    reader = Reader()

    async with writing(reader) as writer:
        writer.write("Good ")
        await until(lambda: reader.texts == ["Good "])
        writer.write("morning")

    assert reader.types == ["typing", "message", "message", "last"]
    assert assembled(reader.frames) == "Good morning"


async def test_a_reply_without_text_is_its_first_and_last_frame() -> None:
    reader = Reader()

    async with writing(reader):
        pass

    assert reader.types == ["typing", "last"]


async def test_the_first_text_goes_out_at_once() -> None:
    reader = Reader()

    async with writing(reader, Pacing(min_interval_s=600, quiet_s=0)) as writer:
        writer.write("Good ")
        writer.write("morning")

    assert reader.texts == ["Good morning"]


async def test_text_that_is_there_does_not_wait_for_more() -> None:
    reader = Reader()

    async with writing(reader, VERSION_1.pacing) as writer:
        await until(lambda: reader.types == ["typing"])
        writer.write("Good ")
        await until(lambda: reader.texts == ["Good "])
        assert not writer.reply.has_ended


async def test_what_gathers_during_a_post_goes_out_in_the_next() -> None:
    reader = Reader(post_s=0.02)

    async with writing(reader) as writer:
        for number in range(100):
            writer.write(f"{number} ")
            await asyncio.sleep(0.001)

    assert assembled(reader.frames) == writer.reply.log.text
    assert reader.most_under_way == 1
    assert len(reader.texts) <= 50


async def test_a_slow_reader_does_not_delay_the_writer() -> None:
    reader = Reader(post_s=0.5)

    async with asyncio.timeout(PATIENCE_S), writing(reader) as writer:
        for _ in range(1000):
            writer.write("x")
            await asyncio.sleep(0)
        assert reader.posts == []

    assert assembled(reader.frames) == "x" * 1000


async def test_posts_of_the_relay_start_at_least_40_ms_apart_while_the_reply_is_written() -> None:
    reader = Reader(post_s=0.005)

    async with writing(reader, VERSION_1.pacing) as writer:
        for _ in range(60):
            writer.write("word ")
            await asyncio.sleep(0.005)
        written = len(reader.posts)

    starts = [post.started_s for post in reader.posts[:written]]
    assert len(starts) >= 3
    assert min(b - a for a, b in pairwise(starts)) >= 0.0399


async def test_the_builderos_app_has_150_ms_between_any_two_frames() -> None:
    reader = Reader(post_s=0.01)

    async with writing(reader, BUILDEROS.pacing) as writer:
        for _ in range(80):
            writer.write("word ")
            await asyncio.sleep(0.005)

    assert reader.types[-2:] == ["message", "last"]
    assert len(reader.texts) >= 2
    assert min(b.started_s - a.ended_s for a, b in pairwise(reader.posts)) >= 0.1499


async def test_the_end_of_a_reply_is_not_held_back() -> None:
    reader = Reader()

    async with asyncio.timeout(PATIENCE_S), writing(reader, Pacing(min_interval_s=600, quiet_s=0)) as writer:
        await until(lambda: reader.types == ["typing"])
        writer.write("The whole answer.")

    assert reader.types == ["typing", "message", "last"]


async def test_text_that_is_too_long_for_a_frame_goes_out_in_several() -> None:
    reader = Reader()
    text = '漢"😀\x00' * 10_000

    async with writing(reader) as writer:
        writer.write(text)

    assert assembled(reader.frames) == text
    assert len(reader.texts) == 5
    assert min(len(post.frame) for post in reader.posts[1:-2]) > 31 * 1024 - 32


@given(st.lists(st.text(st.sampled_from('a漢😀e\u0301"\x00'), max_size=5).map(lambda text: text * 2000), max_size=5))
@settings(max_examples=25)
def test_whatever_is_written_arrives_by_offset(texts: list[str]) -> None:
    async def scenario() -> list[dict[str, object]]:
        reader = Reader()
        async with writing(reader, Pacing(min_interval_s=0, quiet_s=0)) as writer:
            for text in texts:
                writer.write(text)
                await asyncio.sleep(0)
        return reader.frames

    assert assembled(asyncio.run(scenario())) == "".join(texts)


@pytest.mark.parametrize("failure", [Throttled, NotDelivered])
async def test_frames_that_fail_are_sent_again_without_loss(failure: type[PostError]) -> None:
    reader = Reader(refusals=[failure() for _ in range(3)])

    async with writing(reader) as writer:
        writer.write("Good ")
        await until(lambda: bool(reader.texts))
        reader.refuse(failure(), failure())
        writer.write("morn")
        await until(lambda: len(reader.refused) >= 4)
        writer.write("ing")
        await until(lambda: "ing" in "".join(reader.texts))
        reader.refuse(failure())

    assert reader.types[0] == "typing"
    assert reader.types[-1] == "last"
    assert assembled(reader.frames) == "Good morning"
    assert len(reader.refused) == 6
    assert writer.outbox.sender.posts == len(reader.posts) + 6


async def test_text_that_failed_goes_with_what_has_gathered_since() -> None:
    reader = Reader()

    async with writing(reader, Pacing(min_interval_s=0.05, quiet_s=0)) as writer:
        await until(lambda: reader.types == ["typing"])
        reader.refuse(Throttled())
        writer.write("Good ")
        await until(lambda: len(reader.refused) == 1)
        writer.write("morning")

    assert reader.texts == ["Good morning"]


async def test_throttling_widens_the_window() -> None:
    reader = Reader(refusals=[Throttled(), Throttled(), Throttled()])

    async with writing(reader, Pacing(min_interval_s=0.02, quiet_s=0)):
        pass

    waits = [b - a for a, b in pairwise([*reader.refused_s, reader.posts[0].started_s])]
    assert [wait >= least for wait, least in zip(waits, [0.0199, 0.0399, 0.0799], strict=True)] == [True] * 3


@pytest.mark.parametrize("when", [0, 1, 2], ids=["first frame", "text", "last frame"])
async def test_a_reader_that_is_gone_ends_only_its_outbox(when: int) -> None:
    reader = Reader(gone_after=when)

    async with asyncio.timeout(PATIENCE_S), writing(reader) as writer:
        for _ in range(20):
            writer.write("word ")
            await asyncio.sleep(0.001)

    assert writer.outbox.reader_left
    assert writer.reply.log.text == "word " * 20
    assert len(reader.posts) == when if when < 2 else len(reader.posts) >= when


async def test_a_reader_that_takes_everything_has_not_left() -> None:
    async with writing(Reader()) as writer:
        writer.write("text")

    assert not writer.outbox.reader_left


async def test_a_reader_whose_posts_fail_for_too_long_counts_as_gone() -> None:
    reader = Reader(refusals=[NotDelivered() for _ in range(100)])

    async with asyncio.timeout(PATIENCE_S), writing(reader, patience_s=0.3) as writer:
        writer.write("text")

    assert writer.outbox.reader_left
    assert reader.posts == []
    assert reader.refused_s[-1] - reader.refused_s[0] >= 0.2


async def test_failures_with_a_delivery_between_them_do_not_add_up() -> None:
    reader = Reader(refusals=[NotDelivered() for _ in range(4)])

    async with writing(reader, patience_s=1.0) as writer:
        await until(lambda: reader.types == ["typing"])
        await asyncio.sleep(1.0)
        reader.refuse(NotDelivered())
        writer.write("text")

    assert not writer.outbox.reader_left
    assert reader.types == ["typing", "message", "last"]


def test_giving_up_leaves_time_for_the_orderly_end_of_a_reply() -> None:
    longest_post_s = 6
    assert POSTS_PATIENCE_S + longest_post_s < ORDERLY_END_S


async def test_leaving_by_an_exception_gives_up_what_is_left() -> None:
    reader = Reader(post_s=0.01)

    async def scenario() -> None:
        async with asyncio.timeout(PATIENCE_S), writing(reader) as writer:
            writer.write("never sent")
            raise KeyError("the writer's own")

    with pytest.raises(KeyError, match="the writer's own"):
        await scenario()
    await asyncio.sleep(0.05)
    assert "message" not in reader.types


async def test_cancelling_the_writer_cancels_the_post_under_way() -> None:
    reader = Reader(post_s=600)

    async def scenario() -> None:
        async with writing(reader) as writer:
            writer.write("text")

    task = asyncio.create_task(scenario())
    await until(lambda: reader.most_under_way == 1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(PATIENCE_S):
            await task
    assert reader.posts == []


async def test_giving_up_in_the_moment_of_news_gives_up() -> None:
    """Python 3.11's `asyncio.wait_for` forgets that it was cancelled if what it waits for comes in the same moment."""
    reader = Reader()
    reply = Reply("r1")
    outbox = made(reply, reader, Pacing(min_interval_s=30.0, quiet_s=0.0))
    async with outbox:
        await until(lambda: reader.types == ["typing"])
        reply.append(text("text that has to wait"))
        outbox.changed.set()
        for _ in range(10):  # now it waits for the window, and for news
            await asyncio.sleep(0)
        outbox.changed.set()
        outbox.give_up()
        await asyncio.wait({outbox.sending}, timeout=PATIENCE_S)
        assert outbox.sending.cancelled()


async def test_an_error_that_is_no_refusal_comes_out_of_the_block() -> None:
    async def broken(_: bytes) -> None:
        raise ZeroDivisionError

    reply = Reply("r1")
    outbox = made(reply, broken)

    async def scenario() -> None:
        async with outbox:
            outbox.end(LAST)

    with pytest.raises(ZeroDivisionError):
        await scenario()


async def test_the_time_to_the_first_text_is_taken() -> None:
    reader = Reader(post_s=0.02)

    async with writing(reader) as writer:
        await asyncio.sleep(0.05)
        assert writer.outbox.first_text_s is None
        writer.write("text")
        await until(lambda: reader.texts == ["text"])
        writer.write("more")

    assert 0.0699 <= (writer.outbox.first_text_s or 0.0) < 1


async def test_readers_of_different_speed_do_not_wait_for_each_other() -> None:
    slow, fast = Reader(post_s=0.3), Reader()
    reply = Reply("r1")
    outboxes = [made(reply, reader) for reader in (slow, fast)]

    async with outboxes[0], outboxes[1]:
        reply.append(text("text"))
        for outbox in outboxes:
            outbox.changed.set()
        await until(lambda: fast.texts == ["text"])
        assert slow.posts == []
        reply.complete(ENDING)
        for outbox in outboxes:
            outbox.end(LAST)

    assert assembled(slow.frames) == assembled(fast.frames) == "text"


async def test_parts_go_out_in_their_order_each_with_what_describes_it() -> None:
    reader = Reader()

    async with writing(reader) as writer:
        writer.say(thought("Hm, "))
        writer.say(thought("well."))
        writer.write("Let me see. ")
        writer.say(TOOL)
        writer.write("Yes")
        writer.write(".")
        writer.say(Cited("https://a.example/", "A", 4))

    told = [
        {name: frame[name] for name in frame if name not in ("timestamp", *STREAM.fields())} for frame in reader.frames
    ]
    assert told == [
        {"type": "typing", "content": "", "id": "m1"},
        {"type": "reasoning", "content": "Hm, well.", "part": 0, "offset": 0},
        {"type": "message", "content": "Let me see. ", "part": 1, "offset": 9},
        {
            "type": "tool",
            "content": "{}",
            "part": 2,
            "offset": 21,
            "call": "c1",
            "name": "clock",
            "by": "model",
            "size": 2,
        },
        {"type": "message", "content": "Yes.", "part": 3, "offset": 23},
        {
            "type": "source",
            "content": "https://a.example/",
            "part": 4,
            "offset": 27,
            "size": 18,
            "title": "A",
            "from": 23,
            "to": 27,
        },
        {"type": "last", "content": ""},
    ]
    assert {name: reader.frames[1][name] for name in ("conversation", "reply", "epoch")} == STREAM.fields()


async def test_thoughts_gather_like_text() -> None:
    reader = Reader(post_s=0.02)

    async with writing(reader, VERSION_1.pacing) as writer:
        for _ in range(50):
            writer.say(thought("hm "))
            await asyncio.sleep(0.005)
        await until(lambda: "".join(frame["content"] for frame in reader.frames) == "hm " * 50)
        assert not writer.reply.has_ended

    starts = [post.started_s for post in reader.posts[1:-1]]
    assert reader.most_under_way == 1
    assert 3 <= len(starts) <= 25
    assert min(b - a for a, b in pairwise(starts)) >= 0.0399


async def test_a_whole_part_does_not_wait_for_the_interval() -> None:
    reader = Reader()

    async with writing(reader, Pacing(min_interval_s=600, quiet_s=0)) as writer:
        await until(lambda: len(reader.posts) == 1)
        writer.say(TOOL)
        await until(lambda: reader.types == ["typing", "tool"])
        writer.write("Let me see. ")
        writer.say(TOOL)
        await asyncio.sleep(0.05)
        assert reader.types == ["typing", "tool"]
        assert not writer.reply.has_ended


async def test_nothing_of_any_part_is_lost_when_posts_fail() -> None:
    reader = Reader()

    async with writing(reader) as writer:
        await until(lambda: len(reader.posts) == 1)
        reader.refuse(NotDelivered(), Throttled())
        writer.say(thought("kept"))
        writer.say(TOOL)
        writer.write("Good morning")

    assert reader.types == ["typing", "reasoning", "tool", "message", "last"]
    assert assembled(reader.frames) == "kept{}Good morning"


async def test_a_long_part_goes_out_in_frames_that_each_say_how_long_it_is() -> None:
    reader, found = Reader(), '"早' * 20_000

    async with writing(reader) as writer:
        writer.say(Piece("tool_result", found, {"call": "c1", "is_error": False}))

    frames = reader.frames[1:-1]
    assert len(frames) > 2
    assert {(frame["part"], frame["size"], frame["call"]) for frame in frames} == {(0, 40_000, "c1")}
    assert max(len(post.frame) for post in reader.posts) <= 31 * 1024
    assert assembled(reader.frames) == found


async def test_the_builderos_app_gets_the_texts_alone() -> None:
    reader, reply = Reader(), Reply("r1")
    sender = Sender(reader, FAST, Liveness(math.inf))
    outbox = Outbox(reply, STREAM, [FIRST], sender, BUILDEROS)
    async with outbox:
        for written in (thought("Hm"), text("Good "), TOOL, text("morning")):
            reply.append(written)
        reply.complete(ENDING)
        outbox.end(LAST)

    assert [(frame["type"], frame["content"]) for frame in reader.frames] == [
        ("typing", ""),
        ("message", "Good "),
        ("message", "morning"),
        ("last", ""),
    ]
    assert all("part" not in frame for frame in reader.frames)
