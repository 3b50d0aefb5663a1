"""``functions/failed`` as Lambda calls it: who waits is answered by another worker, and not for ever."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chatrelay.domain.errors import Upstream
from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.domain.reply import Reply
from chatrelay.relay.recovery import NOBODY, PAUSES_S
from chatrelay.store.connections import Connection
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, REPOSITORY, Store, by_key

RECORD = json.loads((REPOSITORY / "tests" / "events" / "failed.json").read_text())
TALK = ConversationKey("alice", "talk")
LAST_ATTEMPT = len(PAUSES_S) + 1


def record(worker: str, attempt: int) -> dict[str, Any]:
    """The invocation `worker`, which was to answer what waits after `attempt` calls that had failed, has failed."""
    payload = {"continue": {"user": TALK.user, "conversation": TALK.conversation}, "attempt": attempt}
    return {**RECORD, "requestContext": {**RECORD["requestContext"], "requestId": worker}, "requestPayload": payload}


@pytest.fixture
def function(sockets: Sockets, load_function: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", sockets.url)
    return load_function(
        "failed", MANAGEMENT_ENDPOINT=sockets.url, MESSAGE_FUNCTION="message", NOTIFY_FUNCTION="notify"
    )


@pytest.fixture
def waiting(store: Store) -> ReplyLocation:
    """A reply that waits behind one that ``writer`` has begun."""
    store.conversations.accept(TALK.user, Send("m1", TALK.conversation, "Hello", "claude"), 1, worker="writer")
    waiting = store.conversations.accept(TALK.user, Send("m2", TALK.conversation, "And?", "claude"), 2)
    return ReplyLocation(waiting.stream.reply, TALK, waiting.turn)


def test_the_attempts_are_counted_by_what_the_worker_was_called_with(
    function: ModuleType, store: Store, sockets: Sockets, waiting: ReplyLocation
) -> None:
    """Else a worker that cannot start is called for ever."""
    store.leases.end(TALK, 1)

    function.handler(record("never-began", LAST_ATTEMPT), CONTEXT)

    assert sockets.invoked == []
    stored = store.conversations.stored(waiting)
    assert stored is not None
    assert stored.last is not None
    assert stored.last.content == NOBODY


def test_a_worker_that_came_to_write_is_no_attempt_that_led_nowhere(
    function: ModuleType, store: Store, sockets: Sockets, waiting: ReplyLocation
) -> None:
    function.handler(record("writer", LAST_ATTEMPT), CONTEXT)

    assert sockets.invoked == [{"continue": {"user": "alice", "conversation": "talk"}, "attempt": 1}]
    stored = store.conversations.stored(waiting)
    assert stored is not None
    assert stored.waits


PHONE = Connection("c1=", "claude", VERSION_1, 1_700_000_000, by_key("alice"))
SAID = {"action": "send", "id": "m1", "conversation": "talk", "content": "Hello"}


def died_with(frame: dict[str, Any]) -> dict[str, Any]:
    """An invocation that was given that frame of the phone's, and has written nothing."""
    context = {"connectionId": PHONE.id, "messageId": "x=", "requestTimeEpoch": 1, "eventType": "MESSAGE"}
    dead = {**RECORD["requestContext"], "requestId": "nobody"}
    return {**RECORD, "requestContext": dead, "requestPayload": {"requestContext": context, "body": json.dumps(frame)}}


def asking(again: str, reply: str) -> dict[str, Any]:
    """The frame that asks again: with the message, or for another reply in the place of `reply`."""
    return SAID if again == "send" else {"action": "regenerate", "reply": reply}


def broken(store: Store) -> str:
    """A reply that broke off."""
    accepted = store.conversations.accept("alice", Send("m1", "talk", "Hello", "claude"), 1, worker="w")
    reply = Reply(accepted.stream.reply)
    reply.break_off(Upstream("cut"))
    store.conversations.finish(accepted, reply, Outbound("error", "Cut.", {"code": "upstream"}))
    store.leases.end(TALK, 1)
    return reply.id


@pytest.mark.parametrize("again", ["send", "regenerate"])
def test_who_asks_again_for_a_reply_that_broke_off_is_told_that_the_worker_has_died(
    function: ModuleType, store: Store, sockets: Sockets, again: str
) -> None:
    """The message is known, and nothing of it waits: nobody else would tell."""
    store.connections.open(PHONE)
    reply = broken(store)

    function.handler(died_with(asking(again, reply)), CONTEXT)

    ((told,),) = [[post.json for post in posts] for posts in sockets.posts.values()]
    assert (told["type"], told["code"], told["retryable"]) == ("error", "interrupted", True)
    assert told.get("id") == ("m1" if again == "send" else None)
    assert sockets.invoked == []


@pytest.mark.parametrize("again", ["send", "regenerate"])
def test_what_waits_gets_another_worker_and_nobody_is_told_of_the_first(
    function: ModuleType, store: Store, sockets: Sockets, again: str
) -> None:
    store.connections.open(PHONE)
    reply = broken(store)
    send = Send("m1", "talk", "Hello", "claude") if again == "send" else store.conversations.asked_again("alice", reply)
    store.conversations.accept("alice", send, 2)

    function.handler(died_with(asking(again, reply)), CONTEXT)

    assert sockets.invoked == [{"continue": {"user": "alice", "conversation": "talk"}, "attempt": 1}]
    assert not any(sockets.posts.values())
