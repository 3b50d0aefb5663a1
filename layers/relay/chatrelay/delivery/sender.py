"""Where posts leave: on threads of their own, and only while their worker is known to be alive."""

import asyncio
from concurrent.futures import Executor
from datetime import UTC, datetime

from chatrelay.aws.management_api import ManagementApi
from chatrelay.delivery.liveness import Liveness
from chatrelay.domain.errors import NotDelivered
from chatrelay.wire.frames import Outbound


class Sender:
    """Posts the frames of one reply. `threads` are for posts alone: one that hangs must keep no heartbeat waiting."""

    def __init__(self, api: ManagementApi, liveness: Liveness, threads: Executor) -> None:
        self._api = api
        self._liveness = liveness
        self._threads = threads

    async def post(self, connection_id: str, frame: Outbound) -> None:
        """Post `frame` to one connection. Raise ``Gone``, ``Throttled`` or ``NotDelivered``.

        Post nothing while the worker may have been declared dead: the reply may be somebody else's by now.
        """
        if self._liveness.is_doubtful:
            raise NotDelivered("until the worker is heard again")
        encoded = frame.encode(datetime.now(UTC))
        await asyncio.get_running_loop().run_in_executor(self._threads, self._api.post, connection_id, encoded)
