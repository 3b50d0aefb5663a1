"""What is wrong gets an answer that names it, and harms nothing else.

Which answer each wrong frame, call and handshake gets, the recorded session has: ``scenes.doors``, ``questions`` and
``calls``; what a worker's death is told as, ``scenes.failures``.
"""

import json
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed

from tests.builders.deployments import Relay
from tests.builders.phone import Phone
from tests.infra.bridgehub.sidecars import eventually

SEND = {"action": "send", "id": "m1", "conversation": "c", "content": "hello"}


@pytest.mark.parametrize("frame", [json.dumps(SEND), "crk_wrong"])
async def test_a_burst_of_frames_before_authentication_is_one_answer_and_a_close(relay: Relay, frame: str) -> None:
    """And none of them starts the function that answers."""
    before = runs(relay, "local-message")
    async with Phone.connected(relay.websocket) as phone:
        with suppress(ConnectionClosed):
            for _ in range(100):
                await phone.say(frame)
        heard = [text async for text in phone.socket]
    assert phone.socket.close_code == 1000
    (answer,) = heard
    assert answer == "error:invalid_api_key" or json.loads(answer)["code"] == "unauthorized"
    assert runs(relay, "local-message") == before


async def test_a_ping_is_answered_by_the_gateway_whoever_asks(relay: Relay) -> None:
    """Its timestamp is API Gateway's; that of a function would have been a date."""
    async with Phone.connected(relay.websocket, relay.key) as phone, Phone.connected(relay.websocket) as stranger:
        for each in (phone, stranger):
            await each.say({"action": "ping"})
        pongs = [await each.hear() for each in (phone, stranger)]
    assert [(pong["type"], pong["content"]) for pong in pongs] == [("pong", "")] * 2
    assert all(abs(int(pong["timestamp"]) / 1000 - time.time()) < 60 for pong in pongs)


def runs(relay: Relay, function: str) -> int:
    """How often a function has answered an event."""
    return sum(f"λ        {function} " in line for line in relay.log)


async def test_a_page_of_ours_brings_its_key_as_a_subprotocol(relay: Relay) -> None:
    for origin in (f"http://{relay.address}", "https://chat.example", "https://second.example"):
        async with Phone.browser(relay.websocket, relay.key, origin) as phone:
            assert phone.socket.subprotocol == "chatrelay.v1", origin
            await phone.say({"action": "hello", "conversation": "c"})
            ready = await phone.hear()
        assert (ready["type"], ready["user"], ready["conversation"]) == ("ready", "developer", "c"), origin


async def test_neither_keys_nor_texts_are_logged(relay: Relay, conversation: str) -> None:
    """Though all that functions print is shown."""
    began = len(relay.log)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask("whispered between us", id="m1", conversation=conversation)
        await phone.say('{"action": "send", "content": "whispered again"}')
        await phone.hear()
    await eventually(lambda: any("reply ended" in line for line in relay.log[began:]))
    log = "\n".join(line for line in relay.log if not line.startswith("Development API key"))
    assert not [word for word in ("whispered", relay.key, "sk-test") if word in log]
