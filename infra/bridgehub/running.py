"""Processes that are gone, with everything they have started, when they are not needed any more."""

import asyncio
import os
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from infra.bridgehub.clis import Command

LINE_BYTES = 16 * 1024 * 1024
"""No answer is longer than this; many are longer than the 64 KB that a stream reader takes by itself."""
LOOK_S = 1.0
"""After so long a silence, whether the process is still there."""
GRACE_S = 2.0
"""How long a process has, once it is told to end."""


@asynccontextmanager
async def running(command: Command) -> AsyncIterator[Process]:
    """The command, in a process group of its own that ends with the block. Raises ``OSError`` if it cannot start."""
    with tempfile.TemporaryFile() as stdin:
        stdin.write(command.stdin)
        stdin.seek(0)
        process = await asyncio.create_subprocess_exec(
            *command.arguments, stdin=stdin, stdout=PIPE, limit=LINE_BYTES, process_group=0
        )
    try:
        yield process
    finally:
        await _end(process)


async def written(process: Process) -> AsyncIterator[bytes]:
    """The lines that it writes until its end. What it has started may hold the pipe open for longer."""
    while True:
        try:
            line = await asyncio.wait_for(process.stdout.readline(), LOOK_S)  # type: ignore[union-attr]  # it is a pipe
        except TimeoutError:
            if process.returncode is not None:
                return
            continue
        if not line:
            return
        yield line


async def _end(process: Process) -> None:
    """Also when the task is cancelled again meanwhile: then without grace."""
    try:
        _signal(process, signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await process.wait()
    finally:
        _signal(process, signal.SIGKILL)


def _signal(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS forbids it when all that is left of the group is dead
        os.killpg(process.pid, number)
