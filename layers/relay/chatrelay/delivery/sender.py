"""The posts to one connection: paced, counted, tried again with patience, and only while their worker is alive."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from chatrelay.delivery.liveness import Liveness
from chatrelay.delivery.pacing import Window
from chatrelay.domain.errors import NotDelivered, Throttled, Unreachable
from chatrelay.wire.dialect import Pacing
from chatrelay.wire.outbound import Outbound

Post = Callable[[bytes], Awaitable[None]]
"""Post one frame to one connection. Raise ``Gone``, ``Throttled`` or ``NotDelivered``."""

PATIENCE_S = 15.0
"""How long posts may fail in a row before the connection counts as gone: half of what a reply's orderly end has."""


class Sender:
    """The sender of frames to one connection, through `post`, one at a time."""

    def __init__(self, post: Post, pacing: Pacing, liveness: Liveness, *, patience_s: float = PATIENCE_S) -> None:
        self.posts = 0
        self._post = post
        self._liveness = liveness
        self._patience_s = patience_s
        self._window = Window(pacing)
        self._failing_since_s: float | None = None

    def wait_s(self, *, ending: bool) -> float:
        """Return the seconds until the next frame may start; `ending` if waiting gathers nothing more for it."""
        return self._window.wait_s(asyncio.get_running_loop().time(), ending=ending)

    async def send(self, frame: Outbound) -> bool:
        """Post a frame once, and return whether it has arrived. Raise ``Gone``; ``Unreachable`` after `patience_s`.

        Post nothing while the worker may have been declared dead: the reply may be somebody else's by now.
        """
        now_s = asyncio.get_running_loop().time
        started_s = now_s()
        self.posts += 1
        try:
            if self._liveness.is_doubtful:  # counts as a failed post, so patience ends this silence as well
                raise NotDelivered("until the worker is heard again")
            await self._post(frame.encode(datetime.now(UTC)))
        except (Throttled, NotDelivered) as problem:
            self._window.throttled(now_s())
            self._failing_since_s = started_s if self._failing_since_s is None else self._failing_since_s
            if now_s() - self._failing_since_s >= self._patience_s:
                raise Unreachable from problem
            return False
        self._failing_since_s = None
        self._window.posted(started_s, now_s())
        return True
