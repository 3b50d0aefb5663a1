"""Every scenario once, but for those that only measure. `make scenarios` plays them oftener, with other seeds."""

from collections.abc import Callable

import pytest

from tests.conftest import Relay
from tests.scenarios import measures
from tests.scenarios.plays import SCENARIOS, Scenario, name_of, run
from tests.scenarios.stage import GATEWAY

MEASURES = (measures.live_resumes_are_timed, measures.cancels_are_timed)


@pytest.fixture(scope="module")
def faulty(start_relay: Callable[..., Relay]) -> Relay:
    """A deployment whose faults are changed at run time."""
    return start_relay(*GATEWAY)


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each not in MEASURES], ids=name_of)
async def test_nothing_is_lost(faulty: Relay, scenario: Scenario) -> None:
    row = await run(scenario, faulty, seed=1, scale=0.1)
    assert row.clean, row
