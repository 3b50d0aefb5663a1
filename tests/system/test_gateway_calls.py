"""As it is deployed by default: API Gateway itself calls the function that answers; and what its terminal shows.

Without `--verbose`, that is what whoever runs the gateway reads.
"""

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from emulator.stand_ins.script import answer, refuse
from tests.builders.deployments import Relay
from tests.builders.phone import Phone
from tests.infra.bridgehub.sidecars import eventually
from tests.system.test_chat import streams


@pytest.fixture
def relay(gateway_relay: Relay) -> Relay:
    return gateway_relay


async def told_of(relay: Relay, prompt: str, conversation: str) -> list[str]:
    """The lines about the reply to `prompt`, and whatever else came meanwhile but the starts of functions."""
    began = len(relay.log)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask(prompt, id="m1", conversation=conversation)
    await eventually(lambda: any("closed" in line for line in relay.log[began:]))
    await eventually(lambda: any("  reply " in line for line in relay.log[began:]))
    return [line for line in relay.log[began:] if not line.endswith(("  cold", "open on v1")) and "closed" not in line]


async def test_a_reply_streams_in_pieces_and_proves_itself(relay: Relay, conversation: str) -> None:
    await streams(relay, conversation)


async def test_no_key_at_all_gets_401_where_the_first_frame_may_not_bring_it(relay: Relay) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(relay.websocket):
            pass
    assert refused.value.response.status_code == 401


async def test_a_reply_is_one_line(relay: Relay, conversation: str) -> None:
    relay.plays("Go on for long", answer("A word. " * 200, delta_chars=80))
    (line,) = await told_of(relay, "Go on for long", conversation)
    assert "reply complete: 1,600 characters in " in line


async def test_a_key_that_is_refused_is_one_line_that_says_what_to_do(relay: Relay, conversation: str) -> None:
    relay.plays("Refuse me", refuse(401, message="invalid x-api-key\n\x1b[2J"))
    (line,) = await told_of(relay, "Refuse me", conversation)
    assert "reply failed (401): Anthropic refused the key of this relay. Check ANTHROPIC_API_KEY and start" in line
    assert line.endswith('Its service said: "invalid x-api-key\\n\\x1b[2J"')


def test_what_is_kept_is_said(relay: Relay) -> None:
    assert any(line.startswith("Kept in memory only, and gone when this ends: ") for line in relay.log)
