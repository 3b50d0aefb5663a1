"""Workers that do not start, whose call is given up, or that print what nobody can read."""

import asyncio
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from emulator.lambda_.environments import Environment, Outcome, Pool
from emulator.limits import Limits
from emulator.project import plugin
from emulator.template.functions import Function

TOO_LONG = 2 * 1024 * 1024


def function(code: Path) -> Function:
    return Function("f", "arn", "app.handler", "python3.13", code, (), {}, 3, 128, None, {}, False, False, {})


def descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.mark.parametrize(
    ("folder", "variables"), [("gone", {}), (".", {"A=B": "x"}), (".", {"A": "\0"}), (".", {"A": "\ud800"})]
)
async def test_a_worker_that_cannot_be_spawned_is_a_failure_and_leaves_nothing(
    tmp_path: Path, folder: str, variables: Mapping[str, str]
) -> None:
    pool = Pool(function(tmp_path / folder), lambda _: variables, Limits(), lambda _: None)
    outcome = await pool.run("$LATEST", "1", "arn", b"{}")
    before = descriptors()
    for _ in range(3):
        outcome = await pool.run("$LATEST", "1", "arn", b"{}")
    assert outcome.error_document()["errorType"] == "Runtime.InvalidEntrypoint"
    assert descriptors() == before


async def test_a_worker_whose_call_is_given_up_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def start(_: Environment, __: str) -> Outcome | None:
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(Environment, "start", start)
    pool = Pool(function(tmp_path), lambda _: {}, Limits(), lambda _: None)
    before = descriptors()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await pool.run("$LATEST", "1", "arn", b"{}")
    assert descriptors() == before


async def test_what_cannot_be_read_of_a_workers_output_hides_nothing_that_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failed = {"message": "reply failed", "reason": "model", "service_said": {"status": 401, "sentence": ""}}
    said = [
        failed,
        {**failed, "agent": "claude", "reason": ["model"]},
        {"message": "reply ended", "status": "complete", "length": "many", "posts": 1},
    ]
    monkeypatch.setattr(logging.getLogger("emulator"), "propagate", True)
    environment = Environment(function(tmp_path), "1", {}, Limits(), plugin("127.0.0.1:8080", {}).sentence)
    output = asyncio.StreamReader(limit=TOO_LONG // 2)
    reading = asyncio.create_task(environment.repeat(output))
    with caplog.at_level(logging.INFO, "emulator"):
        for line in (*map(json.dumps, said), "x" * TOO_LONG, "[ERROR] heard"):
            output.feed_data(f"{line}\n".encode())
            await asyncio.sleep(0)
        output.feed_eof()
        await reading
    await environment.stop()
    assert caplog.messages[-1].endswith("[ERROR] heard")
