"""What each frame and each HTTP call may cost in calls of AWS. A deployment with a fault plan sees them all."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.bench.round_trips import ROWS, TRIES, Row, Stage
from tests.builders.deployments import Relay

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(faulty: Relay) -> AsyncIterator[Stage]:
    async with Stage.opened(faulty) as stage:
        yield stage


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_it_costs_no_more_than_it_may(stage: Stage, row: Row) -> None:
    costs = []
    for _ in range(TRIES):
        costs.append(await row.count(stage))
        if costs[-1].within(row.ceiling):
            return
    pytest.fail(f"{row.name} costs {costs}, and {row.ceiling} is the most")
