"""A message goes in, the reply streams out: through the real functions, by each way to the one that answers."""

import asyncio
import hashlib

import pytest

from emulator.stand_ins.script import (
    Pause,
    answer,
    blocks,
    cut_after,
    fail_after,
    found_block,
    partial,
    refuse,
    search_block,
    stall_after,
    text_block,
    thinking_block,
)
from tests.builders.deployments import Relay
from tests.builders.phone import Phone, assembled, proves, trimmed

MIXED = 'Grüße 👩‍👩‍👧‍👦, 你好, "quotes", back\\slash, tab\t, line\nfeed, \' and </script>. '


async def test_a_reply_streams_in_pieces_and_proves_itself(each_way: Relay, conversation: str) -> None:
    text = MIXED * 20
    each_way.plays("stream", answer(text, delta_chars=7, pause_s=0.005))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        typing, *messages, complete = await phone.ask("stream", id="m1", conversation=conversation)
    assert (typing["type"], typing["id"], typing["conversation"]) == ("typing", "m1", conversation)
    assert {frame["type"] for frame in messages} == {"message"}
    assert 5 < len(messages) < 100, "in pieces, and not one for each of the 200 deltas"
    assert assembled(messages) == text
    assert proves(complete, text)
    assert (complete["stop_reason"], complete["model"]) == ("end_turn", "claude-sonnet-4-6")
    assert complete["usage"]["output_tokens"] > 0
    assert {frame["reply"] for frame in [*messages, complete]} == {typing["reply"]}
    assert {frame["epoch"] for frame in [*messages, complete]} == {typing["epoch"]}


async def test_a_hundred_kilobytes_arrive_exactly_in_frames_under_the_limit(each_way: Relay, conversation: str) -> None:
    text = MIXED * 1300
    each_way.plays("long", answer(text, delta_chars=400))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        frames = await phone.ask("long", id="m1", conversation=conversation)
    assert len(text.encode()) > 100_000
    assert assembled(frames) == text
    assert proves(frames[-1], text)
    assert 30 * 1024 < max(phone.sizes_bytes) <= 31 * 1024


async def test_typing_comes_before_the_model_has_said_anything(each_way: Relay, conversation: str) -> None:
    each_way.plays("slow", answer("At last.", first_s=1.8))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        await phone.ask("slow", id="m1", conversation=conversation)
    assert [frame["type"] for frame in phone.frames] == ["typing", "message", "complete"]
    assert phone.arrived_s[1] - phone.arrived_s[0] > 0.5, "of the 1.8 s that the model kept silent"


async def test_a_conversation_is_remembered_as_it_was_written(each_way: Relay, conversation: str) -> None:
    each_way.plays("My name is Ada.", answer("Hello, Ada! 👋", thinking="A name."))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        await phone.ask("My name is Ada.", id="m1", conversation=conversation)
        await phone.ask("What is my name?", id="m2", conversation=conversation)
        await phone.ask("What is my name?", id="m3", conversation=f"{conversation}, another")
    with_history, without = each_way.requests_for("What is my name?")[-2:]
    (said,) = with_history.body["messages"][1]["content"]  # its thoughts are kept, and stay here
    assert [message["role"] for message in with_history.body["messages"]] == ["user", "assistant", "user"]
    assert said == {"type": "text", "text": "Hello, Ada! 👋"}
    assert with_history.body["cache_control"] == {"type": "ephemeral"}
    assert [message["role"] for message in without.body["messages"]] == ["user"]


async def test_thinking_and_tools_are_heard_before_the_text_and_remembered(relay: Relay, conversation: str) -> None:
    page: dict[str, str | None] = {"type": "web_search_result", "title": "Weather", "url": "https://weather.example/"}
    page |= {"encrypted_content": "ZW5j", "page_age": None}
    citation = {"type": "web_search_result_location", "url": page["url"], "title": "Weather"}
    citation |= {"encrypted_index": "aW5k", "cited_text": "It rains."}
    script = blocks(
        *thinking_block("Where is Ada? " * 20, 7, 0.005),
        *search_block(1, "srvtoolu_1", "weather"),
        *found_block(2, "srvtoolu_1", [page]),
        Pause(0.2),
        *text_block(3, "It rains.", citation),
    )
    relay.plays("Does it rain?", script)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        typing, *heard, complete = await phone.ask("Does it rain?", id="m1", conversation=conversation)
        await phone.ask("Sure?", id="m2", conversation=conversation)
    kinds = [frame["type"] for frame in heard]
    assert kinds == sorted(kinds, key=["thinking", "tool", "message"].index)
    assert kinds.count("thinking") > 1, "while it thinks"
    assert "".join(frame["content"] for frame in heard if frame["type"] == "thinking") == "Where is Ada? " * 20
    assert [frame["content"] for frame in heard if frame["type"] == "tool"] == [
        "Searching the web: weather",
        "Found:\nWeather https://weather.example/",
    ]
    assert {(frame["reply"], frame["epoch"], frame["conversation"]) for frame in heard} == {
        (typing["reply"], typing["epoch"], conversation)
    }
    assert all(isinstance(frame[name], str) for frame in heard for name in ("type", "content", "timestamp"))
    assert assembled(heard) == "It rains."
    assert proves(complete, "It rains.")
    used, found, said = relay.requests_for("Sure?")[-1].body["messages"][1]["content"]
    assert used["input"] == {"query": "weather"}
    assert found["content"] == [page]
    assert said == {"type": "text", "text": "It rains.", "citations": [citation]}


