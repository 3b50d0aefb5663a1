"""What each frame and each HTTP call may cost in calls of AWS. A deployment with a fault plan sees them all."""

import pytest

from tests.bench.round_trips import ROWS, TRIES, Row, Stage
from tests.builders.deployments import Relay


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_it_costs_no_more_than_it_may(faulty: Relay, row: Row) -> None:
    async with Stage.opened(faulty) as stage:
        costs = []
        for _ in range(TRIES):
            costs.append(await row.count(stage))
            if costs[-1].within(row.ceiling):
                return
    pytest.fail(f"{row.name} costs {costs}, and {row.ceiling} is the most")
