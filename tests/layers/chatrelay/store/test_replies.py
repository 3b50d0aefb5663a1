import pytest

from chatrelay.domain.cursor import Cursor
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.domain.log import Part, Piece
from chatrelay.store.replies import Replies
from tests.builders.layer import Store
from tests.builders.written import journaled, log_in, text, thought

WHERE = ReplyLocation("r1", ConversationKey("alice", "talk"), "0001#r1")


@pytest.fixture
def replies(store: Store) -> Replies:
    return store.replies


def test_a_reply_that_is_owed_is_found(store: Store, replies: Replies) -> None:
    assert store.table.transact(replies.register(WHERE)) == []
    assert replies.find("r1") == WHERE
    assert replies.find("r2") is None


def test_a_journal_is_read_in_order(replies: Replies) -> None:
    replies.journal("r1", journaled(9, ", so good"))
    replies.journal("r1", journaled(0, "So far 🌅"))
    replies.journal("r2", journaled(0, "Something else"))
    assert replies.journaled("r1") == [Part("message", "So far 🌅, so good")]


def test_a_journal_with_a_gap_ends_at_the_gap(replies: Replies) -> None:
    replies.journal("r1", journaled(0, "one 🌅"))
    replies.journal("r1", journaled(9, "three"))
    assert replies.journaled("r1") == [Part("message", "one 🌅")]


def test_nothing_written_is_an_empty_journal(replies: Replies) -> None:
    assert replies.journaled("r1") == []


def test_acknowledgements_only_grow(replies: Replies) -> None:
    for connection, offset in [("a=", 5), ("b=", 7), ("a=", 12), ("b=", 3), ("b=", 7)]:
        replies.acknowledge("r1", connection, offset)

    assert replies.acknowledged("r1") == {"a=": 12, "b=": 7}
    assert replies.acknowledged("r2") == {}


def test_a_journal_has_the_parts_of_a_log(replies: Replies) -> None:
    log = log_in([thought("Hm"), Piece("tool", '{"query": "早"}', {"call": "t1"}), text("So 🌅")])
    cursor = Cursor()
    replies.journal("r1", cursor.take(log, 7))
    log.append(text(", so good"))
    replies.journal("r1", cursor.take(log, 9000))

    assert replies.journaled("r1") == log.parts


def test_a_part_that_comes_whole_is_kept_whole_or_not_at_all(replies: Replies) -> None:
    log = log_in([thought("Hm"), Piece("tool", '{"query": "rain"}', {"call": "t1"})])
    replies.journal("r1", Cursor().take(log, 120))

    assert replies.journaled("r1") == [Part("reasoning", "Hm")]
