"""Who comes in, for how long, how fast; and who goes."""

import json
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import pytest
from aws_lambda_powertools import Logger

from chatrelay.aws.invoke import WorkerInvoker
from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.devices import Platform
from chatrelay.domain.identity import Identity
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.limits import Limits
from chatrelay.relay.admission import Admission
from chatrelay.relay.dispatch import Dispatcher, Frame, Message
from chatrelay.relay.resume import ResumeService
from chatrelay.relay.revocation import Revocation
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.connections import Connection
from chatrelay.store.table import Table
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.inbound import Send
from chatrelay.wire.registration import Registration
from tests.builders.doubles import Sockets
from tests.builders.layer import NUMBERS, Store, by_key

NOW_S = 2_000_000_000
SIGNED_IN = Identity("alice", "app:s1", NOW_S - 60, NOW_S + 60)
TALK = ConversationKey("alice", "talk")
SEND = {"action": "send", "id": "m1", "conversation": "talk", "content": "hi"}


@dataclass
class Door:
    store: Store
    sockets: Sockets
    dispatcher: Dispatcher
    message: Message | None = None

    def open(self, name: str = "c1=", **more: Any) -> None:
        opened = Connection(name, "claude", VERSION_1, NOW_S, SIGNED_IN, SIGNED_IN.expires_at)
        self.store.connections.open(replace(opened, **more))

    def hears(self, name: str = "c1=", /, **frame: Any) -> dict[str, Any] | None:
        """What the connection is told next, once it has said the frame."""
        heard = len(self.sockets.posts[name])
        self.message = self.dispatcher.receive(Frame(name, "m=", NOW_S * 1000, json.dumps(frame)))
        return next(iter(self.sockets.frames(name)[heard:]), None)


@pytest.fixture
def store(table: Table) -> Store:
    return Store(table, Limits(frames_per_minute=5, sockets=2))


@pytest.fixture
def door(
    store: Store,
    api: ManagementApi,
    sockets: Sockets,
    resume: ResumeService,
    workers: WorkerInvoker,
    telemetry: Telemetry,
    log: StringIO,
) -> Door:
    admission = Admission(
        store, lambda: None, 0, Logger(service=f"test-{next(NUMBERS)}", stream=log), lambda: store.time_s
    )
    return Door(store, sockets, Dispatcher(store, api, resume, workers, telemetry, admission, lambda: store.time_s))


@pytest.fixture
def revocation(store: Store, api: ManagementApi) -> Revocation:
    return Revocation(store, api)


# --- how long ---------------------------------------------------------------------------------------------------------

FRAMES = [
    SEND,
    {"action": "hello", "conversation": "talk"},
    {"action": "resume", "conversation": "talk"},
    {"action": "cancel", "reply": "r"},
    {"action": "ack", "reply": "r", "offset": 1},
    {"action": "regenerate", "reply": "r"},
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: str(frame["action"]))
def test_a_connection_whose_credentials_ran_out_is_told_so_whatever_it_says(door: Door, frame: dict[str, Any]) -> None:
    door.open()
    door.store.time_s = NOW_S + 60

    told = door.hears(**frame) or {}

    assert (told["type"], told["code"], told["retryable"], told.get("id")) == (
        "error",
        "expired",
        False,
        frame.get("id"),
    )
    assert door.message is None
    assert door.sockets.closed == [], "it may say `auth`"


def test_new_credentials_of_the_same_user_renew_a_connection_in_place(door: Door) -> None:
    door.store.api_keys.add("crk_alices", "alice")
    door.open()
    assert (door.hears(action="hello", conversation="talk") or {})["good_until"] == "2033-05-18T03:34:20+00:00"
    door.store.time_s = NOW_S + 3600

    told = door.hears(action="auth", token=" crk_alices\n") or {}

    assert (told["type"], told["user"], told["conversation"]) == ("ready", "alice", "talk")
    assert "good_until" not in told, "a key is good for ever"
    door.hears(**SEND)
    assert door.message is not None
    renewed = door.store.connections.get("c1=")
    assert renewed is not None
    assert renewed.credential.startswith("key:")
    assert [viewer.connection_id for viewer in door.store.connections.viewers(TALK)] == ["c1="]


