import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

import pytest

from chatrelay.agents.requests.claude import messages
from chatrelay.domain.attachments import Attachment
from chatrelay.domain.blocks import log_of
from chatrelay.domain.errors import Conflict, Duplicate, Forbidden, InvalidMessage, Superseded, Upstream
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.domain.log import LONGEST, Part, Piece
from chatrelay.domain.reply import Ending, Reply
from chatrelay.store.attribute_values import Item
from chatrelay.store.connections import Connection
from chatrelay.store.conversations import Accepted, Conversations, StoredReply
from chatrelay.store.item_keys import conversation_pk
from chatrelay.store.table import Table
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from tests.builders.layer import Store, by_key, scanned
from tests.builders.written import kept_text
from tests.builders.written import text as text_of

PLENTY = 1_000_000
TALK = ConversationKey("alice", "talk")
PHONE = Connection("phone=", "claude", VERSION_1, 1_700_000_000, by_key("alice"))
LAST = Outbound("complete", "Response complete", {"length": 5})
REFUSED = Outbound("error", "Claude declined to answer this.", {"code": "refused"})
BROKE_OFF = Outbound("error", "The answer broke off.", {"code": "interrupted"})


@pytest.fixture
def conversations(store: Store) -> Conversations:
    return store.conversations


def hello(id: str = "m1", content: str = "Hello", conversation: str = "talk") -> Send:  # noqa: A002
    return Send(id, conversation, content, "claude")


def answered(accepted: Accepted, text: str, tokens: int = 5, **usage: int) -> Reply:
    reply = Reply(accepted.stream.reply)
    reply.append(text_of(text))
    reply.complete(Ending("end_turn", "claude", {"output_tokens": tokens, **usage}, [{"type": "text", "text": text}]))
    return reply


def stored_reply(table: Table, accepted: Accepted) -> Item:
    found = [item for item in scanned(table) if item["sk"] == f"TURN#{accepted.turn}#2"]
    assert len(found) == 1
    return found[0]


def whereabouts(accepted: Accepted) -> ReplyLocation:
    return ReplyLocation(accepted.stream.reply, accepted.key, accepted.turn)


def over(store: Store, accepted: Accepted, reply: Reply) -> None:
    """The worker of `reply` is done with it."""
    store.conversations.finish(accepted, reply, LAST)
    store.leases.end(accepted.key, accepted.stream.epoch)


def asked(conversations: Conversations, accepted: Accepted, budget: int = PLENTY) -> list[str]:
    return [turn.content for turn in conversations.history(accepted, budget)]


def test_an_accepted_message_is_stored_with_the_reply_owed_for_it(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1_700_000_000_123, worker="worker-1")

    kinds = sorted(item["sk"].replace(accepted.stream.reply, "<reply>") for item in scanned(table))
    assert kinds == [
        "ACCOUNT",
        "CONVERSATION",
        "CONVERSATION#LEASE",
        "ID#m1",
        "PROFILE",
        "REPLY",
        "TURN#1700000000123#<reply>#1",
        "TURN#1700000000123#<reply>#2",
        "WORKER",
    ]
    assert stored_reply(table, accepted)["reply_status"] == "streaming"
    assert (accepted.key, accepted.stream.epoch) == (ConversationKey("alice", "talk"), 1)


@pytest.mark.parametrize("worker", ["worker-1", None], ids=["begins", "waits"])
def test_whoever_sends_a_message_shows_its_conversation_and_no_longer_the_one_before(
    store: Store, worker: str | None
) -> None:
    store.connections.open(PHONE)
    store.connections.subscribe(PHONE, "before")
    phone = replace(PHONE, viewing="before")

    store.conversations.accept(
        "alice", hello(), 1, subscription=store.connections.subscription(phone, "talk"), worker=worker
    )

    assert [viewer.connection_id for viewer in store.connections.viewers(TALK)] == [PHONE.id]
    assert store.connections.viewers(ConversationKey("alice", "before")) == []
    assert store.connections.get(PHONE.id) == replace(PHONE, viewing="talk")


def test_a_sender_who_has_named_another_conversation_since_goes_on_showing_that(store: Store) -> None:
    store.connections.open(PHONE)
    subscription = store.connections.subscription(PHONE, "talk")
    store.connections.subscribe(PHONE, "elsewhere")

    store.conversations.accept("alice", hello(), 1, subscription=subscription, worker="worker-1")

    assert store.connections.get(PHONE.id) == replace(PHONE, viewing="elsewhere")
    assert store.connections.viewers(TALK) == []
    assert len(store.connections.viewers(ConversationKey("alice", "elsewhere"))) == 1


def test_a_message_that_goes_and_one_that_comes_do_not_pass_for_nothing(store: Store) -> None:
    """Between the two looks of a worker that finds nobody waiting."""
    first = store.conversations.accept("alice", hello(), 1)
    seen = store.leases.get(TALK)
    store.conversations.withdraw(whereabouts(first), Reply(first.stream.reply), LAST)
    store.conversations.accept("alice", hello(id="m2"), 2)

    store.leases.nobody_waits(TALK, seen)

    assert store.leases.get(TALK).queued == 1
    taken = store.conversations.take_next(TALK, "worker-1")
    assert taken is not None
    assert (taken.send.id, store.leases.get(TALK).queued) == ("m2", 0)


