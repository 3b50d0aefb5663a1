"""Runs the tests of the JavaScript, which need Node and no browser: the page's and its client's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

NODE = shutil.which("node")
HERE = Path(__file__).parent
TESTS = sorted(path for room in (HERE, HERE.parent / "clients") for path in room.rglob("*.test.mjs"))


@pytest.mark.skipif(NODE is None and "CI" not in os.environ, reason="no Node on this machine; CI has one")
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_a_module(path: Path) -> None:
    assert NODE is not None
    run = subprocess.run([NODE, "--test", path], capture_output=True, text=True, check=False)  # noqa: S603

    assert run.returncode == 0, run.stdout + run.stderr
