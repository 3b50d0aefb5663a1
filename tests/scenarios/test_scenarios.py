"""Every scenario once that takes a few seconds. `make nightly` plays them all, thrice."""

from collections.abc import Callable

import pytest

from tests.conftest import Relay
from tests.scenarios import deaths, measures, plays, queues
from tests.scenarios.plays import SCENARIOS, Scenario, name_of, run
from tests.scenarios.stage import GATEWAY

LONG = (
    measures.live_resumes_are_timed,
    measures.cancels_are_timed,
    plays.a_reconnect_storm,
    deaths.a_worker_is_killed_at_a_heartbeat,
    deaths.a_worker_is_killed_at_any_call,
    deaths.no_worker_can_start,
    deaths.silent_workers_are_taken_for_dead,
    plays.answers_of_dynamodb_are_lost,
    plays.dynamodb_is_throttled,
    plays.nothing_goes_wrong,
    plays.the_model_breaks_off,
    queues.a_message_that_waits_is_cancelled,
    queues.a_queue_of_ten_messages_from_one_device,
    queues.a_queue_of_ten_messages_from_two_devices,
    queues.a_queue_outlives_a_deadline,
    queues.two_workers_race_for_the_lease,
)


@pytest.fixture(scope="module")
def faulty(start_relay: Callable[..., Relay]) -> Relay:
    """A deployment whose faults are changed at run time."""
    return start_relay(*GATEWAY)


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each not in LONG], ids=name_of)
async def test_nothing_is_lost(faulty: Relay, scenario: Scenario) -> None:
    row = await run(scenario, faulty, seed=1, scale=0.1)
    assert row.clean, row
