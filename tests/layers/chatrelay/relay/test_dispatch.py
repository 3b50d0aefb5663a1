import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from aws_lambda_powertools import Logger

from chatrelay.aws.invoke import WorkerInvoker
from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.errors import Interrupted, Unavailable
from chatrelay.domain.keys import ConversationKey
from chatrelay.relay.acceptance import Acceptance
from chatrelay.relay.admission import Admission
from chatrelay.relay.agent_registry import AgentRegistry
from chatrelay.relay.dispatch import Dispatcher, Frame, Message
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.resume import ResumeService
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.api_keys import ApiKeys
from chatrelay.store.connections import Connection, Connections
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.inbound import Send
from tests.builders.doubles import Sockets
from tests.builders.layer import Store, by_key

KEY = "crk_secret"


@dataclass
class Desk:
    """A reception, and what stands around it."""

    store: Store
    sockets: Sockets
    keys: ApiKeys
    dispatcher: Dispatcher
    acceptance: Acceptance

    @property
    def connections(self) -> Connections:
        return self.store.connections

    def connect(self, *, agent: str = "claude", user: str | None = "alice") -> None:
        dialect = VERSION_1 if user else BUILDEROS
        self.connections.open(Connection("c1=", agent, dialect, 1_700_000_000, by_key(user) if user else None))

    def connect_app(self, agent: str = "claude") -> None:
        """The BuilderOS app, authenticated as it does it."""
        self.keys.add(KEY, "bob")
        self.connect(agent=agent, user=None)
        self.receive(KEY)
        self.sockets.posts.clear()

    def receive(self, body: str) -> Message | None:
        return self.dispatcher.receive(frame(body))

    @property
    def texts(self) -> list[str]:
        return self.sockets.texts("c1=")

    @property
    def frames(self) -> list[dict[str, Any]]:
        return self.sockets.frames("c1=")


@pytest.fixture
def desk(
    store: Store,
    api: ManagementApi,
    sockets: Sockets,
    recovery: Recovery,
    resume: ResumeService,
    workers: WorkerInvoker,
    telemetry: Telemetry,
) -> Desk:
    keys = ApiKeys(store.table)
    agents = AgentRegistry({"claude": unused})
    acceptance = Acceptance(store, recovery, agents, unused)
    return Desk(
        store,
        sockets,
        keys,
        Dispatcher(
            store, api, resume, workers, telemetry, Admission(store, lambda: None, 0, Logger()), lambda: store.time_s
        ),
        acceptance,
    )


def unused() -> NoReturn:
    raise AssertionError("no agent is built, and no file is looked at, before a worker does")


def frame(body: str) -> Frame:
    return Frame("c1=", "m=", 1_700_000_000_123, body)


@pytest.mark.parametrize("body", ["hi", None], ids=["a body", "no body"])
def test_a_frame_is_read_from_api_gateways_event(body: str | None) -> None:
    context = {"connectionId": "c1=", "messageId": "m=", "requestTimeEpoch": 1_700_000_000_123, "more": 1}

    assert Frame.from_event({"requestContext": context, "body": body, "isBase64Encoded": False}) == frame(body or "")


def test_a_message_is_handed_on_with_its_sender(desk: Desk) -> None:
    desk.connect()

    message = desk.receive('{"action":"send","id":"m1","conversation":"talk","content":"hi"}')

    assert message is not None
    assert (message.user, message.asked) == ("alice", Send("m1", "talk", "hi", "claude"))
    assert (message.connection.id, message.received_ms) == ("c1=", 1_700_000_000_123)
    assert desk.texts == []


def test_hello_is_answered_ready(desk: Desk) -> None:
    desk.connect(agent="codex")

    assert desk.receive('{"action":"hello","conversation":"talk"}') is None

    fields = ("type", "user", "agent", "conversation", "protocol")
    assert [[each[name] for name in fields] for each in desk.frames] == [["ready", "alice", "codex", "talk", 1]]


def test_a_greeting_is_sent_again_when_the_gateway_is_busy(desk: Desk) -> None:
    desk.connect()
    desk.sockets.refusals["c1="] = [429, 500]

    desk.receive('{"action": "hello"}')

    assert [each["type"] for each in desk.frames] == ["ready"]