async def test_the_same_id_twice_is_answered_once(each_way: Relay, conversation: str) -> None:
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        first = await phone.ask("only once", id="m1", conversation=conversation)
        again = await phone.ask("only once", id="m1", conversation=conversation)
    assert len(each_way.requests_for("only once")) == 1
    assert [frame["type"] for frame in again] == ["resumed", "message", "complete"]
    assert (assembled(again), again[-1]["reply"]) == (assembled(first), first[-1]["reply"])


async def test_the_same_id_from_two_devices_at_once_is_one_reply_on_both(each_way: Relay, conversation: str) -> None:
    each_way.plays("together", answer("One reply for both. " * 20, delta_chars=9, pause_s=0.02))
    async with (
        Phone.connected(each_way.websocket, each_way.key) as one,
        Phone.connected(each_way.websocket, each_way.key) as two,
    ):
        heard = await asyncio.gather(
            one.ask("together", id="m1", conversation=conversation),
            two.ask("together", id="m1", conversation=conversation),
        )
    assert len(each_way.requests_for("together")) == 1
    assert len({frames[-1]["reply"] for frames in heard}) == 1
    assert all(trimmed(frames) == "One reply for both. " * 20 for frames in heard)


async def test_all_devices_that_show_a_conversation_see_it(each_way: Relay, conversation: str) -> None:
    each_way.plays("see", answer("Everybody sees this. " * 10, delta_chars=9, pause_s=0.02))
    async with (
        Phone.connected(each_way.websocket, each_way.key) as sender,
        Phone.connected(each_way.websocket, each_way.key) as other,
        Phone.connected(each_way.websocket, each_way.key) as elsewhere,
    ):
        await other.say({"action": "hello", "conversation": conversation})
        await elsewhere.say({"action": "hello", "conversation": f"{conversation}, another"})
        assert [(await phone.hear())["type"] for phone in (other, elsewhere)] == ["ready", "ready"]
        sent = await sender.ask("see", id="m1", conversation=conversation)
        user, *seen = await other.hear_until(lambda frame: frame["type"] == "complete")
        await elsewhere.say({"action": "ping"})
        assert (await elsewhere.hear())["type"] == "pong", "it heard nothing of the other conversation"
    assert (user["type"], user["id"], user["content"]) == ("user", "m1", "see")
    assert seen[0]["type"] == "typing"
    assert assembled(seen) == assembled(sent) == "Everybody sees this. " * 10
    assert "user" not in [frame["type"] for frame in sent]


async def test_a_device_that_is_gone_touches_no_other(each_way: Relay, conversation: str) -> None:
    each_way.plays("one leaves", answer("Who is still there? " * 20, delta_chars=9, pause_s=0.02))
    async with Phone.connected(each_way.websocket, each_way.key) as sender:
        async with Phone.connected(each_way.websocket, each_way.key) as other:
            await other.say({"action": "hello", "conversation": conversation})
            await other.hear()
            await sender.say({"action": "send", "id": "m1", "conversation": conversation, "content": "one leaves"})
            await other.hear_until(lambda frame: frame["type"] == "message")
            other.socket.transport.abort()
        frames = await sender.hear_until(lambda frame: frame["type"] == "complete")
    assert assembled(frames) == "Who is still there? " * 20


async def test_a_broken_reply_may_be_asked_for_again_by_the_same_id(each_way: Relay, conversation: str) -> None:
    tries = iter([cut_after("Half of it"), answer("All of it.")])
    each_way.plays("try twice", lambda _: next(tries))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        broken = await phone.ask("try twice", id="m1", conversation=conversation)
        whole = await phone.ask("try twice", id="m1", conversation=conversation)
        await phone.ask("and then?", id="m2", conversation=conversation)
    assert (broken[-1]["code"], assembled(broken)) == ("upstream", "Half of it")
    assert (whole[-1]["type"], assembled(whole)) == ("complete", "All of it.")
    assert whole[0]["reply"] != broken[0]["reply"]
    assert whole[0]["epoch"] == broken[0]["epoch"] + 1
    retried, later = (each_way.requests_for(text)[-1].body["messages"] for text in ("try twice", "and then?"))
    assert [turn["content"][0]["text"] for turn in retried] == ["try twice"]
    assert [turn["content"][0]["text"] for turn in later] == ["try twice", "All of it.", "and then?"]


