"""A message goes in, the reply streams out: through the real functions.

Of a deployment in which API Gateway itself calls the one that answers, ``tests/scenarios`` has the same.
What a client hears of every kind of end, and what all devices see, the recorded session has: ``scenes.endings`` and
``replies``.
"""

import asyncio
import json
import math

import pytest

from emulator.stand_ins.script import (
    Pause,
    Script,
    answer,
    blocks,
    cut_after,
    found_block,
    refuse,
    search_block,
    text_block,
    thinking_block,
)
from tests.builders.deployments import Relay
from tests.builders.phone import Phone, assembled, proves, trimmed, utf16_length

MIXED = 'Grüße 👩‍👩‍👧‍👦, 你好, "quotes", back\\slash, tab\t, line\nfeed, \' and </script>. '


async def test_a_reply_streams_in_pieces_and_proves_itself_once(relay: Relay, conversation: str) -> None:
    """Its message is heard by the model as it is."""
    text = MIXED * 20
    relay.plays(MIXED, answer(text, delta_chars=7, pause_s=0.005))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        typing, *messages, complete = await phone.ask(MIXED, id="m1", conversation=conversation)
        resumed, *again, end = await phone.ask(MIXED, id="m1", conversation=conversation)
    assert (typing["type"], typing["id"], typing["conversation"]) == ("typing", "m1", conversation)
    assert {frame["type"] for frame in messages} == {"message"}
    assert 5 < len(messages) < 100, "in pieces, and not one for each of the 200 deltas"
    assert assembled(messages) == text
    assert proves(complete, text)
    assert (complete["stop_reason"], complete["model"]) == ("end_turn", "claude-sonnet-4-6")
    assert complete["usage"]["output_tokens"] > 0
    assert {frame["reply"] for frame in [*messages, complete]} == {typing["reply"]}
    assert {frame["epoch"] for frame in [*messages, complete]} == {typing["epoch"]}
    assert len(relay.requests_for(MIXED)) == 1, "the same id twice is answered once"
    assert (resumed["type"], {frame["type"] for frame in again}, end["type"]) == ("resumed", {"message"}, "complete")
    assert (assembled(again), end["reply"]) == (text, complete["reply"])


async def test_a_hundred_kilobytes_arrive_exactly_in_frames_under_the_limit(relay: Relay, conversation: str) -> None:
    text = MIXED * 1300
    relay.plays("long", answer(text, delta_chars=400))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        frames = await phone.ask("long", id="m1", conversation=conversation)
    assert len(text.encode()) > 100_000
    assert assembled(frames) == text
    assert proves(frames[-1], text)
    assert 30 * 1024 < max(phone.sizes_bytes) <= 31 * 1024


async def test_typing_comes_before_the_model_has_said_anything(relay: Relay, conversation: str) -> None:
    relay.plays("say nothing", Script((Pause(math.inf),)))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        said = {"action": "send", "id": "m1", "conversation": conversation, "content": "say nothing"}
        await phone.say(said)
        typing = await phone.hear()
        await phone.say({"action": "cancel", "reply": typing["reply"]})
        complete = await phone.hear()
    assert (typing["type"], complete["type"], complete["length"]) == ("typing", "complete", 0)


async def test_a_conversation_is_remembered_as_it_was_written(relay: Relay, conversation: str) -> None:
    relay.plays("My name is Ada.", answer("Hello, Ada! 👋", thinking="A name."))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask("My name is Ada.", id="m1", conversation=conversation)
        await phone.ask("What is my name?", id="m2", conversation=conversation)
        await phone.ask("What is my name?", id="m3", conversation=f"{conversation}, another")
    with_history, without = relay.requests_for("What is my name?")[-2:]
    (said,) = with_history.body["messages"][1]["content"]  # its thoughts are kept, and stay here
    assert [message["role"] for message in with_history.body["messages"]] == ["user", "assistant", "user"]
    assert said == {"type": "text", "text": "Hello, Ada! 👋"}
    assert with_history.body["cache_control"] == {"type": "ephemeral"}
    assert [message["role"] for message in without.body["messages"]] == ["user"]