@pytest.mark.parametrize("worker", ["worker-1", None], ids=["begins", "waits"])
def test_a_message_whose_sender_has_closed_its_connection_is_kept(store: Store, worker: str | None) -> None:
    store.connections.open(PHONE)
    store.connections.close(PHONE.id)

    accepted = store.conversations.accept(
        "alice", hello(), 1, subscription=store.connections.subscription(PHONE, "talk"), worker=worker
    )

    assert accepted.waits is (worker is None)
    assert store.conversations.owes(TALK, "m1")
    assert store.connections.viewers(TALK) == []
    with pytest.raises(Duplicate):
        store.conversations.accept(
            "alice", hello(), 2, subscription=store.connections.subscription(PHONE, "talk"), worker=worker
        )


def test_the_same_id_is_accepted_once(conversations: Conversations, table: Table) -> None:
    conversations.accept("alice", hello(), 1, worker="worker-1")
    before = scanned(table)

    with pytest.raises(Duplicate):
        conversations.accept("alice", hello(content="Another"), 2, worker="worker-1")

    assert scanned(table) == before


def test_the_same_id_is_another_message_elsewhere(conversations: Conversations) -> None:
    replies = {
        conversations.accept("alice", hello(), 1, worker="worker-1").stream.reply,
        conversations.accept("bob", hello(), 1, worker="worker-1").stream.reply,
        conversations.accept("alice", hello(conversation="other"), 1, worker="worker-1").stream.reply,
        conversations.accept("alice", hello(id="m2"), 1, worker="worker-1").stream.reply,
    }

    assert len(replies) == 4


def test_of_20_that_race_with_the_same_id_one_is_accepted(conversations: Conversations, table: Table) -> None:
    def accept(number: int) -> Accepted | None:
        try:
            return conversations.accept("alice", hello(content=f"Hello {number}"), number, worker="worker-1")
        except Duplicate:
            return None

    with ThreadPoolExecutor(20) as pool:
        accepted = [each for each in pool.map(accept, range(20)) if each is not None]

    assert len(accepted) == 1
    assert len([item for item in scanned(table) if item["sk"].startswith("TURN#")]) == 2
    assert len(conversations.history(accepted[0], PLENTY)) == 1


@pytest.mark.parametrize(
    "content",
    ["x" * 32_000, "早上 🌅 e\u0301", "\x00\x7f\u2028\ufffd", '{"a":"\\"}', "TURN#1#2"],
    ids=["a whole frame", "any script", "control characters", "json", "a key"],
)
def test_a_message_comes_back_as_it_was(conversations: Conversations, content: str) -> None:
    accepted = conversations.accept("alice", hello(content=content), 1, worker="worker-1")

    assert asked(conversations, accepted) == [content]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("alice", "talk"), ("alice", "talk#")),
        (("alice", "talk"), ("alice", "TALK")),
        (("alice", "talk"), ("bob", "talk")),
        (("alice", "e\u0301"), ("alice", "\u00e9")),
    ],
    ids=["a prefix", "case", "users", "combining marks"],
)
def test_conversations_do_not_see_each_other(
    conversations: Conversations, first: tuple[str, str], second: tuple[str, str]
) -> None:
    conversations.accept(first[0], hello(id="1", content="one", conversation=first[1]), 1, worker="worker-1")
    accepted = conversations.accept(
        second[0], hello(id="2", content="two", conversation=second[1]), 2, worker="worker-1"
    )

    assert asked(conversations, accepted) == ["two"]


def test_names_of_the_greatest_length_fit_the_keys(conversations: Conversations) -> None:
    accepted = conversations.accept(
        "a" * 64, hello(id="😀" * 64, conversation="漢" * 128), 9_999_999_999_999, worker="worker-1"
    )

    assert asked(conversations, accepted) == ["Hello"]


def test_turns_come_in_the_order_in_which_they_were_received(conversations: Conversations) -> None:
    times = [30, 5, 1_700_000_000_000, 200, 10]
    accepted = [
        conversations.accept("alice", hello(id=f"m{ms}", content=str(ms)), ms, worker="worker-1") for ms in times
    ]

    assert asked(conversations, accepted[2]) == ["5", "10", "30", "200", "1700000000000"]


def test_history_ends_with_the_turn_that_was_accepted(conversations: Conversations) -> None:
    accepted = [
        conversations.accept("alice", hello(id=f"m{ms}", content=str(ms)), ms, worker="worker-1") for ms in (1, 2, 3)
    ]

    assert asked(conversations, accepted[1]) == ["1", "2"]


def test_turns_of_the_same_millisecond_keep_one_order_and_their_own_replies(
    store: Store, conversations: Conversations
) -> None:
    for n in range(8):
        accepted = conversations.accept("alice", hello(id=f"m{n}", content=f"q{n}"), 7, worker="worker-1")
        over(store, accepted, answered(accepted, f"a{n}"))
    last = conversations.accept("alice", hello(id="last", content="last"), 8, worker="worker-1")

    turns = conversations.history(last, PLENTY)

    assert sorted(turn.content for turn in turns[:-1]) == [f"q{n}" for n in range(8)]
    assert [turn.blocks[0]["text"][1:] for turn in turns[:-1]] == [turn.content[1:] for turn in turns[:-1]]
    assert asked(conversations, last) == [turn.content for turn in turns]
    assert [turn.key for turn in turns] == sorted(turn.key for turn in turns)


