from collections.abc import Callable, Iterator

import pytest

from tests.infra.bridgehub.sidecars import BRIDGEHUB, Sidecar, codex_in, starting


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
def codex(start_sidecar: Callable[..., Sidecar], tmp_path_factory: pytest.TempPathFactory) -> Sidecar:
    """A sidecar in front of Codex itself."""
    return start_sidecar("--codex", str(codex_in(tmp_path_factory.mktemp("codex"))), "--calls", "8")
