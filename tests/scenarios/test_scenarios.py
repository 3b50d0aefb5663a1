"""A scenario for each kind of fault, once. `make nightly` plays them all, thrice."""

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import Phone
from tests.scenarios import deaths, queues
from tests.scenarios.plays import Scenario, name_of, run

SHORT = (
    deaths.a_worker_is_killed_at_any_event_of_the_model,
    deaths.a_worker_dies_when_its_reader_has_left,
    deaths.the_deadline_comes_in_mid_reply,
    queues.a_queue_outlives_its_workers,
)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("scenario", SHORT, ids=name_of)
async def test_nothing_is_lost(faulty: Relay, scenario: Scenario) -> None:
    row = await run(scenario, faulty, seed=1, scale=0.1)
    assert row.clean, row


async def test_no_key_at_all_gets_401_where_the_first_frame_may_not_bring_it(faulty: Relay) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(faulty.websocket):
            pass
    assert refused.value.response.status_code == 401


async def test_a_failure_of_ours_is_told_with_a_number_to_find_it_by(faulty: Relay) -> None:
    """Though the function can read nothing at all."""
    failing = {"calls": [{"do": "throttle", "function": "ControlFunction"}]}
    async with (
        httpx.AsyncClient(base_url=f"http://{faulty.address}", timeout=PATIENCE_S) as client,
        Phone.connected(faulty.websocket, faulty.key) as phone,
    ):
        (await client.post("/_faults", json=failing)).raise_for_status()
        try:
            await phone.say({"action": "hello"})
            error = await phone.hear()
        finally:
            await client.delete("/_faults")
    assert (error["type"], error["code"], error["retryable"]) == ("error", "internal", True)
    assert "Traceback" not in error["content"]
    assert len(error["content"].removesuffix(".").split()[-1]) == 36
