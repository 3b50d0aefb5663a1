import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import pytest

from chatrelay.errors import Duplicate, Superseded, Upstream
from chatrelay.history import messages
from chatrelay.protocol import Outbound, Send
from chatrelay.reply import Ending, Reply
from chatrelay.store.conversations import Accepted, Conversations, StoredReply
from chatrelay.store.replies import Whereabouts
from chatrelay.store.table import Item, Table

PLENTY = 1_000_000
LAST = Outbound("complete", "Response complete", {"length": 5})
BROKE_OFF = Outbound("error", "The answer broke off.", {"code": "interrupted"})


@pytest.fixture
def conversations(table: Table) -> Conversations:
    return Conversations(table, clock=lambda: 1_700_000_000.5)


def hello(id: str = "m1", content: str = "Hello", conversation: str = "talk") -> Send:  # noqa: A002
    return Send(id, conversation, content, "claude")


def answered(accepted: Accepted, text: str, tokens: int = 5, **usage: int) -> Reply:
    reply = Reply(accepted.origin.reply)
    reply.append(text)
    reply.complete(Ending("end_turn", "claude", {"output_tokens": tokens, **usage}, [{"type": "text", "text": text}]))
    return reply


def items(table: Table) -> list[Item]:
    return list(table.client.scan(TableName=table.name, ConsistentRead=True)["Items"])


def stored_reply(table: Table, accepted: Accepted) -> Item:
    found = [item for item in items(table) if item["sk"] == f"TURN#{accepted.turn}#2"]
    assert len(found) == 1
    return found[0]


def whereabouts(accepted: Accepted) -> Whereabouts:
    """Where the reply of an accepted message is, whose worker has been silent for too long."""
    origin = accepted.origin
    return Whereabouts(origin.reply, accepted.user, origin.conversation, accepted.turn, live=False, expired=True)


def asked(conversations: Conversations, accepted: Accepted, budget: int = PLENTY) -> list[str]:
    return [turn.content for turn in conversations.history(accepted, budget)]


def test_an_accepted_message_is_stored_with_the_reply_owed_for_it(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1_700_000_000_123, "worker-1")

    kinds = sorted(item["sk"].replace(accepted.origin.reply, "<reply>") for item in items(table))
    assert kinds == [
        "CONVERSATION",
        "ID#m1",
        "REPLY",
        "TURN#1700000000123#<reply>#1",
        "TURN#1700000000123#<reply>#2",
    ]
    assert stored_reply(table, accepted)["reply_status"] == "streaming"
    assert (accepted.user, accepted.origin.conversation, accepted.origin.epoch) == ("alice", "talk", 1)


def test_the_same_id_is_accepted_once(conversations: Conversations, table: Table) -> None:
    conversations.accept("alice", hello(), 1, "worker-1")
    before = items(table)

    with pytest.raises(Duplicate):
        conversations.accept("alice", hello(content="Another"), 2, "worker-1")

    assert items(table) == before


def test_the_same_id_is_another_message_elsewhere(conversations: Conversations) -> None:
    replies = {
        conversations.accept("alice", hello(), 1, "worker-1").origin.reply,
        conversations.accept("bob", hello(), 1, "worker-1").origin.reply,
        conversations.accept("alice", hello(conversation="other"), 1, "worker-1").origin.reply,
        conversations.accept("alice", hello(id="m2"), 1, "worker-1").origin.reply,
    }

    assert len(replies) == 4


class OneAfterTheOther(Table):
    """moto's transactions are not isolated as DynamoDB's are: one that fails takes its neighbours' writes back."""

    lock = Lock()

    def put_together(self, first: Item, *others: Item) -> bool:
        with self.lock:
            return super().put_together(first, *others)


def test_of_20_that_race_with_the_same_id_one_is_accepted(table: Table) -> None:
    conversations = Conversations(OneAfterTheOther(table.client, table.name))

    def accept(number: int) -> Accepted | None:
        try:
            return conversations.accept("alice", hello(content=f"Hello {number}"), number, "worker-1")
        except Duplicate:
            return None

    with ThreadPoolExecutor(20) as pool:
        accepted = [each for each in pool.map(accept, range(20)) if each is not None]

    assert len(accepted) == 1
    assert len([item for item in items(table) if item["sk"].startswith("TURN#")]) == 2
    assert len(conversations.history(accepted[0], PLENTY)) == 1


