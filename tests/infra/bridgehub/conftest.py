import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra.bridgehub.sidecars import BRIDGEHUB, HERE, Sidecar, starting


@pytest.fixture(scope="session")
def start_sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Sidecar]]:
    """Starts further sidecars: see ``starting``."""
    with starting(tmp_path_factory.mktemp("sidecars")) as start:
        yield start


@pytest.fixture(scope="session")
def bridgehub(start_sidecar: Callable[..., Sidecar]) -> Sidecar:
    """The sidecar that most tests share, in front of BridgeHub."""
    return start_sidecar(*BRIDGEHUB, "--calls", "8")


@pytest.fixture(scope="session")
def single(start_sidecar: Callable[..., Sidecar]) -> Sidecar:
    """One that takes a single call at once, and is idle between tests."""
    return start_sidecar(*BRIDGEHUB, "--calls", "1")


@pytest.fixture(scope="session")
def codex_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands in for the executable ``codex``."""
    program = tmp_path_factory.mktemp("codex") / "codex"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "codex.py"}" "$@"\n')
    program.chmod(0o755)
    return program


@pytest.fixture(scope="session")
def codex(start_sidecar: Callable[..., Sidecar], codex_program: Path) -> Sidecar:
    """A sidecar in front of Codex itself."""
    return start_sidecar("--codex", str(codex_program), "--calls", "8")
