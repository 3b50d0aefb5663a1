"""Everybody who reads along while a reply is written: one outbox a connection, so nobody waits for anybody."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Self

from chatrelay.delivery.outbox import Outbox
from chatrelay.domain.keys import StreamId
from chatrelay.domain.reply import Aside, Reply
from chatrelay.wire.dialect import Dialect, Pacing
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.frames import Outbound

PostTo = Callable[[str, bytes], Awaitable[None]]
"""Delivers one frame to the connection of that id. Raises ``Gone``, ``Throttled`` or ``NotDelivered``."""


class Broadcast:
    """The outboxes of one reply, by connection.

    Run it as ``async with``: leaving the block waits until everybody has everything or is gone; leaving it by an
    exception gives up what is left.
    """

    def __init__(self, reply: Reply, stream: StreamId, post: PostTo) -> None:
        self.outboxes: dict[str, Outbox] = {}
        self._dialects: dict[str, Dialect] = {}
        self._last: Outbound | None = None
        self._reply = reply
        self._origin = stream
        self._post = post
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._running.__aexit__(*exception)  # type: ignore[arg-type]  # as the interpreter passes it

    async def join(
        self,
        connection_id: str,
        first: Sequence[Outbound],
        pacing: Pacing,
        offset: int = 0,
        *,
        dialect: Dialect = VERSION_1,
    ) -> None:
        """Lets a connection read along from UTF-16 `offset` on. One that joins again begins again, there.

        It hears of what the model does beside its text from now on, unless it is the BuilderOS app: that ignores
        asides, and each would cost it a quiet time.
        """
        if (earlier := self.outboxes.get(connection_id)) is not None:
            earlier.give_up()
        post = partial(self._post, connection_id)
        outbox = Outbox(self._reply, self._origin, first, post, pacing, offset=offset)
        self._dialects[connection_id] = dialect
        if self._last is not None:
            outbox.end(dialect.adapt(self._last))
        self.outboxes[connection_id] = await self._running.enter_async_context(outbox)

    def wake(self) -> None:
        """The reply has more text, or has ended."""
        for outbox in self.outboxes.values():
            outbox.wake()

    def tell(self, aside: Aside) -> None:
        """The model did this beside its text, after all that the reply has."""
        for connection_id, outbox in self.outboxes.items():
            if self._dialects[connection_id].shows_asides:
                outbox.tell(aside)

    def end(self, last: Outbound) -> None:
        """Nothing follows the text that is there but the frame `last`."""
        self._last = last
        for connection_id, outbox in self.outboxes.items():
            outbox.end(self._dialects[connection_id].adapt(last))

    async def served(self, within_s: float, among: Collection[str] | None = None) -> bool:
        """Whether everybody, or the connections `among` them, has everything or is gone, after so many seconds."""
        chosen = self.outboxes.keys() if among is None else self.outboxes.keys() & among
        sending = [self.outboxes[connection_id].sending for connection_id in chosen]
        _, pending = await asyncio.wait(sending, timeout=within_s) if sending else ((), ())
        return not pending

    def give_up(self) -> None:
        """Nobody gets anything more."""
        for outbox in self.outboxes.values():
            outbox.give_up()
