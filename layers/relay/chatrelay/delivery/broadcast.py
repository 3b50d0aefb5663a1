"""Everybody who reads along while a reply is written: one outbox a connection, so that nobody waits for anybody."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Executor
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

from chatrelay.delivery.liveness import Liveness
from chatrelay.delivery.outbox import Outbox
from chatrelay.delivery.sender import Sender
from chatrelay.domain.keys import StreamId
from chatrelay.domain.outcome import ReplyOutcome
from chatrelay.domain.reply import Reply
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.outbound import Outbound

PostTo = Callable[[str, bytes], None]
"""Post one frame to the connection of that id. Raise ``Gone``, ``Throttled`` or ``NotDelivered``."""


class Broadcast:
    """The outboxes of one reply, by connection.

    Posts go out on `threads`, by the synchronous `post`.

    Run it as ``async with``: leaving the block waits until everybody has everything or is gone; leaving it by an
    exception gives up what is left.
    """

    def __init__(self, reply: Reply, stream: StreamId, post: PostTo, threads: Executor, liveness: Liveness) -> None:
        self._reply = reply
        self._stream = stream
        self._post = post
        self._threads = threads
        self._liveness = liveness
        self._outboxes: dict[str, Outbox] = {}
        self._last: Outbound | None = None
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._running.__aexit__(*exception)  # type: ignore[arg-type]  # as the interpreter passes it

    async def join(self, connection_id: str, dialect: Dialect, first: Sequence[Outbound], offset: int = 0) -> None:
        """Let a connection read along: the frames `first`, then the log from UTF-16 `offset` on.

        A connection that joins again begins again, there.
        """
        if (earlier := self._outboxes.get(connection_id)) is not None:
            earlier.give_up()  # two outboxes would mix the log from two offsets
        # Not `asyncio.to_thread`: a post that hangs must keep no heartbeat waiting for a thread.
        on_threads: Callable[..., Awaitable[None]] = asyncio.get_running_loop().run_in_executor
        post = partial(on_threads, self._threads, self._post, connection_id)
        sender = Sender(post, dialect.pacing, self._liveness)
        outbox = Outbox(self._reply, self._stream, first, sender, dialect, offset=offset)
        if self._last is not None:  # requests to resume come after the end as well, until the lease is released
            outbox.end(self._last)
        self._outboxes[connection_id] = await self._running.enter_async_context(outbox)

    def has(self, connection_id: str) -> bool:
        """Return whether the connection reads along, or has done so."""
        return connection_id in self._outboxes

    def wake(self) -> None:
        """Tell the outboxes that the log has more, or the reply has ended."""
        for outbox in self._outboxes.values():
            outbox.changed.set()

    def end(self, last: Outbound) -> None:
        """Send the frame `last` after the log as it is, and nothing after it."""
        self._last = last
        for outbox in self._outboxes.values():
            outbox.end(last)

    async def drained(self, within_s: float, among: Collection[str] | None = None) -> bool:
        """Return whether, within so many seconds, everybody has everything or is gone: or those `among` them."""
        chosen = self._outboxes.keys() if among is None else self._outboxes.keys() & among
        sending = [self._outboxes[connection_id].sending for connection_id in chosen]
        # `wait` cancels nothing when its time is over: slow readers go on.
        _, pending = await asyncio.wait(sending, timeout=within_s) if sending else ((), ())
        return not pending

    def give_up(self) -> None:
        """Send nothing more to anybody."""
        for outbox in self._outboxes.values():
            outbox.give_up()

    @property
    def gone(self) -> list[str]:
        """The connections that a post has found closed."""
        return [connection_id for connection_id, outbox in self._outboxes.items() if outbox.closed]

    @property
    def outcome(self) -> ReplyOutcome:
        """How the reply went, once everything is over."""
        outboxes = self._outboxes.values()
        first_texts_s = [outbox.first_text_s for outbox in outboxes if outbox.first_text_s is not None]
        return ReplyOutcome(
            self._reply.status,
            self._reply.log.length,
            posts=sum(outbox.sender.posts for outbox in outboxes),
            readers_left=sum(outbox.reader_left for outbox in outboxes),
            first_text_s=min(first_texts_s, default=None),
        )
