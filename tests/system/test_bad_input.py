"""What is wrong gets an answer that names it, and harms nothing else."""

import json
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from emulator.stand_ins.script import answer
from tests.builders.deployments import Relay
from tests.builders.phone import Phone, assembled
from tests.infra.bridgehub.sidecars import eventually

SEND = {"action": "send", "id": "m1", "conversation": "c", "content": "hello"}


def without(field: str) -> str:
    return json.dumps({name: value for name, value in SEND.items() if name != field})


BAD_FRAMES = {
    "not JSON": ("hello?", "frame: must be JSON"),
    "a JSON list": ("[1]", "frame: must be a JSON object"),
    "no action": ('{"content": "hello"}', "action: must be one of ack, cancel, hello, ping, resume, send"),
    "an unknown action": ('{"action": "dance"}', "action: must be one of ack, cancel, hello, ping, resume, send"),
    "no content": (without("content"), "content: is missing"),
    "empty content": (json.dumps({**SEND, "content": ""}), "content: must not be empty"),
    "blank content": (json.dumps({**SEND, "content": " \n"}), "content: must not be empty"),
    "content that is a number": (json.dumps({**SEND, "content": 7}), "content: must be a string"),
    "content that is null": (json.dumps({**SEND, "content": None}), "content: is missing"),
    "no id": (without("id"), "id: is missing"),
    "an id too long": (json.dumps({**SEND, "id": "x" * 65}), "id: must have at most 64 characters, has 65"),
    "no conversation": (without("conversation"), "conversation: is missing"),
    "a conversation too long": (
        json.dumps({**SEND, "conversation": "x" * 129}),
        "conversation: must have at most 128 characters, has 129",
    ),
    "an unknown agent": (json.dumps({**SEND, "agent": "hal"}), "agent: must be one of claude, codex"),
    "an agent that is not there yet": (
        json.dumps({**SEND, "agent": "codex"}),
        "Codex is not connected to this relay yet.",
    ),
    "attachments": (
        json.dumps({**SEND, "attachments": [{"id": "a"}]}),
        "attachments: must each have the url that its upload to this relay gave",
    ),
    "hello with a number": ('{"action": "hello", "conversation": 7}', "conversation: must be a string"),
}


@pytest.mark.parametrize("what", BAD_FRAMES)
async def test_a_bad_frame_is_told_by_field_and_the_connection_lives_on(relay: Relay, what: str) -> None:
    frame, problem = BAD_FRAMES[what]
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say(frame)
        error = await phone.hear()
        await phone.say({"action": "ping"})
        pong = await phone.hear()
    assert (error["type"], error["code"], error["retryable"]) == ("error", "invalid_message", False)
    assert error["content"] == problem
    assert pong["type"] == "pong"


async def test_an_error_says_which_message_it_is_about(relay: Relay) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({**SEND, "content": 7})
        assert (await phone.hear())["id"] == "m1"


async def test_half_a_surrogate_pair_becomes_a_replacement_character(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        body = json.dumps({**SEND, "conversation": conversation, "content": "half: X"}).replace("X", "\\ud83d")
        await phone.say(body)
        await phone.hear_until(lambda frame: frame["type"] == "complete")
    assert len(relay.requests_for("half: \ufffd")) == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [(json.dumps({**SEND, "content": "x" * 200_000}), 1009), (b"binary", 1003)],
    ids=["200 KB", "binary"],
)
async def test_what_a_socket_cannot_carry_closes_it_and_nothing_else(
    relay: Relay, payload: str | bytes, code: int
) -> None:
    async with Phone.connected(relay.websocket, relay.key) as other:
        async with Phone.connected(relay.websocket, relay.key) as phone:
            await phone.say(payload)
            with pytest.raises(ConnectionClosed) as closed:
                await phone.hear()
        await other.say({"action": "ping"})
        assert (await other.hear())["type"] == "pong"
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer crk_wrong"},
        {"Authorization": "crk_wrong"},
        {"X-API-Key": "crk_wrong"},
        {"Sec-WebSocket-Protocol": "chatrelay.v1, bearer.Y3JrX3dyb25n"},
        {"Sec-WebSocket-Protocol": "chatrelay.v1, bearer.!!"},
    ],
    ids=["bearer", "bare", "X-API-Key", "subprotocol", "no base64url"],
)
async def test_a_wrong_key_gets_401_and_no_socket(relay: Relay, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(relay.websocket, additional_headers=headers):
            pass
    assert refused.value.response.status_code == 401


async def test_no_key_at_all_gets_401_where_the_first_frame_may_not_bring_it(gateway_relay: Relay) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(gateway_relay.websocket):
            pass
    assert refused.value.response.status_code == 401


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


async def test_a_page_from_elsewhere_gets_403(relay: Relay) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with Phone.browser(relay.websocket, relay.key, "https://elsewhere.example"):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.parametrize("origin", ["http://{address}", "https://chat.example", "https://second.example"])
async def test_a_page_of_ours_brings_its_key_as_a_subprotocol(relay: Relay, origin: str) -> None:
    async with Phone.browser(relay.websocket, relay.key, origin.format(address=relay.address)) as phone:
        assert phone.socket.subprotocol == "chatrelay.v1"
        await phone.say({"action": "hello", "conversation": "c"})
        ready = await phone.hear()
    assert (ready["type"], ready["user"], ready["conversation"]) == ("ready", "developer", "c")


async def test_an_agent_that_does_not_exist_cannot_be_connected_to(relay: Relay) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with Phone.connected(f"{relay.websocket}?agent=hal", relay.key):
            pass
    assert refused.value.response.status_code == 400


async def test_a_worker_that_dies_in_mid_reply_is_told_as_interrupted(relay: Relay, conversation: str) -> None:
    lives = iter([answer("A long story. " * 50, pause_s=0.1), answer("A short one.")])
    relay.plays("die", lambda _: next(lives))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({**SEND, "conversation": conversation, "content": "die"})
        typing, *_ = await phone.hear_until(lambda frame: frame["type"] == "message")
        for worker in relay.workers("message"):
            worker.kill()
        *_, error = await phone.hear_until(lambda frame: frame["type"] == "error")
        assert assembled(await phone.ask("die", id="m1", conversation=conversation)) == "A short one."
    assert (error["code"], error["retryable"], error["reply"]) == ("interrupted", True, typing["reply"])


async def test_a_failure_of_ours_is_told_with_a_number_to_find_it_by(start_relay: Callable[..., Relay]) -> None:
    broken = start_relay()
    async with Phone.connected(broken.websocket, broken.key) as phone:
        for process in psutil.Process(broken.process.pid).children():
            if "emulator.services.moto_server" in process.cmdline():
                process.kill()
        await phone.say({"action": "hello"})
        error = await phone.hear()
    assert (error["type"], error["code"], error["retryable"]) == ("error", "internal", True)
    assert "Traceback" not in error["content"]
    correlation = error["content"].removesuffix(".").split()[-1]
    assert len(correlation) == 36


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