async def test_a_reader_that_leaves_does_not_stop_the_reply(each_way: Relay, conversation: str) -> None:
    each_way.plays("leave", answer("Still here. " * 20, pause_s=0.05))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "leave"})
        await phone.hear_until(lambda frame: frame["type"] == "message")
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        for attempt in range(40):
            await phone.ask("so?", id=f"m{attempt + 2}", conversation=conversation)
            history = each_way.requests_for("so?")[-1].body["messages"]
            if any(message["role"] == "assistant" and "Still" in str(message) for message in history):
                break
    assert history[1]["content"][0]["text"] == "Still here. " * 20


@pytest.mark.parametrize("stop_reason", ["end_turn", "stop_sequence", "max_tokens", "tool_use"])
async def test_every_ordinary_end_is_complete_and_says_why(relay: Relay, conversation: str, stop_reason: str) -> None:
    relay.plays(f"end {stop_reason}", answer("So far.", stop_reason=stop_reason))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        *_, complete = await phone.ask(f"end {stop_reason}", id="m1", conversation=conversation)
    assert (complete["type"], complete["stop_reason"]) == ("complete", stop_reason)


BROKEN = {
    "401": (refuse(401), "", "upstream", False),
    "404": (refuse(404), "", "upstream", False),
    "400 for the message": (refuse(400), "", "refused", False),
    "400 for want of credit": (refuse(400, message="Your credit balance is too low"), "", "upstream", False),
    "too long": (refuse(413), "", "too_large", False),
    "429": (refuse(429, headers={"retry-after": "17"}), "", "overloaded", True),
    "529": (refuse(529, headers={"retry-after": "30"}), "", "overloaded", True),
    "overloaded in mid-stream": (fail_after("Half", "overloaded_error"), "Half", "overloaded", True),
    "failure in mid-stream": (fail_after("Half", "api_error"), "Half", "upstream", True),
    "cut": (cut_after("Half"), "Half", "upstream", True),
    "no message_stop": (partial("Half"), "Half", "upstream", True),
    "silence": (stall_after("Half"), "Half", "upstream", True),
    "refusal": (answer("Half", stop_reason="refusal"), "Half", "refused", False),
}


@pytest.mark.parametrize("end", BROKEN)
async def test_every_broken_end_is_told_and_keeps_the_text(relay: Relay, conversation: str, end: str) -> None:
    script, kept, code, retryable = BROKEN[end]
    relay.plays(end, script)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        frames = await phone.ask(end, id="m1", conversation=conversation)
        error = frames[-1]
        await phone.ask("go on", id="m2", conversation=conversation)
    assert assembled(frames) == kept
    assert (error["type"], error["code"], error["retryable"]) == ("error", code, retryable)
    assert error["reply"] == frames[0]["reply"]
    assert error["content"].endswith(".")
    said = [turn for turn in relay.requests_for("go on")[-1].body["messages"] if turn["role"] == "assistant"]
    told = kept and code != "refused"  # what the model declined is no part of what it is told next
    assert [turn["content"] for turn in said] == ([[{"type": "text", "text": kept}]] if told else [])


async def test_the_wait_that_the_model_asks_for_is_handed_on(relay: Relay, conversation: str) -> None:
    relay.plays("busy", refuse(429, headers={"retry-after": "17"}))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        *_, error = await phone.ask("busy", id="m1", conversation=conversation)
    assert error["retry_after"] == 17
    assert len(relay.requests_for("busy")) == 1


async def test_a_paused_turn_is_one_answer(each_way: Relay, conversation: str) -> None:
    pauses = iter([answer("First, ", stop_reason="pause_turn"), answer("second.")])
    each_way.plays("pause", lambda _: next(pauses))
    async with Phone.connected(each_way.websocket, each_way.key) as phone:
        frames = await phone.ask("pause", id="m1", conversation=conversation)
    assert assembled(frames) == "First, second."
    assert frames[-1]["sha256"] == hashlib.sha256(b"First, second.").hexdigest()


async def test_two_connections_do_not_hear_each_other(each_way: Relay, conversation: str) -> None:
    each_way.plays("one", answer("1" * 50, pause_s=0.01))
    each_way.plays("two", answer("2" * 50, pause_s=0.01))
    async with (
        Phone.connected(each_way.websocket, each_way.key) as first,
        Phone.connected(each_way.websocket, each_way.key) as other,
    ):
        await first.say({"action": "send", "id": "a", "conversation": f"{conversation} 1", "content": "one"})
        await other.say({"action": "send", "id": "b", "conversation": f"{conversation} 2", "content": "two"})
        heard = [await phone.hear_until(lambda frame: frame["type"] == "complete") for phone in (first, other)]
    assert [assembled(frames) for frames in heard] == ["1" * 50, "2" * 50]