def test_an_answer_comes_back_verbatim(conversations: Conversations) -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "new_block", "deep": [{"x": 1.5, "y": None, "z": 1e300, "n": 2**70}]},
        {"type": "text", "text": "早上 🌅 \x00", "citations": []},
    ]
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply, log_of(blocks))
    reply.complete(Ending("max_tokens", "claude", {"output_tokens": 9}, blocks))
    conversations.finish(accepted, reply, LAST)
    later = conversations.accept("alice", hello(id="m2"), 2, worker="worker-1")

    assert conversations.history(later, PLENTY)[0].blocks == blocks


def test_a_reply_is_stored_as_it_ended(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")

    conversations.finish(accepted, answered(accepted, "Hi 🌅", tokens=3, input_tokens=12), LAST)

    stored = stored_reply(table, accepted)
    assert stored["reply_status"] == "complete"
    assert kept_text(stored) == "Hi 🌅"
    assert stored["sha256"] == hashlib.sha256("Hi 🌅".encode()).hexdigest()
    assert stored["ending"] == {
        "stop_reason": "end_turn",
        "model": "claude",
        "usage": {"output_tokens": 3, "input_tokens": 12},
        "cost": None,
    }


def test_a_reply_ends_once(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    conversations.finish(accepted, answered(accepted, "first"), LAST)

    with pytest.raises(Superseded):
        conversations.finish(accepted, answered(accepted, "second"), LAST)

    assert kept_text(stored_reply(table, accepted)) == "first"


def test_a_reply_that_was_never_accepted_is_not_made_by_ending_it(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    for item in scanned(table):
        table.delete(item["pk"], item["sk"])

    with pytest.raises(Superseded):
        conversations.finish(accepted, answered(accepted, "late"), LAST)

    assert scanned(table) == []


def test_an_end_whose_answer_was_lost_may_be_stored_again(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    conversations.finish(accepted, answered(accepted, "once"), LAST)

    conversations.finish(accepted, answered(accepted, "once"), LAST)

    assert stored_reply(table, accepted)["reply_status"] == "complete"


def test_half_a_turn_that_is_being_stored_is_no_failure(conversations: Conversations, table: Table) -> None:
    first = conversations.accept("alice", hello(id="m1", content="one"), 1, worker="worker-1")
    second = conversations.accept("alice", hello(id="m2", content="two"), 2, worker="worker-1")
    third = conversations.accept("alice", hello(id="m3", content="three"), 3, worker="worker-1")
    table.delete("CONVERSATION#alice#talk", f"TURN#{first.turn}#1")
    table.delete("CONVERSATION#alice#talk", f"TURN#{second.turn}#2")

    assert asked(conversations, third, 1000) == ["two", "three"]


THOUGHT = Part("reasoning", "Hm")
SEARCH: list[Any] = [
    {"type": "thinking", "thinking": "Hm", "signature": "c2ln"},
    {"type": "server_tool_use", "id": "t1", "name": "web_search", "input": {"query": "早"}},
    {"type": "web_search_tool_result", "tool_use_id": "t1", "content": [{"url": "u", "encrypted_content": "x" * 9000}]},
    {"type": "text", "text": "It rains.", "citations": [{"url": "u", "title": "T"}]},
]
SAID = [{"type": "text", "text": "It rains."}]


def stored_parts(conversations: Conversations, accepted: Accepted) -> list[Part]:
    stored = conversations.stored(whereabouts(accepted))
    assert stored is not None
    return stored.log.parts


def told(conversations: Conversations) -> list[Any]:
    """What a model is told of the first answer."""
    later = conversations.accept("alice", hello(id="m2", content="and?"), 2, worker="worker-1")
    return conversations.history(later, PLENTY)[0].blocks


@pytest.mark.parametrize(
    ("before", "blocks", "told_blocks"),
    [
        ([], SEARCH, SEARCH),
        ([THOUGHT], SEARCH, SEARCH),
        ([THOUGHT, *log_of(SEARCH).parts], [], SAID),
        ([THOUGHT], [], []),
    ],
    ids=["one model", "thoughts of a first model", "blocks that do not give the log", "thoughts alone"],
)
def test_a_log_is_read_as_it_was_streamed_and_a_model_is_told_its_blocks(
    conversations: Conversations, before: list[Part], blocks: list[Any], told_blocks: list[Any]
) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply, log_of(blocks, before))
    reply.complete(Ending("end_turn", "claude", {"output_tokens": 9}, blocks))

    conversations.finish(accepted, reply, LAST)

    assert stored_parts(conversations, accepted) == reply.log.parts
    assert told(conversations) == told_blocks


def test_blocks_that_do_not_give_the_log_or_take_too_much_room_go_and_the_log_stays(
    conversations: Conversations,
) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    sealed = {
        "type": "web_search_tool_result",
        "tool_use_id": "t1",
        "content": [{"encrypted_content": "x" * 4_000_000}],
    }
    reply = Reply(accepted.stream.reply, log_of([*SEARCH, sealed]))
    reply.complete(Ending("end_turn", "claude", {"output_tokens": 9}, [*SEARCH, sealed]))

    conversations.finish(accepted, reply, LAST)

    assert stored_parts(conversations, accepted) == reply.log.parts
    assert told(conversations) == SAID


def test_a_broken_reply_keeps_its_parts_and_a_model_is_told_their_text(conversations: Conversations) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply, log_of(SEARCH))
    reply.append(Piece("reasoning", "And"))
    reply.break_off(Upstream("cut"))

    conversations.finish(accepted, reply, LAST)

    assert [part.kind for part in stored_parts(conversations, accepted)] == [
        *("reasoning", "tool", "tool_result", "message", "source", "reasoning"),
    ]
    assert told(conversations) == SAID


@pytest.mark.parametrize(
    ("text", "status", "blocks"),
    [("So far 🌅", "interrupted", [{"type": "text", "text": "So far 🌅"}]), ("", "interrupted", [])],
    ids=["some text", "no text"],
)
def test_what_was_written_of_a_broken_reply_is_kept(
    conversations: Conversations, table: Table, text: str, status: str, blocks: list[dict[str, Any]]
) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    reply = Reply(accepted.stream.reply)
    reply.append(text_of(text))
    reply.break_off(Upstream("cut"))

    conversations.finish(accepted, reply, LAST)

    stored = stored_reply(table, accepted)
    assert (stored["reply_status"], kept_text(stored)) == (status, text)
    later = conversations.accept("alice", hello(id="m2", content="and?"), 2, worker="worker-1")
    told = messages(conversations.history(later, PLENTY))
    assert [message["role"] for message in told] == (["user", "assistant", "user"] if blocks else ["user"])


def broken_off(accepted: Accepted, text: str = "") -> Reply:
    reply = Reply(accepted.stream.reply)
    reply.append(text_of(text))
    reply.break_off(Upstream("cut"))
    return reply


def test_a_turn_that_the_model_declined_is_left_out_of_the_history(store: Store, conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, first, answered(first, "Hi"))
    refused = conversations.accept("alice", hello("m2", "Something bad"), 2, worker="worker-1")
    conversations.finish(refused, broken_off(refused, "I would"), REFUSED)
    store.leases.end(refused.key, refused.stream.epoch)
    later = conversations.accept("alice", hello("m3", "Something good"), 3, worker="worker-1")

    assert asked(conversations, later) == ["Hello", "Something good"]

    over(store, later, answered(later, "Yes"))
    again = conversations.accept("alice", hello("m2", "Something bad"), 4, worker="worker-1")
    assert asked(conversations, again) == ["Hello", "Something bad"]


def test_a_message_whose_reply_broke_off_is_accepted_again_in_its_old_place(
    store: Store, conversations: Conversations
) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, first, broken_off(first, "So far"))
    second = conversations.accept("alice", hello(id="m2"), 2, worker="worker-1")
    over(store, second, answered(second, "Hi"))

    again = conversations.accept("alice", hello(), 3, worker="worker-1")

    assert (again.turn, again.stream.epoch, again.stream.reply != first.stream.reply) == (first.turn, 3, True)
    assert [(turn.content, turn.blocks) for turn in conversations.history(again, PLENTY)] == [("Hello", [])]


def test_what_a_broken_reply_had_stays_until_the_next_has_ended(
    store: Store, conversations: Conversations, table: Table
) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, first, broken_off(first, "So far"))

    again = conversations.accept("alice", hello(), 2, worker="worker-1")
    assert kept_text(stored_reply(table, again)) == "So far"

    conversations.finish(again, answered(again, "All of it"), LAST)
    assert kept_text(stored_reply(table, again)) == "All of it"


