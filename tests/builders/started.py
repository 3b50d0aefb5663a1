"""Programs that say on one of their streams when they are ready."""

import queue
import re
import subprocess
import threading
from typing import IO

import pytest


def until_ready(
    process: subprocess.Popen[str], stream: IO[str] | None, ready: re.Pattern[str], within_s: float
) -> tuple[str, list[str]]:
    """What `ready` captures in the first line that it is found in; and the lines of `stream`, which go on growing.

    A program that is not ready in time is killed, and fails the test with what it has written.
    """
    assert stream is not None
    log: list[str] = []
    found: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_follow, args=(stream, ready, log, found), daemon=True).start()
    try:
        return found.get(timeout=within_s), log
    except queue.Empty:
        process.kill()
        pytest.fail(f"{process.args!r} did not start:\n" + "\n".join(log))


def _follow(stream: IO[str], ready: re.Pattern[str], log: list[str], found: "queue.Queue[str]") -> None:
    with stream:
        for line in stream:
            log.append(line.rstrip())
            if match := ready.search(line):
                found.put(match[1])