@pytest.mark.parametrize(
    "content",
    ["x" * 32_000, "早上 🌅 e\u0301", "\x00\x7f\u2028\ufffd", '{"a":"\\"}', "TURN#1#2"],
    ids=["a whole frame", "any script", "control characters", "json", "a key"],
)
def test_a_message_comes_back_as_it_was(conversations: Conversations, content: str) -> None:
    accepted = conversations.accept("alice", hello(content=content), 1, "worker-1")

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
    conversations.accept(first[0], hello(id="1", content="one", conversation=first[1]), 1, "worker-1")
    accepted = conversations.accept(second[0], hello(id="2", content="two", conversation=second[1]), 2, "worker-1")

    assert asked(conversations, accepted) == ["two"]


def test_names_of_the_greatest_length_fit_the_keys(conversations: Conversations) -> None:
    accepted = conversations.accept(
        "a" * 64, hello(id="😀" * 64, conversation="漢" * 128), 9_999_999_999_999, "worker-1"
    )

    assert asked(conversations, accepted) == ["Hello"]


def test_turns_come_in_the_order_in_which_they_were_received(conversations: Conversations) -> None:
    times = [30, 5, 1_700_000_000_000, 200, 10]
    accepted = [conversations.accept("alice", hello(id=f"m{ms}", content=str(ms)), ms, "worker-1") for ms in times]

    assert asked(conversations, accepted[2]) == ["5", "10", "30", "200", "1700000000000"]


def test_history_ends_with_the_turn_that_was_accepted(conversations: Conversations) -> None:
    accepted = [conversations.accept("alice", hello(id=f"m{ms}", content=str(ms)), ms, "worker-1") for ms in (1, 2, 3)]

    assert asked(conversations, accepted[1]) == ["1", "2"]


def test_turns_of_the_same_millisecond_keep_one_order_and_their_own_replies(conversations: Conversations) -> None:
    accepted = [conversations.accept("alice", hello(id=f"m{n}", content=f"q{n}"), 7, "worker-1") for n in range(8)]
    for number, each in enumerate(accepted):
        conversations.finish(each, answered(each, f"a{number}"), LAST)
    last = conversations.accept("alice", hello(id="last", content="last"), 8, "worker-1")

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
    accepted = conversations.accept("alice", hello(), 1, "worker-1")
    reply = Reply(accepted.origin.reply)
    reply.complete(Ending("max_tokens", "claude", {"output_tokens": 9}, blocks))
    conversations.finish(accepted, reply, LAST)
    later = conversations.accept("alice", hello(id="m2"), 2, "worker-1")

    assert conversations.history(later, PLENTY)[0].blocks == blocks


