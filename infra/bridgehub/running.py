"""Processes that are gone, with everything they have started, when they are not needed any more."""

import asyncio
import logging
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from infra.bridgehub.clis import Command, last_words

# No answer is longer than this; many are longer than the 64 KB that a stream reader takes by itself.
LINE_BYTES = 16 * 1024 * 1024
STDERR_BYTES = 8 * 1024  # so much of the end of its standard error is kept
LOOK_S = 1.0  # after so long a silence, whether the process is still there
GRACE_S = 2.0  # how long a process has to leave by itself, and then again, once it is told to end

logger = logging.getLogger("infra.bridgehub")


class Running:
    """A process that is running, and what it writes."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._stderr = b""
        self._heard = asyncio.create_task(self._hear())

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the lines that the process writes until its end.

        Raise ``ValueError`` for a line that is longer than ``LINE_BYTES``.
        """
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    line = await self.process.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
            except TimeoutError:
                # What it has started may hold the pipe open for longer than it lives.
                if self.process.returncode is not None:
                    return
                continue
            if not line:
                return
            yield line

    async def last_words(self) -> str:
        """Return what the process said last on its standard error, once it has ended; empty if nothing."""
        await asyncio.wait({self._heard}, timeout=LOOK_S)
        return last_words(self._stderr)

    async def leave(self) -> None:
        """Let the process leave by itself, for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self.process.wait()

    async def end(self) -> None:
        """End the process and all that it has started."""
        try:
            self._signal(signal.SIGTERM)
            await self.leave()
        finally:  # without grace when the task is cancelled again meanwhile
            self._signal(signal.SIGKILL)
            self._heard.cancel()

    async def _hear(self) -> None:
        while heard := await self.process.stderr.read(STDERR_BYTES):  # type: ignore[union-attr]  # it is a pipe
            logger.debug("%r", heard)
            self._stderr = (self._stderr + heard)[-STDERR_BYTES:]

    def _signal(self, number: signal.Signals) -> None:
        # macOS forbids it when all of the group that is left is dead.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)


@asynccontextmanager
async def running(command: Command) -> AsyncIterator[Running]:
    """Run a command in a process group of its own that ends with the block. Raise ``OSError`` if it cannot start.

    After a block that ends in order, the process has a while to leave by itself.
    """
    with tempfile.TemporaryFile() as stdin:
        stdin.write(command.stdin)
        stdin.seek(0)
        process = await asyncio.create_subprocess_exec(
            *command.arguments, stdin=stdin, stdout=PIPE, stderr=PIPE, limit=LINE_BYTES, process_group=0
        )
    call = Running(process)
    try:
        yield call
        await call.leave()
    finally:
        await call.end()
