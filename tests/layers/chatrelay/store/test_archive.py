import base64
import json
from collections.abc import Callable, Iterable
from typing import ClassVar

import pytest

from chatrelay.domain.errors import Forbidden, Interrupted, InvalidMessage, Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.log import Log
from chatrelay.domain.reply import Ending, Reply
from chatrelay.domain.usage import Used
from chatrelay.store.archive import PAGE_BYTES, Archive
from chatrelay.store.connections import Connection
from chatrelay.store.conversations import Accepted
from chatrelay.store.item_keys import LEASE, conversation_pk
from chatrelay.store.table import Table
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from tests.builders.layer import Store, by_key, scanned
from tests.builders.written import journaled
from tests.builders.written import text as text_of

TALK = ConversationKey("alice", "talk")
LAST = Outbound("complete", "Response complete", {"length": 5})
BROKE_OFF = Outbound("error", "The answer broke off.", {"code": "interrupted"})


def accept(store: Store, number: int = 1, conversation: str = "talk", content: str = "Hello") -> Accepted:
    send = Send(f"m{number}", conversation, content, "claude")
    return store.conversations.accept("alice", send, number, worker="worker-1")


def reply_to(accepted: Accepted, text: str = "Yes.") -> Reply:
    reply = Reply(accepted.stream.reply)
    reply.append(text_of(text))
    reply.complete(Ending("end_turn", "claude", {"output_tokens": 5}, [{"type": "text", "text": text}]))
    return reply


def answer(store: Store, accepted: Accepted, text: str = "Yes.") -> None:
    store.conversations.finish(accepted, reply_to(accepted, text), LAST)
    store.leases.end(accepted.key, accepted.stream.epoch)


def left(store: Store) -> list[str]:
    """What is in the table, but for what is the user's, and for the names of invocations, which end within a day."""
    found = (f"{item['pk']} {item['sk']}" for item in scanned(store.table) if item["sk"] != "WORKER")
    return sorted(each for each in found if not each.startswith("USER#"))


def test_a_user_sees_conversations_latest_first_a_page_at_a_time(store: Store) -> None:
    for number in range(120):
        store.time_s += 1
        accept(store, 1, f"c{number}", f"Title {number}")
    store.conversations.accept("bob", Send("m1", "bobs", "Private", "claude"), 1)

    first = store.archive.conversations("alice", None)
    second = store.archive.conversations("alice", first.next)
    third = store.archive.conversations("alice", second.next)

    seen = [each.title for page in (first, second, third) for each in page.items]
    assert seen == [f"Title {number}" for number in reversed(range(120))]
    assert ([len(page.items) for page in (first, second, third)], third.next) == ([50, 50, 20], None)
    assert [each.conversation for each in store.archive.conversations("bob", first.next).items] in ([], ["bobs"])


