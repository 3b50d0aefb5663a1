"""What stands in front of the APIs, and what the command line says when it cannot serve."""

import subprocess
import sys
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from emulator.gateway.gateway import EdgePaths
from tests.builders.serving import REPOSITORY


async def routed(path: str, query: bytes) -> tuple[str, bytes]:
    """Return the path and the query that arrive behind the edge."""
    arrived: list[Scope] = []

    async def application(scope: Scope, _receive: Receive, _send: Send) -> None:
        arrived.append(scope)

    async def receive() -> Message:
        return {}

    async def send(_: Message) -> None:
        return

    scope: Any = {"type": "websocket", "path": path, "raw_path": path.encode(), "query_string": query}
    await EdgePaths(application, {"/api/claude/ws": "/v1?agent=claude", "/bare": "/v2"})(scope, receive, send)
    return arrived[0]["path"], arrived[0]["query_string"]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        ("/api/claude/ws", b"", ("/v1", b"agent=claude")),
        ("/api/claude/ws", b"a=b", ("/v1", b"a=b&agent=claude")),
        ("/api/claude/ws", b"agent=codex&a=", ("/v1", b"agent=claude&a=")),
        ("/bare", b"a=b", ("/v2", b"a=b")),
        ("/api/claude/ws/more", b"a=b", ("/api/claude/ws/more", b"a=b")),
        ("/v1", b"agent=codex", ("/v1", b"agent=codex")),
    ],
)
async def test_edge_path_is_rewritten_and_sets_its_own_parameters(
    path: str, query: bytes, expected: tuple[str, bytes]
) -> None:
    assert await routed(path, query) == expected


def test_limit_that_there_is_not_is_named() -> None:
    command = [sys.executable, "-m", "emulator", "--port", "0", "--limit", "idle=1"]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    assert ended.returncode == 1
    assert "idle_s" in ended.stderr
    assert "Traceback" not in ended.stderr