def test_a_message_by_http_for_which_nobody_can_be_called_is_kept(desk: Desk) -> None:
    send = Send("m1", "talk", "Hello", "claude")
    desk.sockets.forbids = True
    with pytest.raises(Unavailable):
        desk.acceptance.enqueue("alice", send, 1)

    desk.sockets.forbids = False
    reply = desk.acceptance.enqueue("alice", send, 2)

    assert desk.sockets.invoked == [{"continue": {"user": "alice", "conversation": "talk"}, "attempt": 0}]
    taken = desk.store.conversations.take_next(ConversationKey("alice", "talk"), "worker-1")
    assert taken is not None
    assert taken.stream.reply == reply


@pytest.mark.parametrize(
    ("body", "sentence", "about"),
    [
        ("not json", "frame: must be JSON", None),
        (
            '{"action":"shout"}',
            "action: must be one of ack, auth, cancel, edit, hello, ping, regenerate, resume, send",
            None,
        ),
        ('{"action":"send","id":"m1","conversation":"talk"}', "content: is missing", "m1"),
        ('{"action":"send","id":7,"conversation":"talk","content":"x"}', "id: must be a string", None),
        (
            '{"action":"ping"}',
            "action: must be one of ack, auth, cancel, edit, hello, ping, regenerate, resume, send",
            None,
        ),
        ("[" * 30_000, "frame: must be JSON", None),
    ],
    ids=["no json", "no such action", "a field is missing", "a wrong type", "a ping by a wrong route", "deep"],
)
def test_a_frame_that_is_wrong_is_refused_and_the_socket_stays(
    desk: Desk, body: str, sentence: str, about: str | None
) -> None:
    desk.connect()

    assert desk.receive(body) is None

    assert [(each["type"], each["code"], each["retryable"]) for each in desk.frames] == [
        ("error", "invalid_message", False)
    ]
    assert (desk.frames[0]["content"], desk.frames[0].get("id")) == (sentence, about)
    assert desk.sockets.closed == []
    assert desk.receive('{"action":"hello"}') is None
    assert desk.frames[1]["type"] == "ready"


@pytest.mark.parametrize("frame", [KEY, f"{KEY}\n", f" {KEY}\r\n", f"\ufeff{KEY} ", f"\u200b{KEY}\x00"])
def test_the_builderos_app_authenticates_by_its_bare_first_frame(desk: Desk, frame: str) -> None:
    """People paste keys, with what a terminal puts around them."""
    desk.keys.add(KEY, "bob")
    desk.connect(user=None)

    assert desk.receive(frame) is None

    assert desk.texts[0] == "authenticated"
    assert [json.loads(text)["type"] for text in desk.texts[1:]] == ["ready"]
    connection = desk.connections.get("c1=")
    assert connection is not None
    assert (connection.user, connection.dialect) == ("bob", BUILDEROS)


def test_a_key_wakes_the_function_that_answers_once_its_client_has_been_answered(desk: Desk) -> None:
    """The app's first message follows at once, and would find a cold one."""
    desk.keys.add(KEY, "bob")
    desk.connect(user=None)

    desk.receive(KEY)

    assert desk.sockets.invoked == [{"warm": True}]
    assert desk.sockets.order == ["c1=", "c1=", "message"]


def test_a_key_is_good_though_nobody_can_be_woken(desk: Desk) -> None:
    desk.keys.add(KEY, "bob")
    desk.connect(user=None)
    desk.sockets.forbids = True

    assert desk.receive(KEY) is None

    assert desk.texts[0] == "authenticated"
    assert [json.loads(text)["type"] for text in desk.texts[1:]] == ["ready"]


@pytest.mark.parametrize(
    "key", ["crk_wrong", "", " ", "x" * 7169, "x" * 32_000, "😀\x00", "null", '"crk_secret"', "crk_ secret"]
)
def test_a_wrong_key_is_told_as_the_app_expects_and_the_socket_closed(desk: Desk, key: str) -> None:
    desk.keys.add(KEY, "bob")
    desk.connect(user=None)

    assert desk.receive(key) is None

    assert desk.texts == ["error:invalid_api_key"]
    assert desk.sockets.closed == ["c1="]


def test_a_key_over_the_limit_is_not_even_looked_for(desk: Desk) -> None:
    desk.keys.add("x" * 7169, "bob")
    desk.connect(user=None)

    desk.receive("x" * 7169)

    assert desk.texts == ["error:invalid_api_key"]


