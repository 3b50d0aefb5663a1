"""The sidecar as a real process in front of what stands in for the command lines, and what tests ask it."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.builders.patience import PATIENCE_S
from tests.builders.started import until_ready

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
TOKEN = "the-token-of-the-tests"
READY = re.compile(r"Uvicorn running on (http://127\.0\.0\.1:\d+)")

NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None and "CI" not in os.environ, reason="no Node on this machine; CI has one")

BRIDGEHUB = ("--bridgehub", str(HERE / "bridgehub.js"))


@dataclass(frozen=True)
class Sidecar:
    """One that runs. `log` is what it has written, line by line."""

    url: str
    process: subprocess.Popen[str]
    log: list[str]

    async def ask(self, message: str, directory: Path | str = "/", token: str = TOKEN, **more: Any) -> httpx.Response:
        """The whole answer to a request, with other values in it if they are given."""
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=PATIENCE_S) as client:
            return await client.post("/v1/answers", json=request(message, directory) | more)

    async def health(self) -> Any:
        async with httpx.AsyncClient(base_url=self.url) as client:
            return (await client.get("/health")).raise_for_status().json()


def request(message: str, directory: Path | str) -> dict[str, Any]:
    """As the relay sends it."""
    return {
        "version": "bridgehub/1.0",
        "action": "freeform",
        "capsule": str(directory),
        "session": "talk",
        "payload": {
            "message": message,
            "intent": "mobile_codex_query",
            "direction": "claude_to_codex",
            "context": [{"title": "Full Conversation History", "role": "note", "content": "[]"}],
            "metadata": {"source": "builderos_mobile", "visibility": "full"},
        },
    }


@contextmanager
def starting(folder: Path) -> Iterator[Callable[..., Sidecar]]:
    """Starts sidecars with options of the command line; all end with the block."""
    (folder / "token").write_text(f"{TOKEN}\n")
    running: list[Sidecar] = []

    def start(*options: str) -> Sidecar:
        running.append(_start("--token-file", str(folder / "token"), "--port", "0", *options))
        return running[-1]

    yield start
    for sidecar in running:
        sidecar.process.terminate()
    for sidecar in running:
        assert sidecar.process.wait(PATIENCE_S) == 0, "it ends in order"


def _start(*options: str) -> Sidecar:
    command = [sys.executable, "-m", "infra.bridgehub", *options]
    process = subprocess.Popen(  # noqa: S603
        command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    url, log = until_ready(process, process.stderr, READY, PATIENCE_S)
    return Sidecar(url, process, log)


def codex_in(folder: Path) -> Path:
    """What stands in for the executable ``codex``."""
    program = folder / "codex"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "codex.py"}" "$@"\n')
    program.chmod(0o755)
    return program


async def eventually(probe: Callable[[], Any]) -> Any:
    """What `probe` gives, as soon as that is true."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := probe()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found


async def stayers(directory: Path) -> list[int]:
    """The processes of a call that stays: BridgeHub's own and its child's, as soon as both are there.

    Their file is taken away, so that nobody takes them for those of a later call.
    """
    pids = directory / "pids"
    written = await eventually(lambda: pids.exists() and pids.read_text().endswith("\n") and pids.read_text())
    pids.unlink()
    return [int(pid) for pid in written.split()]


async def gone(pids: list[int]) -> None:
    """Returns when none of the processes is there any more."""
    await eventually(lambda: not any(map(_lives, pids)))


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def idle(sidecar: Sidecar) -> None:
    """Returns when no call is under way."""
    async with asyncio.timeout(PATIENCE_S):
        while (await sidecar.health())["calls"] > 0:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