def test_a_reply_is_stored_as_it_ended(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")

    conversations.finish(accepted, answered(accepted, "Hi 🌅", tokens=3, input_tokens=12), LAST)

    stored = stored_reply(table, accepted)
    assert stored["reply_status"] == "complete"
    assert json.loads(stored["blocks"]) == [{"type": "text", "text": "Hi 🌅"}]
    assert stored["sha256"] == hashlib.sha256("Hi 🌅".encode()).hexdigest()
    assert stored["ending"] == {
        "stop_reason": "end_turn",
        "model": "claude",
        "usage": {"output_tokens": 3, "input_tokens": 12},
    }


def test_a_reply_ends_once(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(accepted, answered(accepted, "first"), LAST)

    with pytest.raises(Superseded):
        conversations.finish(accepted, answered(accepted, "second"), LAST)

    assert json.loads(stored_reply(table, accepted)["blocks"]) == [{"type": "text", "text": "first"}]


def test_a_reply_that_was_never_accepted_is_not_made_by_ending_it(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")
    for item in items(table):
        table.delete(item["pk"], item["sk"])

    with pytest.raises(Superseded):
        conversations.finish(accepted, answered(accepted, "late"), LAST)

    assert items(table) == []


def test_an_end_whose_answer_was_lost_may_be_stored_again(conversations: Conversations, table: Table) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(accepted, answered(accepted, "once"), LAST)

    conversations.finish(accepted, answered(accepted, "once"), LAST)

    assert stored_reply(table, accepted)["reply_status"] == "complete"


def test_half_a_turn_that_is_being_stored_is_no_failure(conversations: Conversations, table: Table) -> None:
    first = conversations.accept("alice", hello(id="m1", content="one"), 1, "worker-1")
    second = conversations.accept("alice", hello(id="m2", content="two"), 2, "worker-1")
    third = conversations.accept("alice", hello(id="m3", content="three"), 3, "worker-1")
    table.delete("CONVERSATION#alice#talk", f"TURN#{first.turn}#1")
    table.delete("CONVERSATION#alice#talk", f"TURN#{second.turn}#2")

    assert asked(conversations, third, 1000) == ["two", "three"]


@pytest.mark.parametrize(
    ("text", "status", "blocks"),
    [("So far 🌅", "interrupted", [{"type": "text", "text": "So far 🌅"}]), ("", "interrupted", [])],
    ids=["some text", "no text"],
)
def test_what_was_written_of_a_broken_reply_is_kept(
    conversations: Conversations, table: Table, text: str, status: str, blocks: list[dict[str, Any]]
) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")
    reply = Reply(accepted.origin.reply)
    reply.append(text)
    reply.break_off(Upstream("cut"))

    conversations.finish(accepted, reply, LAST)

    stored = stored_reply(table, accepted)
    assert (stored["reply_status"], json.loads(stored["blocks"])) == (status, blocks)
    later = conversations.accept("alice", hello(id="m2", content="and?"), 2, "worker-1")
    told = messages(conversations.history(later, PLENTY))
    assert [message["role"] for message in told] == (["user", "assistant", "user"] if blocks else ["user"])


def broken_off(accepted: Accepted, text: str = "") -> Reply:
    reply = Reply(accepted.origin.reply)
    reply.append(text)
    reply.break_off(Upstream("cut"))
    return reply


def test_a_message_whose_reply_broke_off_is_accepted_again_in_its_old_place(conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(first, broken_off(first, "So far"), LAST)
    conversations.accept("alice", hello(id="m2"), 2, "worker-1")

    again = conversations.accept("alice", hello(), 3, "worker-1")

    assert (again.turn, again.origin.epoch, again.origin.reply != first.origin.reply) == (first.turn, 2, True)
    assert [(turn.content, turn.blocks) for turn in conversations.history(again, PLENTY)] == [("Hello", [])]


def test_what_a_broken_reply_had_stays_until_the_next_has_ended(conversations: Conversations, table: Table) -> None:
    first = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(first, broken_off(first, "So far"), LAST)

    again = conversations.accept("alice", hello(), 2, "worker-1")
    assert json.loads(stored_reply(table, again)["blocks"]) == [{"type": "text", "text": "So far"}]

    conversations.finish(again, answered(again, "All of it"), LAST)
    assert json.loads(stored_reply(table, again)["blocks"]) == [{"type": "text", "text": "All of it"}]


def test_a_message_that_is_answered_is_not_accepted_again(conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(first, answered(first, "Hi"), LAST)

    with pytest.raises(Duplicate):
        conversations.accept("alice", hello(), 2, "worker-1")


def test_of_two_that_send_a_broken_message_again_one_is_accepted(conversations: Conversations) -> None:
    first = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(first, broken_off(first), LAST)
    conversations.accept("alice", hello(), 2, "worker-1")

    with pytest.raises(Duplicate):
        conversations.accept("alice", hello(), 2, "worker-1")


def test_a_worker_that_comes_late_does_not_end_the_next_ones_reply(conversations: Conversations, table: Table) -> None:
    first = conversations.accept("alice", hello(), 1, "worker-1")
    assert conversations.interrupt(whereabouts(first), "So f", BROKE_OFF)
    again = conversations.accept("alice", hello(), 2, "worker-1")

    with pytest.raises(Superseded):
        conversations.finish(first, answered(first, "late"), LAST)

    assert stored_reply(table, again)["reply_status"] == "streaming"
    assert json.loads(stored_reply(table, again)["blocks"]) == [{"type": "text", "text": "So f"}], "until it has ended"


def test_only_a_reply_that_is_being_written_can_be_interrupted(conversations: Conversations, table: Table) -> None:
    first = conversations.accept("alice", hello(), 1, "worker-1")
    conversations.finish(first, answered(first, "Hi"), LAST)

    assert not conversations.interrupt(whereabouts(first), "", BROKE_OFF)

    assert stored_reply(table, first)["reply_status"] == "complete"
    assert len(items(table)) == 5


def test_a_duplicate_that_dies_does_not_end_the_reply_of_the_one_that_writes_it(conversations: Conversations) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")

    assert conversations.reply_of("alice", hello(), "worker-1") == accepted.origin.reply
    assert conversations.reply_of("alice", hello(id="never"), "worker-2") is None
    with pytest.raises(Superseded):
        conversations.reply_of("alice", hello(), "worker-2")


def test_what_is_stored_of_a_reply_can_be_sent_again(conversations: Conversations) -> None:
    accepted = conversations.accept("alice", hello(), 1, "worker-1")
    being_written = conversations.stored(whereabouts(accepted))
    conversations.finish(accepted, answered(accepted, "Grüße 🌅"), LAST)

    assert being_written is not None
    assert (being_written.text, being_written.last) == ("", None)
    assert conversations.stored(whereabouts(accepted)) == StoredReply(accepted.origin, "Grüße 🌅", LAST)
    assert conversations.latest_reply("alice", "talk") == accepted.origin.reply
    assert conversations.latest_reply("alice", "elsewhere") is None
    assert conversations.latest_reply("bob", "talk") is None


def test_a_long_conversation_is_read_whole(conversations: Conversations) -> None:
    """Over a megabyte: more than one page of a query."""
    for number in range(50):
        accepted = conversations.accept("alice", hello(id=f"m{number}", content="漢" * 10_000), number, "worker-1")

    assert len(conversations.history(accepted, 10_000_000)) == 50


def fill(conversations: Conversations, first: int, last: int) -> Accepted:
    """Turns of 100 tokens each, from 2 + 98."""
    for number in range(first, last):
        accepted = conversations.accept("alice", hello(id=f"m{number}", content=f"q{number:02}"), number, "worker-1")
        conversations.finish(accepted, answered(accepted, "a", tokens=98), LAST)
    return conversations.accept("alice", hello(id=f"m{last}", content=f"q{last:02}"), last, "worker-1")


def test_history_over_the_budget_is_cut_and_the_cut_is_remembered(conversations: Conversations) -> None:
    accepted = fill(conversations, 0, 10)
    assert asked(conversations, accepted, 10_000)[0] == "q00"

    assert asked(conversations, accepted, 1000) == ["q06", "q07", "q08", "q09", "q10"]
    assert asked(conversations, accepted, 10_000) == ["q06", "q07", "q08", "q09", "q10"]

    conversations.finish(accepted, answered(accepted, "a", tokens=98), LAST)
    assert asked(conversations, fill(conversations, 11, 14), 1000)[0] == "q06"
    later = fill(conversations, 15, 19)
    assert asked(conversations, later, 1000)[0] == "q14"


def test_a_turn_from_before_the_cut_is_still_answered(conversations: Conversations) -> None:
    """Two messages that arrive together may be answered in any order."""
    early = conversations.accept("alice", hello(id="early", content="early"), 1, "worker-1")
    late = conversations.accept("alice", hello(id="late", content="x" * 9_000), 2, "worker-1")
    assert asked(conversations, late, 1000) == ["x" * 9_000]

    assert asked(conversations, early, 1000) == ["early"]


def test_a_conversation_has_the_title_of_its_first_message_and_the_time_of_its_last(
    table: Table, conversations: Conversations
) -> None:
    conversations.accept("alice", hello(content="  " + "漢" * 100), 1, "worker-1")
    Conversations(table, clock=lambda: 1_800_000_000.25).accept(
        "alice", hello(id="m2", content="Second"), 2, "worker-1"
    )

    header = table.get("CONVERSATION#alice#talk", "CONVERSATION") or {}
    assert (header["owner_id"], header["title"], header["updated_at"]) == ("alice", "漢" * 80, 1_800_000_000_250)


@pytest.fixture
def by_owner(table: Table) -> Callable[[str], list[str]]:
    def query(user: str) -> list[str]:
        found = table.client.query(
            TableName=table.name,
            IndexName="by_owner",
            KeyConditionExpression="owner_id = :user",
            ExpressionAttributeValues={":user": user},
            ScanIndexForward=False,
        )
        return [str(item["pk"]) for item in found["Items"]]

    return query


def test_the_index_has_a_users_own_conversations_newest_first(
    table: Table, by_owner: Callable[[str], list[str]]
) -> None:
    for second, (user, name) in enumerate([("alice", "a"), ("alice", "b"), ("bob", "c"), ("alice", "a")]):
        clock = float(second)
        send = hello(id=f"m{second}", conversation=name)
        Conversations(table, clock=lambda clock=clock: clock).accept(user, send, second, "worker-1")  # type: ignore[misc]

    assert by_owner("alice") == ["CONVERSATION#alice#a", "CONVERSATION#alice#b"]
