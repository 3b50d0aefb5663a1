"""A scenario for each kind of fault, once. `make nightly` plays them all, thrice."""

from collections.abc import Callable

import pytest

from tests.builders.deployments import Relay
from tests.scenarios import deaths, plays, queues
from tests.scenarios.plays import Scenario, name_of, run
from tests.scenarios.stage import GATEWAY

SHORT = (
    deaths.a_worker_is_killed_at_any_event_of_the_model,
    deaths.a_worker_dies_when_its_reader_has_left,
    deaths.the_deadline_comes_in_mid_reply,
    plays.posts_are_repeated_and_reordered,
    plays.an_event_is_delivered_twice,
    plays.resume_against_completion,
    queues.a_queue_outlives_its_workers,
)


@pytest.fixture(scope="module")
def faulty(start_relay: Callable[..., Relay]) -> Relay:
    """A deployment whose faults are changed at run time."""
    return start_relay(*GATEWAY)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scenario", SHORT, ids=name_of)
async def test_nothing_is_lost(faulty: Relay, scenario: Scenario) -> None:
    row = await run(scenario, faulty, seed=1, scale=0.1)
    assert row.clean, row
