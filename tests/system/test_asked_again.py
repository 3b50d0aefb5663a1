"""What was said is replaced: another message in the place of one, another reply in the place of one."""

from emulator.stand_ins.script import answer, stall_after
from tests.builders.deployments import Relay
from tests.builders.phone import Frame, Phone, assembled, proves


def has_ended(frame: Frame) -> bool:
    return frame["type"] in ("complete", "error")


def told(relay: Relay, prompt: str) -> list[str]:
    """What the model was told with the latest message of that text, and it."""
    messages = relay.requests_for(prompt)[-1].body["messages"]
    return [block["text"] for message in messages for block in message["content"]]


async def test_an_edit_takes_the_place_of_a_message_and_of_all_that_followed_on_every_device(
    relay: Relay, conversation: str
) -> None:
    for prompt in ("Good morning", "How are you?", "And now?", "Well?"):
        relay.plays(prompt, answer(f"{prompt} Yes."))
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        await other.say({"action": "hello", "conversation": conversation})
        await other.hear()
        for number, prompt in enumerate(("Good morning", "How are you?")):
            await phone.ask(prompt, id=f"m{number}", conversation=conversation)
            await other.hear_until(has_ended)
        edit = {"action": "edit", "id": "m2", "conversation": conversation, "replaces": "m1", "content": "And now?"}
        await phone.say(edit)
        typing, *_, complete = await phone.hear_until(has_ended)
        user, *_ = await other.hear_until(has_ended)
        await phone.say(edit)
        *again, _ = await phone.hear_until(has_ended)
        await phone.ask("Well?", id="m3", conversation=conversation)
    assert (typing["type"], typing["id"]) == ("typing", "m2")
    assert (user["type"], user["id"], user["content"], user["replaces"]) == ("user", "m2", "And now?", "m1")
    assert proves(complete, "And now? Yes.")
    assert (assembled(again), len(relay.requests_for("And now?"))) == ("And now? Yes.", 1)
    assert told(relay, "Well?") == ["Good morning", "Good morning Yes.", "And now?", "And now? Yes.", "Well?"]
    assert [turn["id"] for turn in relay.turns(conversation)] == ["m0", "m2", "m3"]
    every = [(turn["id"], turn.get("replaced", False)) for turn in relay.turns(conversation, "?replaced=true")]
    assert every == [("m0", False), ("m1", True), ("m2", False), ("m3", False)]


async def test_a_reply_is_answered_anew_once_and_the_old_one_is_kept(relay: Relay, conversation: str) -> None:
    tries = iter([answer("The old one."), answer("The new one.")])
    relay.plays("Which?", lambda _: next(tries))
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        await other.say({"action": "hello", "conversation": conversation})
        await other.hear()
        old = (await phone.ask("Which?", id="m1", conversation=conversation))[-1]
        await other.hear_until(has_ended)
        await phone.say({"action": "regenerate", "reply": old["reply"]})
        typing, *pieces, new = await phone.hear_until(has_ended)
        user, *_ = await other.hear_until(has_ended)
        await phone.say({"action": "regenerate", "reply": old["reply"]})
        *again, known = await phone.hear_until(has_ended)
        await phone.say({"action": "resume", "reply": old["reply"], "offset": 0})
        *kept, _ = await phone.hear_until(has_ended)
        await phone.ask("And then?", id="m2", conversation=conversation)
    assert (typing["type"], typing["id"], new["reply"] == old["reply"]) == ("typing", "m1", False)
    assert (user["type"], user["id"], user["replaces"]) == ("user", "m1", "m1")
    assert (assembled(pieces), assembled(again), known["reply"]) == ("The new one.", "The new one.", new["reply"])
    assert assembled(kept) == "The old one."
    assert told(relay, "And then?") == ["Which?", "The new one.", "And then?"]
    assert relay.turns(conversation)[0]["reply"]["id"] == new["reply"]
    assert [turn["reply"]["text"] for turn in relay.turns(conversation, "?replaced=true")][:2] == [
        "The old one.",
        "The new one.",
    ]


async def test_what_cannot_be_replaced_is_said_and_nothing_is_lost(relay: Relay, conversation: str) -> None:
    relay.plays("Go on", stall_after("And so on"))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "Go on"})
        typing = await phone.hear()
        await phone.hear_until(lambda frame: frame.get("offset", 0) + len(frame["content"]) == len("And so on"))
        await phone.say({"action": "regenerate", "reply": typing["reply"]})
        early = await phone.hear()
        await phone.say({"action": "regenerate", "reply": "nobody"})
        unknown = await phone.hear()
        await phone.say({"action": "edit", "id": "m2", "conversation": conversation, "replaces": "m9", "content": "x"})
        nothing = await phone.hear()
        await phone.say({"action": "cancel", "reply": typing["reply"]})
        complete = await phone.hear()
    assert (early["code"], "cancel it" in early["content"]) == ("invalid_message", True)
    assert (unknown["code"], nothing["code"], nothing["id"]) == ("forbidden", "forbidden", "m2")
    assert (complete["stop_reason"], complete["length"]) == ("cancelled", len("And so on"))
    assert [turn["id"] for turn in relay.turns(conversation, "?replaced=true")] == ["m1"]