def test_a_message_that_is_answered_is_not_accepted_again(conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    conversations.finish(first, answered(first, "Hi"), LAST)

    with pytest.raises(Duplicate):
        conversations.accept("alice", hello(), 2, worker="worker-1")


def test_of_two_that_send_a_broken_message_again_one_is_accepted(conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    conversations.finish(first, broken_off(first), LAST)
    conversations.accept("alice", hello(), 2, worker="worker-1")

    with pytest.raises(Duplicate):
        conversations.accept("alice", hello(), 2, worker="worker-1")


def test_a_worker_that_comes_late_does_not_end_the_next_ones_reply(
    store: Store, conversations: Conversations, table: Table
) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    store.leases.end(TALK, 1)
    assert conversations.interrupt(whereabouts(first), broken_off(first, "So f"), BROKE_OFF)
    again = conversations.accept("alice", hello(), 2, worker="worker-1")

    with pytest.raises(Superseded):
        conversations.finish(first, answered(first, "late"), LAST)

    assert stored_reply(table, again)["reply_status"] == "streaming"
    assert kept_text(stored_reply(table, again)) == "So f", "until it has ended"


def test_only_a_reply_that_is_being_written_can_be_interrupted(conversations: Conversations, table: Table) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    conversations.finish(first, answered(first, "Hi"), LAST)

    assert not conversations.interrupt(whereabouts(first), broken_off(first), BROKE_OFF)

    assert stored_reply(table, first)["reply_status"] == "complete"
    assert sum(not item["pk"].startswith("USER#") for item in scanned(table)) == 7


def test_what_is_stored_of_a_reply_can_be_sent_again(conversations: Conversations) -> None:
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    being_written = conversations.stored(whereabouts(accepted))
    conversations.finish(accepted, answered(accepted, "Grüße 🌅"), LAST)

    assert being_written is not None
    assert (being_written.log.text, being_written.last) == ("", None)
    stored = conversations.stored(whereabouts(accepted))
    assert stored is not None
    assert stored == StoredReply(accepted.stream, "m1", "claude", stored.log, LAST)
    assert stored.log.parts == [Part("message", "Grüße 🌅")]
    assert conversations.latest(TALK) == whereabouts(accepted)
    assert conversations.latest(ConversationKey("alice", "elsewhere")) is None
    assert conversations.latest(ConversationKey("bob", "talk")) is None


def test_a_long_conversation_is_read_whole(conversations: Conversations) -> None:
    """Over a megabyte: more than one page of a query."""
    for number in range(50):
        accepted = conversations.accept(
            "alice", hello(id=f"m{number}", content="漢" * 10_000), number, worker="worker-1"
        )

    assert len(conversations.history(accepted, 10_000_000)) == 50


def fill(store: Store, first: int, last: int) -> Accepted:
    """Turns of 100 tokens each, from 2 + 98."""
    for number in range(first, last):
        send = hello(id=f"m{number}", content=f"q{number:02}")
        accepted = store.conversations.accept("alice", send, number, worker="worker-1")
        over(store, accepted, answered(accepted, "a", tokens=98))
    return store.conversations.accept("alice", hello(id=f"m{last}", content=f"q{last:02}"), last, worker="worker-1")


def test_history_over_the_budget_is_cut_and_the_cut_is_remembered(store: Store, conversations: Conversations) -> None:
    accepted = fill(store, 0, 10)
    assert asked(conversations, accepted, 10_000)[0] == "q00"

    assert asked(conversations, accepted, 1000) == ["q06", "q07", "q08", "q09", "q10"]

    over(store, accepted, answered(accepted, "a", tokens=98))
    accepted = fill(store, 11, 14)
    assert [asked(conversations, accepted, budget)[0] for budget in (10_000, 1000)] == ["q06", "q06"]
    over(store, accepted, answered(accepted, "a", tokens=98))
    later = fill(store, 15, 19)
    assert asked(conversations, later, 1000)[0] == "q15"


def test_a_cut_brings_no_deleted_conversation_back(store: Store, conversations: Conversations) -> None:
    accepted = fill(store, 0, 10)
    store.table.delete(conversation_pk(TALK), "CONVERSATION")

    assert asked(conversations, accepted, 1000)[0] == "q06"

    assert store.table.get(conversation_pk(TALK), "CONVERSATION") is None


def test_a_turn_from_before_the_cut_is_still_answered(conversations: Conversations) -> None:
    """Two messages that arrive together may be answered in any order."""
    early = conversations.accept("alice", hello(id="early", content="early"), 1, worker="worker-1")
    late = conversations.accept("alice", hello(id="late", content="x" * 9_000), 2, worker="worker-1")
    assert asked(conversations, late, 1000) == ["x" * 9_000]

    assert asked(conversations, early, 1000) == ["early"]


def test_a_conversation_has_the_title_of_its_first_message_and_the_time_of_its_last(
    store: Store, conversations: Conversations
) -> None:
    conversations.accept("alice", hello(content="  " + "漢" * 79 + "👍🏽" + "漢" * 20), 1, worker="worker-1")
    store.time_s = 2_100_000_000.25
    conversations.accept("alice", hello(id="m2", content="Second"), 2)

    header = store.table.get("CONVERSATION#alice#talk", "CONVERSATION") or {}
    assert (header["owner_id"], header["title"], header["updated_at"]) == ("alice", "漢" * 79, 2_100_000_000_250)


@pytest.fixture
def by_owner(table: Table) -> Callable[[str], list[str]]:
    def query(user: str) -> list[str]:
        found = table.client.query(
            TableName=table.name,
            IndexName="by_owner",
            KeyConditionExpression="owner_id = :user",
            ExpressionAttributeValues={":user": {"S": user}},
            ScanIndexForward=False,
        )
        return [item["pk"]["S"] for item in found["Items"]]

    return query


def test_the_index_has_a_users_own_conversations_newest_first(
    store: Store, by_owner: Callable[[str], list[str]]
) -> None:
    for second, (user, name) in enumerate([("alice", "a"), ("alice", "b"), ("bob", "c"), ("alice", "a")]):
        store.time_s += 1
        store.conversations.accept(user, hello(id=f"m{second}", conversation=name), second, worker="worker-1")

    assert by_owner("alice") == ["CONVERSATION#alice#a", "CONVERSATION#alice#b"]


# --- one at a time ---


def test_a_message_to_a_busy_conversation_waits(conversations: Conversations, table: Table) -> None:
    conversations.accept("alice", hello(), 1, worker="worker-1")
    waiting = conversations.accept("alice", hello(id="m2", content="And?"), 2, sender="c2=", worker="worker-2")

    assert waiting.waits
    assert stored_reply(table, waiting)["reply_status"] == "queued"
    assert conversations.take_next(TALK, "worker-2") is None, "the first is being written"
    stored = conversations.stored(whereabouts(waiting))
    assert stored is not None
    assert (stored.waits, stored.message_id, stored.last) == (True, "m2", None)


def test_those_who_wait_come_in_the_order_in_which_they_were_received(
    store: Store, conversations: Conversations
) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    for ms in (40, 20, 30):
        conversations.accept("alice", hello(id=f"m{ms}", content=f"q{ms}"), ms, worker=f"worker-{ms}")
    over(store, first, answered(first, "Hi"))
    late = conversations.accept("alice", hello(id="m10", content="q10"), 10, worker="worker-10")
    assert late.waits, "whoever comes while others wait does too, though nobody writes"

    taken = []
    while (accepted := conversations.take_next(TALK, "worker-1")) is not None:
        taken.append((accepted.send.content, accepted.stream.epoch, len(asked(conversations, accepted))))
        assert conversations.take_next(TALK, "worker-2") is None
        over(store, accepted, answered(accepted, "a"))

    assert taken == [("q10", 2, 2), ("q20", 3, 3), ("q30", 4, 4), ("q40", 5, 5)]
    assert [item["sk"] for item in scanned(store.table) if item["sk"].startswith("QUEUE")] == []


def test_a_message_that_waited_is_known_by_its_sender(store: Store, conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    waiting = conversations.accept("alice", hello(id="m2", content="And?"), 2, sender="c2=", worker="worker-2")
    over(store, first, answered(first, "Hi"))

    taken = conversations.take_next(TALK, "worker-1")

    assert taken is not None
    assert (taken.send, taken.sender, taken.turn) == (waiting.send, "c2=", waiting.turn)
    assert (taken.stream.reply, taken.stream.epoch) == (waiting.stream.reply, 2)


def test_of_many_who_take_the_next_at_once_one_has_it(conversations: Conversations) -> None:
    for number in range(3):
        conversations.accept("alice", hello(id=f"m{number}"), number)

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda n: conversations.take_next(TALK, f"worker-{n}"), range(8)))

    assert [accepted.send.id for accepted in taken if accepted] == ["m0"]


def test_of_many_messages_at_once_one_begins_and_the_others_wait(store: Store, conversations: Conversations) -> None:
    with ThreadPoolExecutor(10) as pool:
        accepted = list(
            pool.map(lambda n: conversations.accept("alice", hello(id=f"m{n}"), n, worker=f"w{n}"), range(10))
        )

    assert sorted(each.stream.epoch for each in accepted) == [0] * 9 + [1]
    assert store.leases.get(TALK).queued == 9


def test_without_a_worker_a_message_waits_for_one(conversations: Conversations) -> None:
    assert conversations.accept("alice", hello(), 1).waits
    taken = conversations.take_next(TALK, "worker-1")
    assert taken is not None
    assert (taken.send.content, taken.sender, taken.stream.epoch) == ("Hello", None, 1)


def test_a_message_that_waits_is_accepted_once(conversations: Conversations, table: Table) -> None:
    waiting = conversations.accept("alice", hello(), 1)
    before = scanned(table)

    with pytest.raises(Duplicate) as known:
        conversations.accept("alice", hello(), 2, worker="worker-1")

    assert known.value.reply == waiting.stream.reply
    assert scanned(table) == before


def test_a_broken_message_to_a_busy_conversation_waits_in_its_old_place(
    store: Store, conversations: Conversations
) -> None:
    broken = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, broken, broken_off(broken, "So far"))
    busy = conversations.accept("alice", hello(id="m2"), 2, worker="worker-2")
    conversations.accept("alice", hello(id="m3"), 3, worker="worker-3")

    assert conversations.accept("alice", hello(), 4, worker="worker-4").waits
    over(store, busy, answered(busy, "Hi"))

    taken = conversations.take_next(TALK, "worker-2")
    assert taken is not None
    assert (taken.send.id, taken.turn, taken.stream.epoch) == ("m1", broken.turn, 3)