PAGE = {"type": "web_search_result", "title": "Weather", "url": "https://weather.example/", "page_age": None}
CITATION = {"type": "web_search_result_location", "url": PAGE["url"], "title": "Weather", "cited_text": "It rains."}
SEALED_PAGE, SEALED_CITATION = {**PAGE, "encrypted_content": "ZW5j"}, {**CITATION, "encrypted_index": "aW5k"}
THOUGHT = "Where is Ada 🌅? " * 20
LOG = {
    "reasoning": THOUGHT,
    "tool": '{"query": "weather 早"}',
    "tool_result": json.dumps([PAGE]),
    "message": "It rains.",
    "source": "https://weather.example/",
}


def searching() -> Script:
    return blocks(
        *thinking_block(THOUGHT, 7, 0.005),
        *search_block(1, "srvtoolu_1", "weather 早"),
        Pause(0.2),
        *found_block(2, "srvtoolu_1", [SEALED_PAGE]),
        *text_block(3, "It rains.", SEALED_CITATION),
    )


async def test_thoughts_tools_and_sources_are_parts_of_the_reply_and_remembered(
    relay: Relay, conversation: str
) -> None:
    relay.plays("Does it rain?", searching())
    async with Phone.connected(relay.websocket, relay.key) as phone:
        typing, *heard, complete = await phone.ask("Does it rain?", id="m1", conversation=conversation)
        await phone.ask("Sure?", id="m2", conversation=conversation)
    parts = {frame["type"]: assembled(heard, kind=frame["type"]) for frame in heard}
    assert (list(parts), parts) == (list(LOG), LOG)
    assert [frame["type"] for frame in heard].count("reasoning") > 1, "while it thinks"
    assert {(frame["reply"], frame["epoch"], frame["conversation"]) for frame in heard} == {
        (typing["reply"], typing["epoch"], conversation)
    }
    assert all(isinstance(frame[name], str) for frame in heard for name in ("type", "content", "timestamp"))
    assert proves(complete, "".join(LOG.values()))
    assert complete["parts"] == len(LOG)
    described = {frame["type"]: frame for frame in heard}
    at = utf16_length("".join(list(LOG.values())[:3]))
    told: list[tuple[str, str, object]] = [
        ("tool", "call", "srvtoolu_1"),
        ("tool", "name", "web_search"),
        ("tool", "by", "model"),
    ]
    told += [("tool_result", "call", "srvtoolu_1"), ("tool_result", "is_error", False), ("source", "title", "Weather")]
    told += [("source", "from", at), ("source", "to", at + len(LOG["message"]))]
    assert [(kind, name, described[kind][name]) for kind, name, _ in told] == told
    used, found, said = relay.requests_for("Sure?")[-1].body["messages"][1]["content"]
    assert used["input"] == {"query": "weather 早"}
    assert found["content"] == [SEALED_PAGE]
    assert said == {"type": "text", "text": "It rains.", "citations": [SEALED_CITATION]}
    turn, _ = relay.turns(conversation)
    assert [(part["type"], part["content"]) for part in turn["reply"]["parts"]] == list(LOG.items())
    assert turn["reply"]["text"] == "It rains."


@pytest.mark.parametrize("kind", LOG)
async def test_a_reply_is_whole_wherever_it_was_cut(relay: Relay, conversation: str, kind: str) -> None:
    relay.plays("Does it rain?", searching())
    whole = "".join(LOG.values())
    begins = whole.index(LOG[kind])
    offset = utf16_length(whole[: begins + len(LOG[kind]) // 2])
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "Does it rain?"})
        heard = await phone.hear_until(lambda frame: "part" in frame)
        await other.say({"action": "resume", "reply": heard[0]["reply"], "offset": 4})
        live = await other.hear_until(lambda frame: frame["type"] == "complete")
        await phone.hear_until(lambda frame: frame["type"] == "complete")
        await phone.say({"action": "resume", "reply": heard[0]["reply"], "offset": offset})
        *rest, complete = await phone.hear_until(lambda frame: frame["type"] == "complete")
    units = whole.encode("utf-16-le")
    assert assembled(rest, since=offset) == units[2 * offset :].decode("utf-16-le")
    assert trimmed(live, whole[:4]) == whole  # it may have been let in as a viewer before
    assert proves(complete, whole)


