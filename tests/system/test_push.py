"""A reply is told to its user's phones: from the app's registration to what the push service gets.

Which registrations are refused, and that a reply that broke off is not told, the recorded session has
(``scenes.pushes``).
"""

from hashlib import sha256
from urllib.parse import quote

from emulator.stand_ins.script import answer
from tests.builders.builderos import App
from tests.builders.deployments import Relay
from tests.builders.phone import Phone
from tests.system.pushes import call, pushed, pushes_to, register

WORDS = "Es war einmal ein Relais, das nichts verlor. " * 5


async def test_a_reply_with_no_socket_open_is_one_push_to_each_device(relay: Relay, conversation: str) -> None:
    iphone, robot = "a1" * 32, "fcm-token:1"
    relay.plays("tell me", answer(WORDS, delta_chars=20, pause_s=0.02))
    registered = await register(relay, "iphone", iphone)
    await register(relay, "iphone", iphone)
    await register(relay, "robot", robot, "android")
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "tell me"})
        reply = (await phone.hear())["reply"]
    await pushes_to(relay, iphone)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask("and later", id="m2", conversation=conversation)
    apple, _ = await pushes_to(relay, iphone, 2)
    google, _ = await pushes_to(relay, robot, 2)
    preview = WORDS[:100] + "..."
    assert (registered.status_code, registered.json()["success"]) == (200, True)
    assert apple["aps"] == {
        "alert": {"title": "New message from Claude", "body": preview},
        "sound": "default",
        "badge": 1,
    }
    assert (apple["type"], apple["sender"], apple["preview"]) == ("new_message", "Claude", preview)
    assert (apple["reply"], google["data"]["reply"]) == (reply, reply)
    for device in ("iphone", "robot"):
        assert (await call(relay, "DELETE", f"/api/notifications/{device}")).status_code == 200


async def test_the_app_is_always_told_and_a_device_that_has_shown_the_reply_is_not(
    relay: Relay, conversation: str
) -> None:
    seen, unseen = "b1" * 32, "b2" * 32
    await register(relay, "seen", seen)
    await register(relay, "unseen", unseen)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "hello", "conversation": conversation, "device": "seen"})
        await phone.hear()
        *_, complete = await phone.ask("who is there", id="m1", conversation=conversation)
        await phone.say({"action": "ack", "reply": complete["reply"], "offset": complete["length"]})
        assert len(await pushes_to(relay, unseen)) == 1
        assert await pushed(relay, seen) == []
    async with App(f"http://{relay.address}", relay.key, session=f"{conversation} app") as app:
        assert await app.reply_to("and now?") == "Yes."
    assert len(await pushes_to(relay, seen)) == 1, "the app acknowledges nothing"
    for device in ("seen", "unseen"):
        await call(relay, "DELETE", f"/api/notifications/{device}")


async def test_a_phone_is_who_registered_it_last_and_reached_by_its_latest_token(
    relay: Relay, conversation: str, stranger: str
) -> None:
    before, now, theirs = "e1" * 32, "e2" * 32, "e3" * 32
    await register(relay, "phone", before, key=stranger)
    await register(relay, "tablet", theirs, key=stranger)
    await register(relay, "phone", before)
    await register(relay, "phone", now)
    async with Phone.connected(relay.websocket, stranger) as other:
        await other.ask("for the tablet", id="m1", conversation=conversation)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        complete = (await phone.ask("for the phone", id="m1", conversation=conversation))[-1]
    assert [push["reply"] for push in await pushes_to(relay, now)] == [complete["reply"]]
    assert len(await pushes_to(relay, theirs)) == 1
    assert await pushed(relay, before) == []
    for device, key in (("phone", None), ("tablet", stranger)):
        await call(relay, "DELETE", f"/api/notifications/{device}", key)


ODD_DEVICES = ("gone", 'tester’s — 2/3 "#?\\`%2F 🌅', "/", "a\nb", "...")


async def test_a_device_that_is_removed_is_told_no_more_whatever_it_is_called(relay: Relay, conversation: str) -> None:
    """Phones have the names that their owners gave them."""
    stays, *tokens = (sha256(f"removed {device}".encode()).hexdigest() for device in ("stays", *ODD_DEVICES))
    await register(relay, "stays", stays)
    for device, token in zip(ODD_DEVICES, tokens, strict=True):
        await register(relay, device, token)
        for _ in range(2):
            removed = await call(relay, "DELETE", f"/api/notifications/{quote(device, safe='')}")
            assert removed.json()["success"], device
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask("hello", id="m1", conversation=conversation)
    assert len(await pushes_to(relay, stays)) == 1
    assert [device for device, token in zip(ODD_DEVICES, tokens, strict=True) if await pushed(relay, token)] == []
    await call(relay, "DELETE", "/api/notifications/stays")