def test_who_waits_can_have_enough(store: Store, conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, worker="worker-1")
    waiting = conversations.accept("alice", hello(id="m2", content="And?"), 2, worker="worker-2")
    cancelled = Reply(waiting.stream.reply)
    cancelled.cancel()

    assert not conversations.withdraw(whereabouts(first), cancelled, LAST), "it has begun"
    assert conversations.withdraw(whereabouts(waiting), cancelled, LAST)
    assert not conversations.withdraw(whereabouts(waiting), cancelled, LAST)

    over(store, first, answered(first, "Hi"))
    assert conversations.take_next(TALK, "worker-1") is None
    assert (store.leases.get(TALK).queued, stored_reply(store.table, waiting)["reply_status"]) == (0, "cancelled")


# --- left by a deletion that broke off ---


@pytest.mark.parametrize("gone", [["#1"], ["#2"], ["#1", "#2"]])
def test_a_message_that_was_deleted_but_for_its_place_in_the_queue_keeps_nobody_waiting(
    store: Store, conversations: Conversations, gone: list[str]
) -> None:
    deleted = conversations.accept("alice", hello(), 1)
    conversations.accept("alice", hello(id="m2", content="And?"), 2)
    store.table.delete_all((conversation_pk(TALK), f"TURN#{deleted.turn}{part}") for part in gone)

    taken = conversations.take_next(TALK, "worker-1")

    assert taken is not None
    assert (taken.send.content, store.leases.get(TALK).queued) == ("And?", 0)