async def test_the_same_id_from_two_devices_at_once_is_one_reply_on_both(relay: Relay, conversation: str) -> None:
    relay.plays("together", answer("One reply for both. " * 6, delta_chars=9, pause_s=0.02))
    async with (
        Phone.connected(relay.websocket, relay.key) as one,
        Phone.connected(relay.websocket, relay.key) as two,
    ):
        heard = await asyncio.gather(
            one.ask("together", id="m1", conversation=conversation),
            two.ask("together", id="m1", conversation=conversation),
        )
    assert len(relay.requests_for("together")) == 1
    assert len({frames[-1]["reply"] for frames in heard}) == 1
    assert all(trimmed(frames) == "One reply for both. " * 6 for frames in heard)


async def test_a_device_that_is_gone_touches_no_other(relay: Relay, conversation: str) -> None:
    relay.plays("one leaves", answer("Who is still there? " * 8, delta_chars=9, pause_s=0.02))
    async with Phone.connected(relay.websocket, relay.key) as sender:
        async with Phone.connected(relay.websocket, relay.key) as other:
            await other.say({"action": "hello", "conversation": conversation})
            await other.hear()
            await sender.say({"action": "send", "id": "m1", "conversation": conversation, "content": "one leaves"})
            await other.hear_until(lambda frame: frame["type"] == "message")
            other.socket.transport.abort()
        frames = await sender.hear_until(lambda frame: frame["type"] == "complete")
    assert assembled(frames) == "Who is still there? " * 8


async def test_a_broken_reply_may_be_asked_for_again_by_the_same_id(relay: Relay, conversation: str) -> None:
    tries = iter([cut_after("Half of it"), answer("All of it.")])
    relay.plays("try twice", lambda _: next(tries))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        broken = await phone.ask("try twice", id="m1", conversation=conversation)
        whole = await phone.ask("try twice", id="m1", conversation=conversation)
        await phone.ask("and then?", id="m2", conversation=conversation)
    assert (broken[-1]["code"], assembled(broken)) == ("upstream", "Half of it")
    assert (whole[-1]["type"], assembled(whole)) == ("complete", "All of it.")
    assert whole[0]["reply"] != broken[0]["reply"]
    assert whole[0]["epoch"] == broken[0]["epoch"] + 1
    retried, later = (relay.requests_for(text)[-1].body["messages"] for text in ("try twice", "and then?"))
    assert [turn["content"][0]["text"] for turn in retried] == ["try twice"]
    assert [turn["content"][0]["text"] for turn in later] == ["try twice", "All of it.", "and then?"]


async def test_the_model_is_told_what_it_said_before_it_broke_off_and_not_what_it_declined(
    relay: Relay, conversation: str
) -> None:
    kept = {"cut": cut_after("Half"), "declined": answer("Half", stop_reason="refusal"), "at once": refuse(401)}
    told = {"cut": ["Half"], "declined": [], "at once": []}
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for end, script in kept.items():
            relay.plays(end, script)
            await phone.ask(end, id="m1", conversation=f"{conversation} {end}")
            await phone.ask(f"go on, {end}", id="m2", conversation=f"{conversation} {end}")
            heard = relay.requests_for(f"go on, {end}")[-1].body["messages"]
            said = [turn["content"] for turn in heard if turn["role"] == "assistant"]
            assert said == [[{"type": "text", "text": text}] for text in told[end]], end


async def test_two_connections_do_not_hear_each_other(relay: Relay, conversation: str) -> None:
    relay.plays("one", answer("1" * 50, pause_s=0.01))
    relay.plays("two", answer("2" * 50, pause_s=0.01))
    async with (
        Phone.connected(relay.websocket, relay.key) as first,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        await first.say({"action": "send", "id": "a", "conversation": f"{conversation} 1", "content": "one"})
        await other.say({"action": "send", "id": "b", "conversation": f"{conversation} 2", "content": "two"})
        heard = [await phone.hear_until(lambda frame: frame["type"] == "complete") for phone in (first, other)]
    assert [assembled(frames) for frames in heard] == ["1" * 50, "2" * 50]