@pytest.mark.parametrize(
    ("frame", "code", "says"),
    [
        ({"token": "crk_bobs"}, "forbidden", "another user's"),
        ({"token": "crk_nobodys"}, "unauthorized", "Invalid API key"),
        ({"token": "a.b.c"}, "unauthorized", "Invalid API key"),
        ({"token": "x" * 7169}, "invalid_message", "token: must have at most 7168 characters, has 7169"),
        ({"token": ""}, "invalid_message", "token: must not be empty"),
        ({"token": None}, "invalid_message", "token: is missing"),
        ({"token": 7}, "invalid_message", "token: must be a string"),
        ({}, "invalid_message", "token: is missing"),
    ],
    ids=["another user's", "nobody's", "no issuer here", "too long", "empty", "null", "a number", "missing"],
)
def test_wrong_credentials_renew_nothing(door: Door, frame: dict[str, Any], code: str, says: str) -> None:
    door.store.api_keys.add("crk_bobs", "bob")
    door.open()

    told = door.hears(action="auth", **frame) or {}

    assert told["code"] == code
    assert says in told["content"]
    known = door.store.connections.get("c1=")
    assert known is not None
    assert (known.identity, known.good_until) == (SIGNED_IN, SIGNED_IN.expires_at)


def test_a_viewer_whose_credentials_ran_out_is_joined_to_no_new_reply(door: Door) -> None:
    door.open("old=")
    door.open("new=", good_until=NOW_S + 3600)
    for name in ("old=", "new="):
        door.hears(name, action="hello", conversation="talk")
    door.store.time_s = NOW_S + 60

    assert [viewer.connection_id for viewer in door.store.connections.viewers(TALK)] == ["new="]


def test_a_viewer_that_is_renewed_while_it_names_a_conversation_goes_on(door: Door) -> None:
    door.open()
    seen = door.store.connections.get("c1=")
    assert seen is not None
    door.store.connections.renew(replace(seen, good_until=NOW_S + 3600))

    door.store.connections.subscribe(seen, "talk")  # as it was read before
    door.store.time_s = NOW_S + 60

    assert [viewer.connection_id for viewer in door.store.connections.viewers(TALK)] == ["c1="]


def test_a_socket_is_good_for_its_token_or_for_the_session_whichever_is_longer(store: Store) -> None:
    admission = Admission(store, lambda: None, 30 * 60, Logger(), lambda: store.time_s)

    ends = [admission.good_until(replace(SIGNED_IN, expires_at=NOW_S + s)) for s in (60, 3600)]

    assert ends == [NOW_S + 1800, NOW_S + 3600]
    assert admission.good_until(by_key("alice")) is None


# --- how fast ---------------------------------------------------------------------------------------------------------


def test_a_socket_has_so_many_frames_a_minute_of_whatever_kind(door: Door) -> None:
    door.open(frames_per_minute=5)
    frames: list[dict[str, Any]] = [
        SEND,
        {"action": "hello"},
        {"action": "ack"},
        {"nonsense": 1},
        {"action": "auth", "token": "x"},
    ]
    for frame in frames:
        assert (door.hears(**frame) or {}).get("code") != "rate_limited"

    for frame in frames:
        told = door.hears(**frame) or {}
        assert (told["code"], told["retryable"], told["retry_after"]) == ("rate_limited", True, 40)
        assert told.get("id") == frame.get("id")
        assert door.message is None

    door.store.time_s += 40
    assert (door.hears(action="hello") or {})["type"] == "ready"


def test_a_frame_that_is_handed_on_counts_once(door: Door) -> None:
    door.open(frames_per_minute=5)
    event = {
        "requestContext": {"connectionId": "c1=", "messageId": "m=", "requestTimeEpoch": 1},
        "body": json.dumps(SEND),
    }

    for _ in range(6):
        door.dispatcher.dispatch(Frame.from_event(event), event)

    assert [frame["code"] for frame in door.sockets.frames("c1=")] == ["rate_limited"]
    handed_on = [Frame.from_event(each) for each in door.sockets.invoked]
    assert len(handed_on) == 5
    assert all(door.dispatcher.receive(frame) for frame in handed_on), "whatever has come since"


# --- who goes ---------------------------------------------------------------------------------------------------------


def register(store: Store, identity: Identity, device: str) -> None:
    store.devices.register(identity, Registration(device, device * 32, Platform.ANDROID))