def cursor(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


BAD = ["", "x", "!!", "é", cursor([]), cursor([1]), cursor([-1, "c"]), cursor([10**40, "c"]), cursor([1, "c" * 129])]


@pytest.mark.parametrize("forged", [*BAD, cursor({"pk": "KEY#1"}), cursor([None, None])])
def test_a_cursor_that_is_none_is_told(store: Store, forged: str) -> None:
    accept(store)
    with pytest.raises(InvalidMessage):
        store.archive.conversations("alice", forged)
    with pytest.raises(InvalidMessage):
        store.archive.exchanges(TALK, forged)


def test_a_forged_cursor_leads_to_nobody_else(store: Store) -> None:
    store.conversations.accept("bob", Send("m1", "c", "Private", "claude"), 1)
    accept(store)
    forged = cursor([10**13 - 1, "\ud800#../bob"])
    assert [each.conversation for each in store.archive.conversations("alice", forged).items] == ["talk"]


def test_the_latest_turns_come_first_each_page_in_their_order(store: Store) -> None:
    for number in range(60):
        answer(store, accept(store, number, content=f"Hello {number}"), f"Yes {number}.")

    latest = store.archive.exchanges(TALK, None)
    before = store.archive.exchanges(TALK, latest.next)

    said = [(each.content, each.reply.log.text, each.received_at_ms) for each in [*before.items, *latest.items]]
    assert latest.items[0].used == Used("claude", {"output_tokens": 5})
    assert said == [(f"Hello {number}", f"Yes {number}.", number) for number in range(60)]
    assert ([len(before.items), len(latest.items)], before.next) == ([10, 50], None)
    assert {(each.status, each.ended_at_ms) for each in latest.items} == {("complete", 2_000_000_000_500)}


def test_a_page_is_short_where_turns_are_long(store: Store) -> None:
    for number in range(3):
        answer(store, accept(store, number), "早" * (PAGE_BYTES // 4))
    latest = store.archive.exchanges(TALK, None)
    assert [each.received_at_ms for each in latest.items] == [2]
    assert [each.received_at_ms for each in store.archive.exchanges(TALK, latest.next).items] == [1]


def test_a_reply_that_has_not_ended_says_so(store: Store) -> None:
    accept(store, 1)
    accept(store, 2)
    running, waiting = store.archive.exchanges(TALK, None).items
    assert (running.status, running.ended_at_ms, waiting.status) == ("streaming", None, "queued")
    assert (running.used, waiting.used) == (None, None)


def test_there_is_nothing_to_see_or_delete_where_nothing_is(store: Store) -> None:
    accept(store)
    for key in (ConversationKey("bob", "talk"), ConversationKey("alice", "other")):
        with pytest.raises(Forbidden):
            store.archive.exchanges(key, None)
        with pytest.raises(Forbidden):
            store.archive.delete(key)


def test_a_deleted_conversation_leaves_its_fence_for_a_day_and_nothing_else(store: Store) -> None:
    for number in range(30):
        accepted = accept(store, number, content="早")
        store.replies.journal(accepted.stream.reply, journaled(0, "Y"))
        store.replies.acknowledge(accepted.stream.reply, "socket", 1)
        answer(store, accepted, "x" * 200_000 if number == 7 else "Yes.")
    store.conversations.accept("alice", Send("é🌅", "talk", "Hello", "claude"), 99, worker="worker-1")
    accept(store, 100)
    accept(store, 1, "other")
    kept = [line for line in left(store) if "other" in line]

    store.archive.delete(TALK)

    (other,) = [line for line in left(store) if line.startswith("REPLY#")]
    assert left(store) == sorted(["CONVERSATION#alice#talk CONVERSATION#LEASE", other, *kept])
    lease = store.table.get(conversation_pk(TALK), LEASE)
    assert lease == {
        "pk": conversation_pk(TALK),
        "sk": LEASE,
        "fence": 32,
        "queued": 0,
        "arrivals": 1,
        "subscribers": {},
        "expires_at": 2_000_086_400,
    }
    with pytest.raises(Forbidden):
        store.archive.delete(TALK)


def test_what_broken_tries_left_goes_too(store: Store) -> None:
    for _ in range(3):
        accepted = accept(store)
        store.replies.journal(accepted.stream.reply, journaled(0, "Y"))
        reply = Reply(accepted.stream.reply)
        reply.break_off(Interrupted("The worker died."))
        store.conversations.finish(accepted, reply, BROKE_OFF)
        store.leases.end(TALK, accepted.stream.epoch)
    store.archive.delete(TALK)
    assert left(store) == ["CONVERSATION#alice#talk CONVERSATION#LEASE"]


@pytest.mark.parametrize("length", [4, 200_000], ids=["short", "of several items"])
def test_a_worker_of_a_deleted_conversation_brings_nothing_back(store: Store, length: int) -> None:
    accepted = accept(store)
    store.archive.delete(TALK)
    gone = left(store)

    with pytest.raises(Superseded):
        store.leases.heartbeat(TALK, accepted.stream.epoch)
    with pytest.raises(Superseded):
        store.leases.end(TALK, accepted.stream.epoch)
    with pytest.raises(Superseded):
        store.conversations.finish(accepted, reply_to(accepted, "x" * length), LAST)
    store.leases.clear_resume_request(TALK, accepted.stream.epoch, "socket", 0)
    with pytest.raises(Superseded):
        store.conversations.history(accepted, 0)
    store.replies.journal(accepted.stream.reply, journaled(0, "late"))
    store.replies.delete_orphans(accepted.stream.reply)
    assert left(store) == gone


def test_the_fence_goes_on_where_a_deleted_conversation_begins_anew(store: Store) -> None:
    old = accept(store)
    store.archive.delete(TALK)
    new = accept(store)

    assert new.stream.epoch > old.stream.epoch
    with pytest.raises(Superseded):
        store.leases.heartbeat(TALK, old.stream.epoch)
    assert "expires_at" not in (store.table.get(conversation_pk(TALK), LEASE) or {})
    assert [turn.content for turn in store.conversations.history(new, 1_000_000)] == ["Hello"]
    answer(store, new)


def test_who_waits_where_a_conversation_was_deleted_is_kept(store: Store) -> None:
    accept(store)
    store.archive.delete(TALK)
    store.conversations.accept("alice", Send("m2", "talk", "Again", "claude"), 2)

    assert "expires_at" not in (store.table.get(conversation_pk(TALK), LEASE) or {})
    taken = store.conversations.take_next(TALK, "worker-2")
    assert taken is not None
    assert taken.send.content == "Again"


def test_a_reply_written_elsewhere_is_tidied_only_when_it_is_deleted(store: Store) -> None:
    accepted = accept(store)
    store.replies.journal(accepted.stream.reply, journaled(0, "Y"))
    store.replies.delete_orphans(accepted.stream.reply)
    assert Log(store.replies.journaled(accepted.stream.reply)).text == "Y"


def test_an_open_socket_still_shows_what_begins_anew(store: Store) -> None:
    connection = Connection("socket", "claude", BUILDEROS, 2_000_000_000, by_key("alice"))
    store.connections.open(connection)
    store.connections.subscribe(connection, "talk")
    accept(store)
    store.archive.delete(TALK)
    assert [viewer.connection_id for viewer in store.connections.viewers(TALK)] == ["socket"]


def test_a_closed_session_is_shown_no_more_until_it_is_named_again(store: Store) -> None:
    for name, dialect in (("tab", BUILDEROS), ("page", VERSION_1)):
        connection = Connection(name, "claude", dialect, 2_000_000_000, by_key("alice"))
        store.connections.open(connection)
        store.connections.subscribe(connection, "talk")
    for _ in range(2):
        store.connections.unsubscribe(TALK, BUILDEROS)
        assert [viewer.connection_id for viewer in store.connections.viewers(TALK)] == ["page"]
    tab = store.connections.get("tab")
    assert tab is not None
    store.connections.subscribe(tab, "talk")
    assert len(store.connections.viewers(TALK)) == 2


class Interrupting(Table):
    """Somebody else does something in the middle of the first deletion, after it has looked."""

    meanwhile: ClassVar[list[Callable[[], object]]] = []

    def delete_all(self, keys: Iterable[tuple[str, str]]) -> None:
        super().delete_all(keys)
        if self.meanwhile:
            self.meanwhile.pop()()


def test_a_message_that_comes_while_its_conversation_is_deleted_leaves_no_half(store: Store) -> None:
    answer(store, accept(store))
    Interrupting.meanwhile.append(lambda: accept(store, 2))
    Archive(
        Interrupting(store.table.client, store.table.name), store.leases, store.replies, store.accounts, store.usages
    ).delete(TALK)
    assert left(store) == ["CONVERSATION#alice#talk CONVERSATION#LEASE"]


def test_what_was_replaced_is_left_out_on_every_page_or_marked(store: Store) -> None:
    for number in range(1, 121):
        accepted = accept(store, number)
        answer(store, accepted)
    edited = Send("edited", "talk", "edited", "claude", replaces="m100")
    answer(store, store.conversations.accept("alice", edited, 121, worker="worker-1"))

    def pages(*, replaced: bool) -> list[tuple[str, bool]]:
        page = store.archive.exchanges(TALK, None, replaced=replaced)
        found = page.items
        while page.next is not None:
            page = store.archive.exchanges(TALK, page.next, replaced=replaced)
            found = [*page.items, *found]
        return [(each.message_id, each.is_replaced) for each in found]

    kept = [(f"m{number}", False) for number in range(1, 100)]
    assert pages(replaced=False) == [*kept, ("edited", False)]
    assert pages(replaced=True) == [*kept, *((f"m{number}", True) for number in range(100, 121)), ("edited", False)]