@dataclass(frozen=True)
class Halved(Table):
    """Reads half of a turn that is being stored, once: DynamoDB's queries are not isolated from its transactions."""

    whole: list[bool] = field(default_factory=list)

    def query(self, pk: str, first: str, last: str, *, forward: bool = True) -> Iterator[Item]:
        items = super().query(pk, first, last, forward=forward)
        if self.whole or not first.startswith("TURN#"):
            return items
        self.whole.append(True)
        return islice(items, 1)


def test_a_message_that_is_just_being_stored_keeps_its_place_in_the_queue(store: Store) -> None:
    waiting = store.conversations.accept("alice", hello(), 1)
    store = Store(Halved(store.table.client, store.table.name))

    taken = store.conversations.take_next(TALK, "worker-1")

    assert taken is not None
    assert (taken.stream.reply, store.leases.get(TALK).queued) == (waiting.stream.reply, 0)


def test_a_worker_that_dies_after_its_message_was_queued_is_found(store: Store, conversations: Conversations) -> None:
    conversations.accept("alice", hello(), 1, worker="worker-1")
    conversations.accept("alice", hello(id="m2"), 2, worker="worker-2")
    assert store.leases.place_of("worker-2") == TALK


def test_a_place_in_the_queue_that_was_deleted_counts_no_more(store: Store, conversations: Conversations) -> None:
    deleted = conversations.accept("alice", hello(), 1)
    store.table.delete(conversation_pk(TALK), f"QUEUE#{deleted.turn}")

    assert conversations.take_next(TALK, "worker-1") is None

    assert not conversations.accept("alice", hello(id="m2"), 2, worker="worker-2").waits


