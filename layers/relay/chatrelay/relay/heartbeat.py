"""The writer's sign of life: twice a second it extends the lease, keeps what is written, and brings what others ask."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self

from chatrelay.delivery.broadcast import Broadcast
from chatrelay.delivery.liveness import Liveness
from chatrelay.domain.cursor import Cursor
from chatrelay.domain.errors import Unavailable
from chatrelay.domain.reply import Reply
from chatrelay.domain.usage import Used
from chatrelay.store.conversations import Accepted
from chatrelay.store.leases import HEARTBEAT_S, Signals
from chatrelay.store.store import Store
from chatrelay.wire import outbound
from chatrelay.wire.dialects import VERSION_1

JOURNAL_ENTRY_BYTES = 300_000
"""An item of DynamoDB has at most 400 KB."""


class Heartbeat:
    """The lease of one reply, kept as long as the ``async with`` block runs.

    `stop` is done when the worker is asked to stop, and raises ``Superseded`` when somebody has declared it dead.
    """

    def __init__(
        self,
        accepted: Accepted,
        reply: Reply,
        broadcast: Broadcast,
        liveness: Liveness,
        store: Store,
        used: Callable[[], Used],
    ) -> None:
        self._accepted = accepted
        self._reply = reply
        self._broadcast = broadcast
        self._liveness = liveness
        self._store = store
        self._used = used
        self._journaled = Cursor()
        self._attached: dict[str, int] = {}
        """The offsets of the resume requests that are answered and still in the lease, by connection."""

    async def __aenter__(self) -> Self:
        self.stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._beating = asyncio.create_task(self._beat())
        self._beating.add_done_callback(self._pass_failure_on)
        return self

    async def __aexit__(self, *_: object) -> None:
        # A write that is on its thread goes on and does no harm: journals have no fence, and a free lease no writer.
        self._beating.cancel()
        await asyncio.gather(self._beating, return_exceptions=True)
        self.stop.cancel()
        self._attached.clear()  # what is still in the lease when it is released is answered, whatever was before

    async def attach_resumers(self, signals: Signals) -> None:
        """Let in the connections that have asked, but no connection twice for the same question."""
        for connection_id, offset in signals.subscribers.items():
            if self._attached.get(connection_id) != offset:
                resumed = outbound.resumed(self._accepted.stream, self._accepted.send.id, offset)
                await self._broadcast.join(connection_id, VERSION_1, [resumed], offset)
                self._attached[connection_id] = offset

    async def _beat(self) -> None:
        key, epoch = self._accepted.key, self._accepted.stream.epoch
        now_s = asyncio.get_running_loop().time
        due_s = now_s()
        while True:
            due_s = max(due_s + HEARTBEAT_S, now_s())
            await asyncio.sleep(due_s - now_s())
            # Each alone: the next heartbeat may get through, long before the worker counts as dead.
            with suppress(Unavailable):
                asked_s = time.monotonic()
                signals = await asyncio.to_thread(self._store.leases.heartbeat, key, epoch, self._used())
                self._liveness.heard(asked_s)
                if signals.cancel and not self.stop.done():
                    self.stop.set_result(None)
                await self.attach_resumers(signals)
            with suppress(Unavailable):
                journaled = replace(self._journaled)
                if stretches := journaled.take(self._reply.log, JOURNAL_ENTRY_BYTES):
                    await asyncio.to_thread(self._store.replies.journal, self._reply.id, stretches)
                    self._journaled = journaled
            # After the joins: had the worker died before, its recovery would have answered these requests.
            with suppress(Unavailable):
                await asyncio.gather(*(self._clear_request(*asked) for asked in list(self._attached.items())))

    async def _clear_request(self, connection_id: str, offset: int) -> None:
        """Strike an answered request from the lease, so that the same one may be made again."""
        accepted = self._accepted
        await asyncio.to_thread(
            self._store.leases.clear_resume_request, accepted.key, accepted.stream.epoch, connection_id, offset
        )
        self._attached.pop(connection_id, None)

    def _pass_failure_on(self, beating: "asyncio.Task[None]") -> None:
        """Pass the heartbeat task's failure to whoever awaits `stop`."""
        if not beating.cancelled() and (problem := beating.exception()) is not None and not self.stop.done():
            self.stop.set_exception(problem)
            self.stop.exception()  # nobody may be waiting any more, and asyncio would log it as never retrieved