def test_a_revoked_credential_takes_its_sockets_and_devices_with_it_and_nothing_else(
    door: Door, revocation: Revocation
) -> None:
    store = door.store
    store.connections.open(Connection("key=", "claude", VERSION_1, NOW_S, by_key("alice")))
    door.open("token=")
    register(store, by_key("alice"), "a")
    register(store, SIGNED_IN, "b")

    assert revocation.revoke(SIGNED_IN) == 1

    assert door.sockets.closed == ["token="]
    assert store.accounts.get("alice").sockets == {"key="}
    assert [device.id for device in store.devices.reachable("alice")] == ["a"]
    door.hears("token=", **SEND)
    assert door.message is None, "what it said before it heard the close is nobody's"
    assert revocation.revoke(SIGNED_IN) == 0


def test_a_user_who_is_signed_out_keeps_keys_and_what_came_by_them(door: Door, revocation: Revocation) -> None:
    door.store.connections.open(Connection("key=", "claude", VERSION_1, NOW_S, by_key("alice")))
    door.open("token=")
    register(door.store, by_key("alice"), "a")
    register(door.store, SIGNED_IN, "b")

    assert revocation.sign_out("alice") == 1

    assert door.sockets.closed == ["token="]
    assert door.store.accounts.get("alice").sockets == {"key="}
    assert [device.id for device in door.store.devices.all("alice")] == ["a"]


def test_a_blocked_user_is_closed_everywhere_and_told_nothing(door: Door, revocation: Revocation) -> None:
    door.open("a=")
    door.open("b=")
    register(door.store, SIGNED_IN, "d")
    accepted = door.store.conversations.accept("alice", Send("m1", "talk", "hi", "claude"), 1, worker="worker-1")

    assert revocation.block("alice") == 2

    assert sorted(door.sockets.closed) == ["a=", "b="]
    assert door.store.devices.reachable("alice") == []
    assert door.store.leases.heartbeat(accepted.key, accepted.stream.epoch).cancel is False, "its reply is written on"


def test_a_socket_that_gave_way_to_others_says_nothing_more_once_its_credential_is_revoked(
    door: Door, revocation: Revocation
) -> None:
    """It is open at API Gateway, and no more among its user's."""
    for number, name in enumerate(("old=", "new=")):
        door.store.connections.open(Connection(name, "claude", VERSION_1, NOW_S + number, SIGNED_IN, NOW_S + 600), 1)
    assert revocation.revoke(SIGNED_IN) == 1

    door.hears("old=", **SEND)

    assert door.message is None
    assert "old=" in door.sockets.closed


def test_where_no_claim_names_the_sign_in_all_of_the_users_end_with_one(door: Door, revocation: Revocation) -> None:
    """Auth0's and Entra's usual tokens: a device and a socket that came by an earlier one must not go on."""
    first, second = (replace(SIGNED_IN, credential=f"app:{each}", names_session=False) for each in "ab")
    door.open("a=", identity=first)
    door.open("b=", identity=second)
    register(door.store, first, "d")
    door.store.connections.open(Connection("key=", "claude", VERSION_1, NOW_S, by_key("alice")))

    revocation.end_session(second)

    assert door.store.accounts.get("alice").sockets == {"key="}
    assert door.store.devices.all("alice") == []


def test_the_operator_reads_why_somebody_with_right_credentials_is_refused(door: Door, log: StringIO) -> None:
    door.store.api_keys.add("crk_alices", "alice")
    door.open()
    door.store.accounts.block("alice")

    assert (door.hears(action="auth", token="crk_alices") or {})["code"] == "unauthorized"

    line = json.loads(log.getvalue().splitlines()[-1])
    assert (line["message"], line["reason"]) == ("credential refused", "blocked")
    assert "crk_alices" not in log.getvalue()


def test_a_socket_that_cannot_be_reached_is_forgotten_all_the_same(door: Door, revocation: Revocation) -> None:
    door.open("busy=")
    door.open("gone=")
    door.sockets.refusals["busy="] = [429, 500]
    door.sockets.refusals["gone="] = [410]

    assert revocation.block("alice") == 2

    assert door.sockets.closed == ["busy="], "it was tried again"
    assert door.store.accounts.get("alice").sockets == set()


def test_the_app_of_a_user_who_is_blocked_is_told_what_a_wrong_key_is(door: Door, revocation: Revocation) -> None:
    door.store.api_keys.add("crk_alices", "alice")
    door.store.connections.open(Connection("app=", "claude", BUILDEROS, NOW_S))
    revocation.block("alice")

    door.dispatcher.receive(Frame("app=", "m=", 1, "crk_alices"))

    assert (door.sockets.texts("app="), door.sockets.closed) == (["error:invalid_api_key"], ["app="])
