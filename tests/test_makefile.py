"""What `make run` does on machines whose Python cannot make environments."""

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
WITHOUT_PIP = 'case "$*" in *venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; exit 1;; esac'
"""As Debian's without python3-venv: it begins an environment, and gives up when it comes to pip."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A clone, as far as `make` looks at it."""
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for lock in ("layers/dependencies", "emulator"):
        (tmp_path / lock).mkdir(parents=True)
        (tmp_path / lock / "requirements.txt").touch()
    return tmp_path


def make(tree: Path, python: str) -> str:
    """What it says when it fails."""
    (tree / "python").write_text(f"#!/bin/sh\n{python}\n")
    (tree / "python").chmod(0o755)
    ended = subprocess.run(["make", "run", "PYTHON=./python"], cwd=tree, capture_output=True, text=True, check=False)  # noqa: S607
    assert ended.returncode != 0
    return ended.stdout


def test_an_environment_that_failed_is_removed_and_the_cure_said(tree: Path) -> None:
    assert "apt install python3-venv" in make(tree, WITHOUT_PIP)
    assert not (tree / ".venv").exists()


def test_an_environment_that_cannot_be_used_is_removed(tree: Path) -> None:
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / ".venv" / "bin" / "python").symlink_to("/bin/false")
    assert "has been removed" in make(tree, "true")
    assert not (tree / ".venv").exists()