def test_an_id_whose_turn_was_deleted_is_accepted_when_it_comes_again(
    store: Store, conversations: Conversations
) -> None:
    deleted = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, deleted, answered(deleted, "Hi"))
    store.table.delete_all((conversation_pk(TALK), f"TURN#{deleted.turn}{part}") for part in ("#1", "#2"))

    with pytest.raises(Conflict):
        conversations.accept("alice", hello(), 2, worker="worker-2")

    assert not conversations.accept("alice", hello(), 3, worker="worker-3").waits


# --- long ones ---


@pytest.mark.parametrize("longest", ["漢字🌅 " * (LONGEST // 5), "\x01" * LONGEST], ids=["usual", "six bytes each"])
def test_a_reply_of_any_length_is_kept_whole(store: Store, conversations: Conversations, longest: str) -> None:
    text = longest
    accepted = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, accepted, answered(accepted, text))

    stored = conversations.stored(whereabouts(accepted))

    assert stored is not None
    assert stored.log.text == text
    assert conversations.latest(TALK) == whereabouts(accepted)
    later = conversations.accept("alice", hello(id="m2", content="And?"), 2, worker="worker-2")
    assert [turn.blocks for turn in conversations.history(later, PLENTY)] == [[{"type": "text", "text": text}], []]


def test_a_long_reply_that_broke_off_leaves_nothing_in_the_next(store: Store, conversations: Conversations) -> None:
    broken = conversations.accept("alice", hello(), 1, worker="worker-1")
    over(store, broken, broken_off(broken, "x" * 300_000))
    again = conversations.accept("alice", hello(), 2, worker="worker-2")
    assert [turn.blocks for turn in conversations.history(again, PLENTY)] == [[]]
    assert conversations.latest(TALK) == whereabouts(again)

    over(store, again, answered(again, "y" * 200_000))

    stored = conversations.stored(whereabouts(broken))
    assert stored is not None
    assert (stored.stream.reply, stored.log.text) == (again.stream.reply, "y" * 200_000)


PICTURE = Attachment("0" * 32, "Grüße.png", "image/png", 6)


def test_attachments_are_kept_with_their_turn(store: Store, conversations: Conversations) -> None:
    first = conversations.accept("alice", Send("m1", "talk", "", "claude", (PICTURE,)), 1, worker="w")
    waiting = conversations.accept("alice", Send("m2", "talk", "And?", "claude", (PICTURE, PICTURE)), 2, worker="w")
    over(store, first, answered(first, "Nice."))

    taken = conversations.take_next(TALK, "w")
    assert taken is not None
    assert taken.send == waiting.send
    turns = conversations.history(taken, PLENTY)
    assert [(turn.content, turn.attachments) for turn in turns] == [("", (PICTURE,)), ("And?", (PICTURE, PICTURE))]
    assert [turn.tokens for turn in turns] == [1 + 1600 + 5, 2 + 2 * 1600 + 0]
    assert store.table.get(conversation_pk(TALK), "CONVERSATION")["title"] == "Grüße.png"  # type: ignore[index]


# --- messages and replies in the place of others ---


class Talk:
    """A conversation in which each message is answered at once, by its own content in capitals."""

    def __init__(self, conversations: Conversations) -> None:
        self.conversations = conversations
        self.replies: dict[str, str] = {}
        self._now = 0

    def say(self, id: str, replaces: str | None = None) -> Accepted:  # noqa: A002
        return self._answer(self.accept(replace(hello(id, id), replaces=replaces)))

    def accept(self, send: Send) -> Accepted:
        self._now += 1
        return self.conversations.accept("alice", send, self._now, worker="worker-1")

    def regenerate(self, reply: str) -> Accepted:
        return self._answer(self.accept(self.conversations.asked_again("alice", reply)), "anew")

    def _answer(self, accepted: Accepted, text: str = "") -> Accepted:
        told = text or accepted.send.content.upper()
        self.conversations.finish(accepted, answered(accepted, told), LAST)
        self.conversations._leases.end(accepted.key, accepted.stream.epoch)  # noqa: SLF001
        self.replies[accepted.send.id] = accepted.stream.reply
        return accepted

    def told(self) -> list[str]:
        """What a model is told for one more message: messages in small letters, answers as they were."""
        later = self.accept(hello("?", "?"))
        turns = self.conversations.history(later, PLENTY)
        self._answer(later)
        return [word for turn in turns[:-1] for word in (turn.content, *(block["text"] for block in turn.blocks))]


@pytest.fixture
def talk(conversations: Conversations) -> Talk:
    return Talk(conversations)


def test_an_edit_takes_the_place_of_a_message_and_of_all_that_followed(talk: Talk) -> None:
    for message in ("a", "b", "c"):
        talk.say(message)

    talk.say("b2", replaces="b")

    assert talk.told() == ["a", "A", "b2", "B2"]


def test_the_first_message_can_be_replaced_and_what_replaced_it_too(talk: Talk) -> None:
    for message, replaces in (("a", None), ("b", None), ("a2", "a"), ("c", None), ("a3", "a2"), ("d", None)):
        talk.say(message, replaces)

    assert talk.told() == ["a3", "A3", "d", "D"]


def test_of_two_edits_of_one_message_the_later_one_holds(talk: Talk) -> None:
    for message, replaces in (("a", None), ("b", None), ("b2", "b"), ("b3", "b"), ("c", None)):
        talk.say(message, replaces)

    assert talk.told() == ["a", "A", "b3", "B3", "c", "C"]


def test_an_edit_is_repeated_like_any_message_and_needs_one_to_replace(talk: Talk) -> None:
    talk.say("a")
    edited = talk.say("a2", replaces="a")

    with pytest.raises(Duplicate) as known:
        talk.say("a2", replaces="a")
    assert known.value.reply == edited.stream.reply
    with pytest.raises(Forbidden):
        talk.say("x", replaces="nobody")


def test_a_reply_is_answered_anew_once_and_a_repeated_wish_finds_the_new_one(talk: Talk) -> None:
    for message in ("a", "b"):
        talk.say(message)
    old = talk.replies["b"]

    new = talk.regenerate(old)

    assert (new.send.id, new.send.content, new.send.replaces) == ("b", "b", "b")
    with pytest.raises(Duplicate) as known:
        talk.regenerate(old)
    assert known.value.reply == new.stream.reply
    with pytest.raises(Duplicate) as resent:
        talk.say("b")
    assert resent.value.reply == new.stream.reply
    assert talk.told() == ["a", "A", "b", "anew"]
    kept = talk.conversations.stored(ReplyLocation(old, TALK, f"{2:013d}#{old}"))
    assert kept is not None
    assert kept.log.text == "B"


def test_a_reply_that_is_asked_for_anew_by_two_at_once_has_one_successor(talk: Talk) -> None:
    talk.say("a")
    send = talk.conversations.asked_again("alice", talk.replies["a"])

    first = talk.accept(send)
    with pytest.raises(Duplicate) as known:
        talk.accept(send)

    assert known.value.reply == first.stream.reply


def test_only_a_reply_of_the_users_own_that_has_ended_is_answered_anew(talk: Talk) -> None:
    writing = talk.accept(hello("a"))

    for user, reply in (("bob", writing.stream.reply), ("alice", "nobody")):
        with pytest.raises(Forbidden):
            talk.conversations.asked_again(user, reply)
    with pytest.raises(InvalidMessage, match="cancel it, or wait for its end"):
        talk.conversations.asked_again("alice", writing.stream.reply)


def test_a_cut_of_what_was_replaced_cuts_nothing_of_what_is_there_now(talk: Talk) -> None:
    for message in ("a", "b", "c"):
        talk.say(message)
    later = talk.accept(hello("d"))
    assert [turn.content for turn in talk.conversations.history(later, 20)][-1] == "Hello"
    talk._answer(later)  # noqa: SLF001

    talk.say("b2", replaces="b")

    assert talk.told() == ["a", "A", "b2", "B2"]


def test_an_edit_that_waits_is_one_when_its_turn_has_come(talk: Talk) -> None:
    talk.say("a")
    writing = talk.accept(hello("b"))
    waiting = talk.accept(replace(hello("b2"), replaces="b"))
    talk._answer(writing)  # noqa: SLF001

    taken = talk.conversations.take_next(TALK, "worker-1")

    assert waiting.waits
    assert taken is not None
    assert (taken.send.id, taken.send.replaces) == ("b2", "b")
    assert [turn.content for turn in talk.conversations.history(taken, PLENTY)] == ["a", "Hello"]


def test_an_edit_that_waited_is_told_what_it_follows_though_the_history_was_cut_meanwhile(talk: Talk) -> None:
    for message in ("a", "b", "c"):
        talk.say(message)
    writing = talk.accept(hello("d", "d"))
    talk.accept(replace(hello("b2", "b2"), replaces="b"))
    assert [turn.content for turn in talk.conversations.history(writing, 8)] == ["d"], "cut, and remembered"
    talk._answer(writing)  # noqa: SLF001

    taken = talk.conversations.take_next(TALK, "worker-1")
    assert taken is not None
    assert [turn.content for turn in talk.conversations.history(taken, PLENTY)] == ["a", "b2"]
    talk._answer(taken)  # noqa: SLF001

    assert talk.told() == ["a", "A", "b2", "B2"]


def test_a_broken_reply_that_was_regenerated_makes_no_room_for_another_try(talk: Talk) -> None:
    accepted = talk.accept(hello("a"))
    reply = Reply(accepted.stream.reply)
    reply.break_off(Upstream("cut"))
    talk.conversations.finish(accepted, reply, BROKE_OFF)
    talk.conversations._leases.end(TALK, 1)  # noqa: SLF001
    resent = replace(accepted, stream=replace(accepted.stream, reply="r9"))
    new = talk.accept(talk.conversations.asked_again("alice", reply.id))

    refused = talk.conversations._table.transact(*talk.conversations._next_try(resent, reply.id))  # noqa: SLF001

    assert refused
    with pytest.raises(Duplicate) as known:
        talk.accept(hello("a"))
    assert known.value.reply == new.stream.reply
