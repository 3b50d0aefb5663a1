"""One connection's way out: one post in flight, everything that gathered meanwhile in the next one.

This is not the transactional outbox pattern: nothing in an outbox is stored. A reply grows without waiting for any
outbox, so a slow reader slows nobody: neither the model nor another connection. A connection that is gone ends its
outbox and nothing else.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from chatrelay.delivery.asides import Asides
from chatrelay.delivery.pacing import Cursor
from chatrelay.delivery.sender import Sender
from chatrelay.domain.errors import Gone, Unreachable
from chatrelay.domain.keys import StreamId
from chatrelay.domain.reply import Aside, Reply
from chatrelay.wire import outbound
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.outbound import Outbound


class Outbox:
    """One reply on its way to one connection: its first frames, its text as it grows, then its last frame.

    Asides go out between, each at its place in the text and once: one that fails is not repeated. Text waits for no
    aside's interval, only for the posts of those that come before it, at most ``MOST_WAITING`` for a slow reader.

    Run it as ``async with``: leaving the block waits until everything has gone out or the connection is gone; leaving
    it by an exception gives up what is left. `offset` is how much of the text the connection has, in UTF-16 code units.
    `changed` is to be set when the reply has more text, or has ended.
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
        self._cursor = Cursor.at(reply.text, offset)
        self._room_bytes = outbound.message_room_bytes(stream)
        self._asides = Asides(self._room_bytes)
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

    def add_aside(self, aside: Aside) -> None:
        """Send what the model does beside its text, after all the text that there is, to a client that shows it."""
        if not self._dialect.shows_asides:
            return
        self._asides.add(len(self._reply.text), aside)
        self.changed.set()

    def end(self, last: Outbound) -> None:
        """Send the frame `last` after the text that there is, and nothing after it."""
        self._last = self._dialect.adapt(last)
        self.changed.set()

    async def _run(self) -> None:
        try:
            for frame in self._first:
                await self._send(frame)
            while self._last is None or self._has_text or self._asides.place is not None:
                wait_s = self._aside_wait_s()
                if wait_s == 0:
                    await self.sender.send(outbound.aside(self._stream, self._asides.take()), is_aside=True)
                elif not self._has_text:
                    await self._change(wait_s)
                else:
                    await self._may_send()
                    # A piece that does not arrive is taken again, with what has gathered since, up to the next aside.
                    piece = self._cursor.next_piece(self._reply.text[: self._asides.place], self._room_bytes)
                    if await self.sender.send(outbound.message(self._stream, piece.offset, piece.content)):
                        self._cursor.advance(piece)
                        self.first_text_s = self.first_text_s or asyncio.get_running_loop().time() - self._began_s
            await self._send(self._last)
        except Gone:
            self.closed = True
        except Unreachable:
            self.unreachable = True

    @property
    def _has_text(self) -> bool:
        return self._cursor.index < len(self._reply.text)

    def _aside_wait_s(self) -> float | None:
        """Return the seconds until the next aside may go out; None if none is due."""
        if self._asides.place is None or self._asides.place > self._cursor.index:
            return None
        if self._has_text or self._reply.has_ended:  # an aside must not hold back text
            return 0.0
        return self.sender.aside_wait_s()

    async def _send(self, frame: Outbound) -> None:
        """Send a frame that must arrive, again if need be."""
        await self._may_send()
        while not await self.sender.send(frame):
            await self._may_send()

    async def _may_send(self) -> None:
        """Wait until the next post may start. The end of the reply may come meanwhile, and waits for less."""
        while wait_s := self.sender.wait_s(ending=self._reply.has_ended):
            await self._change(wait_s)

    async def _change(self, timeout_s: float | None) -> None:
        self.changed.clear()  # nothing was awaited since the caller looked, so no change is lost here
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):  # `wait_for` may swallow a cancellation before Python 3.12
                await self.changed.wait()
