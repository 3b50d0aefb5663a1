"""Nothing that the gateway started outlives it."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.builders.serving import eventually, serving

linux = pytest.mark.skipif(sys.platform != "linux", reason="finds children in /proc, and the kernel ends them")


@linux
@pytest.mark.parametrize(
    "ending", [signal.SIGINT, signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)]
)
def test_every_process_ends_with_the_gateway(tmp_path: Path, ending: signal.Signals) -> None:
    with serving(tmp_path) as gateway:
        gateway.describe("local-Actor")
        busy = json.dumps({"mark": "busy", "do": {"sleep": 30}})
        gateway.lambda_client().invoke(FunctionName="local-Witness", InvocationType="Event", Payload=busy)
        gateway.recorded(lambda record: record["event"].get("mark") == "busy")
        children = _children(gateway.process.pid)
        assert len(children) == 3  # moto's server, an idle worker and a busy one
        gateway.process.send_signal(ending)
        status = gateway.process.wait(10)
    assert status == (0 if ending is not signal.SIGKILL else -signal.SIGKILL)
    eventually(lambda: not any(map(_runs, children)))


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in (thread / "children").read_text().split()]


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