@pytest.mark.parametrize(
    "body",
    [
        '{"action":"ping"}',
        ' {"action":"send","id":"m1","conversation":"talk","content":"hi"}',
        '{"content":"hi","session_id":"s"}',
        '{"working_directory":"/"}',
    ],
)
def test_nothing_but_a_key_is_taken_from_a_pending_connection(desk: Desk, body: str) -> None:
    desk.connect(user=None)

    assert desk.receive(body) is None

    assert [(each["type"], each["code"], each["retryable"]) for each in desk.frames] == [
        ("error", "unauthorized", False)
    ]
    assert desk.sockets.closed == ["c1="]
    assert desk.connections.get("c1=") is None


@pytest.mark.parametrize("body", ['{"action":"send"}', "crk_wrong"])
def test_many_wrong_frames_at_once_are_one_answer_and_one_close(desk: Desk, body: str) -> None:
    desk.connect(user=None)

    with ThreadPoolExecutor(8) as burst:
        assert list(burst.map(desk.receive, [body] * 16)) == [None] * 16

    assert len(desk.texts) == 1
    assert "c1=" in desk.sockets.closed


@pytest.mark.parametrize("status", [429, 500], ids=["throttled", "not delivered"])
@pytest.mark.parametrize("body", ['{"action":"send"}', "crk_wrong"])
def test_a_stranger_who_does_not_read_the_answer_is_turned_away_all_the_same(
    desk: Desk, body: str, status: int
) -> None:
    desk.connect(user=None)
    desk.sockets.refusals["c1="] = [status] * 4

    assert desk.receive(body) is None

    assert (desk.texts, desk.sockets.closed) == ([], ["c1="])
    assert desk.connections.get("c1=") is None


def test_no_wrong_frame_closes_before_the_first_one_is_answered(desk: Desk) -> None:
    """Another one comes while the answer is on its way."""
    desk.connect(user=None)
    desk.sockets.post_s = 0.5

    with ThreadPoolExecutor(1) as other:
        first = other.submit(desk.receive, "crk_wrong")
        while not desk.sockets.under_way:
            time.sleep(0.01)
        desk.receive("crk_wrong")
        assert desk.sockets.closed == []
        first.result()

    assert (desk.texts, desk.sockets.closed) == (["error:invalid_api_key"], ["c1="])


def test_whoever_dies_over_turning_a_connection_away_is_followed_by_another(desk: Desk) -> None:
    desk.connect(user=None)
    pending = desk.connections.get("c1=")
    assert pending is not None
    assert desk.connections.turn_away(pending)
    desk.receive("crk_wrong")
    assert desk.texts == []

    desk.store.time_s += 6
    desk.receive("crk_wrong")

    assert (desk.texts, desk.sockets.closed) == (["error:invalid_api_key"], ["c1="])


def test_the_apps_configuration_is_answered_ready_again(desk: Desk) -> None:
    desk.connect_app()

    assert desk.receive('{"working_directory":"/home/bob"}') is None

    assert [each["type"] for each in desk.frames] == ["ready"]
    assert "working_directory" not in desk.texts[0]


def test_the_apps_messages_get_an_id_of_the_connection_and_the_message(desk: Desk) -> None:
    desk.connect_app(agent="codex")

    message = desk.receive('{"content":"hi","session_id":"tab-1","device_id":"d","chat_type":"jarvis"}')

    assert message is not None
    assert (message.user, message.asked) == ("bob", Send("c1=m=", "tab-1", "hi", "claude"))


@pytest.mark.parametrize("more", ["", ',"session_id":null', ',"session_id":""'])
def test_a_message_of_no_session_has_a_conversation_of_its_connection(desk: Desk, more: str) -> None:
    """Older clients name none, and two of them do not share one."""
    desk.connect_app()

    message = desk.receive(f'{{"content":"hi"{more},"chat_type":null}}')

    assert message is not None
    assert isinstance(message.asked, Send)
    assert (message.asked.conversation, message.asked.agent) == ("c1=", "claude")


def test_an_error_is_told_to_the_app_in_its_three_strings(desk: Desk) -> None:
    desk.connect_app()

    desk.receive('{"content":"","session_id":"s"}')

    assert [desk.frames[0][name] for name in ("type", "content")] == ["error", "content: must not be empty"]
    assert isinstance(desk.frames[0]["timestamp"], str)


