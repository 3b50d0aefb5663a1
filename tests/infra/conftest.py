"""The operator's commands against a deployed stack."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from emulator.account import REGION
from emulator.services.services import Services, running
from tests.builders.deployments import CREDENTIALS

STORAGE = Path(__file__).parents[2] / "infra" / "storage.yaml"
STACKS = ("chat-relay", "earlier")


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture(scope="session")
def deployed() -> Iterator[Services]:
    """AWS, with the storage as the stack ``chat-relay``, and as what an earlier one has left. Outputs are as ours."""
    with running(CREDENTIALS) as services:
        for name in STACKS:
            services.client("cloudformation").create_stack(StackName=name, TemplateBody=STORAGE.read_text())
        yield services


@pytest.fixture
def run(deployed: Services, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls a command's ``main`` with what the shell has, and its arguments."""
    shell = {**CREDENTIALS.variables, "AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}
    for name, value in {**shell, "AWS_ENDPOINT_URL": deployed.endpoint}.items():
        monkeypatch.setenv(name, value)

    def call(main: Callable[[list[str]], int], *arguments: str) -> Ran:
        capsys.readouterr()
        return Ran(main(list(arguments)), *capsys.readouterr())

    return call
