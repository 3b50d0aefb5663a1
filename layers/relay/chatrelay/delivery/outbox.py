"""One connection's way out: one post in flight, everything that gathered meanwhile in the next one.

A reply is written to without waiting for any outbox, so a slow reader slows nobody: neither the model nor another
connection. A connection that is gone ends its outbox and nothing else.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Self

from chatrelay.delivery.asides import Asides
from chatrelay.delivery.pacing import Cursor, Window
from chatrelay.domain.errors import Gone, NotDelivered, Throttled, Unreachable
from chatrelay.domain.keys import StreamId
from chatrelay.domain.reply import Aside, Reply
from chatrelay.wire import frames
from chatrelay.wire.dialect import Pacing
from chatrelay.wire.frames import Outbound

Post = Callable[[Outbound], Awaitable[None]]
"""Posts one frame to one connection. Raises ``Gone``, ``Throttled`` or ``NotDelivered``."""

PATIENCE_S = 15.0
"""How long posts may fail in a row before the connection counts as gone: half of what a reply's orderly end has."""


class Outbox:
    """Send one reply to one connection: its first frames, its text as it grows, then its last frame.

    Asides go out between, each at its place in the text and once: one that fails is not repeated. Text waits for no
    aside's interval, only for the posts of those that come before it, at most ``MOST_WAITING`` for a slow reader.

    Run it as ``async with``: leaving the block waits until everything has gone out or the connection is gone; leaving
    it by an exception gives up what is left. `offset` is how much of the text the connection has, in UTF-16 code units.
    """

    def __init__(
        self,
        reply: Reply,
        stream: StreamId,
        first: Sequence[Outbound],
        post: Post,
        pacing: Pacing,
        *,
        offset: int = 0,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.posts = 0
        self.closed = False
        self.unreachable = False
        self.first_text_s: float | None = None
        self._reply = reply
        self._stream = stream
        self._first = first
        self._post = post
        self._cursor = Cursor.at(reply.text, offset)
        self._window = Window(pacing)
        self._aside_window = Window(pacing)
        self._patience_s = patience_s
        self._room_bytes = frames.message_room_bytes(stream)
        self._asides = Asides(self._room_bytes)
        self._last: Outbound | None = None
        self._failing_since_s: float | None = None
        self._began_s = 0.0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._began_s = asyncio.get_running_loop().time()
        self.sending = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.give_up()
        await asyncio.wait({self.sending})
        if kind is None and not self.sending.cancelled():
            self.sending.result()

    def give_up(self) -> None:
        """Send nothing more."""
        self.sending.cancel()

    @property
    def reader_left(self) -> bool:
        """The connection did not get everything."""
        return self.closed or self.unreachable or self.sending.cancelled()

    def wake(self) -> None:
        """Look at the reply again: it has more text, or has ended."""
        self._changed.set()

    def add_aside(self, aside: Aside) -> None:
        """Send what the model does beside its text, after all the text that there is."""
        self._asides.add(len(self._reply.text), aside)
        self._changed.set()

    def end(self, last: Outbound) -> None:
        """Send the frame `last` after the text that there is, and nothing after it."""
        self._last = last
        self._changed.set()

    async def _run(self) -> None:
        try:
            for frame in self._first:
                await self._send(frame)
            while self._last is None or self._has_text or self._asides.place is not None:
                await self._send_next()
            await self._send(self._last)
        except Gone:
            self.closed = True
        except Unreachable:
            self.unreachable = True

    async def _send_next(self) -> None:
        """Send what comes next: an aside whose place is reached, or text. Wait for a change if there is neither."""
        wait_s = self._aside_wait_s()
        if wait_s == 0:
            await self._deliver(frames.aside(self._stream, self._asides.take()), self._aside_window)
        elif self._has_text:
            await self._send_text()
        else:
            await self._change(wait_s)

    @property
    def _has_text(self) -> bool:
        return self._cursor.index < len(self._reply.text)

    def _aside_wait_s(self) -> float | None:
        """Return the seconds until the next aside may go out; None if none is due."""
        if self._asides.place is None or self._asides.place > self._cursor.index:
            return None
        if self._has_text or self._reply.has_ended:  # an aside must not hold back text
            return 0.0
        return self._aside_window.wait_s(asyncio.get_running_loop().time(), ending=False)

    async def _send_text(self) -> None:
        """Send one piece. One that does not arrive is taken again, with what has gathered since."""
        await self._window_opens()
        piece = self._cursor.next_piece(self._reply.text[: self._asides.place], self._room_bytes)
        if await self._deliver(frames.message(self._stream, piece.offset, piece.content), self._window):
            self._cursor.advance(piece)
            self.first_text_s = self.first_text_s or asyncio.get_running_loop().time() - self._began_s

    async def _send(self, frame: Outbound) -> None:
        """Send a frame that must arrive, again if need be."""
        await self._window_opens()
        while not await self._deliver(frame, self._window):
            await self._window_opens()

    async def _window_opens(self) -> None:
        """Wait until the next post may start. The end of the reply may come meanwhile, and waits for less."""
        now_s = asyncio.get_running_loop().time
        while wait_s := self._window.wait_s(now_s(), ending=self._reply.has_ended):
            await self._change(wait_s)

    async def _change(self, timeout_s: float | None = None) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()

    async def _deliver(self, frame: Outbound, window: Window) -> bool:
        """Post a frame once. Return whether it has arrived. Raise ``Gone``, and ``Unreachable`` after `patience_s`."""
        now_s = asyncio.get_running_loop().time
        started_s = now_s()
        self.posts += 1
        try:
            await self._post(frame)
        except (Throttled, NotDelivered) as problem:
            window.throttled(now_s())
            self._failing_since_s = started_s if self._failing_since_s is None else self._failing_since_s
            if now_s() - self._failing_since_s >= self._patience_s:
                raise Unreachable from problem
            return False
        self._failing_since_s = None
        window.posted(started_s, now_s())
        return True