def test_a_message_whose_sender_has_left_before_it_came_is_a_message(desk: Desk) -> None:
    desk.connect()
    desk.connections.close("c1=")

    message = desk.receive('{"action": "send", "id": "m1", "conversation": "talk", "content": "Hello"}')

    assert message is not None
    assert isinstance(message.asked, Send)
    assert (message.user, message.asked.content, desk.texts) == ("alice", "Hello", [])
    assert desk.connections.viewers(ConversationKey("alice", "talk")) == []


def test_a_socket_that_we_were_told_is_gone_and_that_speaks_is_closed(desk: Desk) -> None:
    """Its client connects again, instead of waiting for ever."""
    desk.connect()
    desk.connections.gone(ConversationKey("alice", "talk"), "c1=")

    desk.receive('{"action": "hello"}')

    assert desk.sockets.closed == ["c1="]


def test_a_frame_of_a_connection_that_is_closed_is_dropped(desk: Desk) -> None:
    assert desk.receive('{"action":"hello"}') is None
    assert desk.dispatcher.message(frame('{"action":"hello"}')) is None

    assert desk.sockets.posts == {}


@pytest.mark.parametrize("body", ['{"action":"hello"}', "not json"], ids=["an answer", "a refusal"])
def test_a_client_that_has_left_is_forgotten(desk: Desk, body: str) -> None:
    desk.connect()
    desk.sockets.refusals["c1="] = [410]

    assert desk.receive(body) is None

    assert desk.connections.get("c1=") is None
    assert desk.connections.count("claude") == 0


def test_an_app_that_left_while_it_authenticated_is_forgotten(desk: Desk) -> None:
    desk.keys.add(KEY, "bob")
    desk.connect(user=None)
    desk.sockets.refusals["c1="] = [410]

    assert desk.receive(KEY) is None

    assert desk.connections.get("c1=") is None


def test_a_problem_is_told_with_the_id_of_the_message(desk: Desk) -> None:
    body = '{"action":"send","id":"m1","conversation":"talk","content":"hi"}'

    desk.dispatcher.send_error(frame(body), Interrupted("It broke off."))

    told = desk.frames[0]
    assert [told[name] for name in ("type", "code", "retryable", "content", "id")] == [
        "error",
        "interrupted",
        True,
        "It broke off.",
        "m1",
    ]


@pytest.mark.parametrize(
    ("body", "about"),
    [
        ('{"action":"resume","reply":"r1"}', {"reply": "r1"}),
        ('{"action":"ack","reply":"r1"}', {"reply": "r1"}),
        ('{"action":"cancel","reply":7}', {}),
        ('{"action":"resume","conversation":"talk"}', {}),
        ('{"action":"send","id":"m1","reply":"r1"}', {"id": "m1"}),
    ],
    ids=["of nobody's", "without an offset", "of no name", "of a conversation", "a message's"],
)
def test_what_is_refused_of_a_reply_is_told_with_it(desk: Desk, body: str, about: dict[str, str]) -> None:
    desk.connect()

    desk.receive(body)

    (told,) = desk.frames
    assert told["type"] == "error"
    assert {name: told[name] for name in ("id", "reply", "length") if name in told} == about


def test_the_builderos_apps_errors_name_no_reply(desk: Desk) -> None:
    desk.connect_app()

    desk.receive('{"action":"cancel","reply":"r1"}')

    (told,) = desk.frames
    assert (told["code"], "reply" in told) == ("forbidden", False)


def test_looking_for_a_message_answers_nothing(desk: Desk) -> None:
    desk.connect()
    bodies = ['{"action":"send","id":"m1","conversation":"talk","content":"hi"}', '{"action":"hello"}', "not json"]

    found = [desk.dispatcher.message(frame(body)) for body in bodies]

    assert [message is not None and isinstance(message.asked, Send) and message.asked.id for message in found] == [
        "m1",
        False,
        False,
    ]
    assert desk.texts == []


def test_a_pending_connection_has_no_messages(desk: Desk) -> None:
    desk.connect(user=None)

    assert desk.dispatcher.message(frame('{"content":"hi","session_id":"s"}')) is None
