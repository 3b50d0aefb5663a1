"""One connection's way out: one post in flight, everything that gathered meanwhile in the next one.

This is not the transactional outbox pattern: nothing in an outbox is stored. A reply grows without waiting for any
outbox, so a slow reader slows nobody: neither the model nor another connection. A connection that is gone ends its
outbox and nothing else.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Self

from chatrelay.delivery.sender import Sender
from chatrelay.domain.cursor import Cursor
from chatrelay.domain.errors import Gone, Unreachable
from chatrelay.domain.keys import StreamId
from chatrelay.domain.log import Part
from chatrelay.domain.reply import Reply
from chatrelay.wire import outbound
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.outbound import Outbound


class Outbox:
    """One reply on its way to one connection: its first frames, its log as it grows, then its last frame.

    Run it as ``async with``: leaving the block waits until everything has gone out or the connection is gone; leaving
    it by an exception gives up what is left. `offset` is how much of the log the connection has, in UTF-16 code units.
    `changed` is to be set when the log has more, or the reply has ended.
    """

    def __init__(
        self,
        reply: Reply,
        stream: StreamId,
        first: Sequence[Outbound],
        sender: Sender,
        dialect: Dialect,
        *,
        offset: int = 0,
    ) -> None:
        self.sender = sender
        self.changed = asyncio.Event()
        self.closed = False
        self.unreachable = False
        self.first_text_s: float | None = None
        self._reply = reply
        self._stream = stream
        self._first = first
        self._dialect = dialect
        self._cursor = Cursor.at(reply.log, offset, dialect.kinds)
        self._room_bytes = partial(outbound.room_bytes, stream)
        self._last: Outbound | None = None
        self._began_s = 0.0

    async def __aenter__(self) -> Self:
        self._began_s = asyncio.get_running_loop().time()
        self.sending = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.give_up()
        # Awaiting the task itself would raise its cancellation here, as if it were the caller's.
        await asyncio.wait({self.sending})
        if kind is None and not self.sending.cancelled():
            self.sending.result()  # whatever `_run` does not expect is a fault of ours, and must be heard

    def give_up(self) -> None:
        """Send nothing more."""
        self.sending.cancel()  # a post that is on its thread cannot be stopped, and may still arrive

    @property
    def reader_left(self) -> bool:
        """Whether the connection did not get everything."""
        return self.closed or self.unreachable or self.sending.cancelled()

    def end(self, last: Outbound) -> None:
        """Send the frame `last` after the log as it is, and nothing after it."""
        self._last = self._dialect.ending(last, self._reply.log)
        self.changed.set()

    async def _run(self) -> None:
        try:
            for frame in self._first:
                await self._send(frame)
            while self._next_part is not None or self._last is None:
                if self._next_part is None:
                    await self._change(None)
                    continue
                await self._may_send()
                # What does not arrive is taken again, with what has gathered since.
                stretch = self._cursor.next_stretch(self._reply.log, self._room_bytes)
                assert stretch is not None  # noqa: S101 - for nothing leaves a log
                if await self.sender.send(self._dialect.adapt(outbound.part(self._stream, stretch))):
                    self._cursor.advance(stretch)
                    if stretch.part.kind == "message" and self.first_text_s is None:
                        self.first_text_s = asyncio.get_running_loop().time() - self._began_s
            await self._send(self._last)
        except Gone:
            self.closed = True
        except Unreachable:
            self.unreachable = True

    @property
    def _next_part(self) -> Part | None:
        return self._cursor.next_part(self._reply.log)

    @property
    def _gathers(self) -> bool:
        """Whether there may be more for the next frame in a moment."""
        part = self._next_part
        return not self._reply.has_ended and (part is None or part.grows)

    async def _send(self, frame: Outbound) -> None:
        """Send a frame that must arrive, again if need be."""
        await self._may_send()
        while not await self.sender.send(frame):
            await self._may_send()

    async def _may_send(self) -> None:
        """Wait until the next post may start. What comes meanwhile may wait for less: a whole part, or the end."""
        while wait_s := self.sender.wait_s(ending=not self._gathers):
            await self._change(wait_s)

    async def _change(self, timeout_s: float | None) -> None:
        self.changed.clear()  # nothing was awaited since the caller looked, so no change is lost here
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # `wait_for` may swallow a cancellation before Python 3.12
                await self.changed.wait()
