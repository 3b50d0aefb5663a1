"""``functions/failed`` as Lambda calls it: who waits is answered by another worker, and not for ever."""

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from chatrelay.domain.keys import ConversationKey, ReplyLocation
from chatrelay.relay.recovery import NOBODY, PAUSES_S
from chatrelay.wire.inbound import Send
from tests.builders.doubles import Sockets
from tests.builders.layer import CONTEXT, REPOSITORY, Store

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
