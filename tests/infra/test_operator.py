"""The operator's command, over a table of moto's."""

import json
import re
from collections.abc import Callable
from typing import Any

import botocore.handlers
import pytest

from chatrelay.domain.devices import Platform
from chatrelay.domain.identity import Identity
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.limits import Limits
from chatrelay.domain.reply import Ending, Reply
from chatrelay.store.connections import Connection
from chatrelay.store.conversations import Accepted
from chatrelay.store.item_keys import HEADER, conversation_pk
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire.dialects import VERSION_1
from chatrelay.wire.identity import key_hash
from chatrelay.wire.inbound import Send
from chatrelay.wire.outbound import Outbound
from chatrelay.wire.registration import Registration
from emulator.services.services import Services
from infra.operator.__main__ import app
from tests.builders.doubles import Sockets
from tests.builders.layer import scanned
from tests.builders.written import text as text_of
from tests.infra.conftest import Ran
from tests.infra.operator_page import PAGE, commands, recorded

LIMITS = "messages_per_minute=20 replies_at_once=none dollars_per_day=5 sockets=10"
KEY, OTHER_KEY = "crk_of-the-phone", "crk_of-the-tablet"
KEY_ID = key_hash(KEY)[:12]
PHONE, TABLET, BROWSER = "phone-socket=", "tablet-socket=", "browser-socket="
TOKEN = "aa" * 32
SECRET_TEXT = "What do you know of relays?"

Operator = Callable[..., Ran]


@pytest.fixture
def operations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of AWS that commands make."""
    called: list[str] = []
    spy = ("before-call", lambda model, **_: called.append(f"{model.service_model.service_name}:{model.name}"))
    monkeypatch.setattr(botocore.handlers, "BUILTIN_HANDLERS", [*botocore.handlers.BUILTIN_HANDLERS, spy])
    return called


@pytest.fixture
def operator(
    aws: Services,
    table: Table,
    sockets: Sockets,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Operator:
    """Runs the command with its arguments. The stack is the one of samconfig.toml."""
    aws.describe("chat-relay", {"TableName": table.name, "ManagementUrl": sockets.url, "Limits": LIMITS})
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def call(*arguments: str) -> Ran:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(arguments), prog_name=app.info.name)
        return Ran(int(ended.value.code or 0), *capsys.readouterr())

    return call


@pytest.fixture
def store(table: Table) -> Store:
    """By the real time, as the command's."""
    return Store.over(table, limits=Limits.parse(LIMITS))


@pytest.fixture
def deployment(store: Store) -> Store:
    """What docs/operator.md shows: alice with a phone, a tablet and a browser, bob with a key, and mallory."""
    for key, label in ((KEY, "her phone"), (OTHER_KEY, "her tablet")):
        store.api_keys.add(key, "alice", label)
    store.api_keys.add("crk_of-bob", "bob")
    connect(store, PHONE, by_key(store, KEY))
    connect(store, TABLET, by_key(store, OTHER_KEY))
    connect(store, BROWSER, Identity("alice", "app:session-1", 1_790_000_000, 2_100_000_000), 2_100_000_000)
    for key, device in ((KEY, "phone"), (OTHER_KEY, "tablet")):
        token = TOKEN if device == "phone" else "bb" * 32
        store.devices.register(by_key(store, key), Registration(device, token, Platform.IOS))
    first = accept(store, "m1", SECRET_TEXT)
    finish(store, first, "They carry a message on.", 12_300)
    accept(store, "m2", "And then?")
    accept(store, "m3", "Are you there?")
    store.accounts.limit("mallory", "messages_per_minute", 0)
    store.accounts.limit("alice", "sockets", 5)
    return store


def by_key(store: Store, key: str) -> Identity:
    identity = store.api_keys.identity_of(key)
    assert identity is not None
    return identity


def connect(store: Store, connection_id: str, identity: Identity, good_until: int | None = None) -> None:
    store.connections.open(Connection(connection_id, "claude", VERSION_1, 1_790_000_000, identity, good_until))


def accept(store: Store, message_id: str, content: str) -> Accepted:
    received_ms = 1_790_000_000_000 + int(message_id[1:])
    connection = store.connections.get(TABLET)
    subscription = [] if connection is None else store.connections.subscription(connection, "talk")
    send = Send(message_id, "talk", content, "claude")
    return store.conversations.accept("alice", send, received_ms, subscription=subscription, worker="invocation-1")


def finish(store: Store, accepted: Accepted, text: str, cost: int | None) -> None:
    reply = Reply(accepted.stream.reply)
    reply.append(text_of(text))
    usage = {"input_tokens": 1200, "output_tokens": 34, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
    reply.complete(Ending("end_turn", "claude-sonnet-4-6", usage, [{"type": "text", "text": text}], cost))
    store.conversations.finish(accepted, reply, Outbound("complete", "Response complete", {}))
    store.leases.end(accepted.key, accepted.stream.epoch)


def told(ran: Ran) -> Any:
    assert (ran.code, ran.err) == (0, "")
    return json.loads(ran.out)


# --- the page ---


@pytest.mark.usefixtures("deployment")
def test_the_page_shows_every_command_with_what_it_prints(operator: Operator, operations: list[str]) -> None:
    assert recorded(operator) == ""
    assert {tuple(words[:2]) for words in commands(PAGE.read_text(encoding="utf-8"))} == {
        (noun.typer_instance.info.name, verb.name)
        for noun in app.registered_groups
        if noun.typer_instance is not None
        for verb in noun.typer_instance.registered_commands
    }
    assert "dynamodb:Query" in operations
    assert "dynamodb:Scan" not in operations


# --- keys ---


def test_a_key_is_printed_alone_and_only_its_hash_is_stored(operator: Operator, table: Table) -> None:
    made = operator("keys", "create", "alice", "--label", "her phone")

    key = made.out.removesuffix("\n")
    assert re.fullmatch(r"crk_[\w-]{43}", key)
    assert key not in made.err
    assert key_hash(key)[:12] in made.err
    assert key.removeprefix("crk_") not in str(scanned(table))
    assert "her phone" in operator("keys", "list").out


def test_a_long_list_is_shown_whole_with_one_header(operator: Operator, store: Store) -> None:
    for number in range(101):
        store.api_keys.add(f"crk_{number}", "alice" if number else "bob", f"label {number}")

    lines = operator("keys", "list").out.splitlines()
    assert (len(lines), lines[0].split()) == (102, ["id", "made", "user", "label"])
    assert len(operator("keys", "list", "alice").out.splitlines()) == 101
    assert [json.loads(line)["label"] for line in operator("keys", "list", "bob", "--json").out.splitlines()] == [
        "label 0"
    ]


def test_a_revoked_key_takes_its_sockets_and_devices_with_it_and_no_other(
    operator: Operator, deployment: Store, sockets: Sockets
) -> None:
    assert told(operator("keys", "revoke", KEY_ID, "--json")) == {"id": KEY_ID, "user": "alice", "sockets_closed": 1}

    shown = told(operator("users", "show", "alice", "--json"))
    assert deployment.api_keys.identity_of(KEY) is None
    assert sockets.closed == [PHONE]
    assert {each["id"] for each in shown["sockets"]} == {TABLET, BROWSER}
    assert [each["id"] for each in shown["devices"]] == ["tablet"]


# --- users ---


@pytest.mark.usefixtures("deployment")
def test_a_user_is_shown_with_what_was_used_and_may_be(operator: Operator) -> None:
    operator("users", "limit", "alice", "dollars_per_day", "2.50")
    operator("users", "limit", "alice", "messages_per_minute", "none")
    shown = operator("users", "show", "alice", "--json")

    user = told(shown)
    month, day = user["usage"]
    assert (month["period"], day["tokens"], month["dollars"]) == (day["period"][:7], 1234, 0.0123)
    assert [(each["model"], each["output_tokens"], each["dollars"]) for each in user["models"]] == [
        ("claude-sonnet-4-6", 34, 0.0123)
    ]
    limits = {each.pop("name"): each for each in user["limits"]}
    assert limits["dollars_per_day"] == {"limit": 2.5, "deployment": 5.0, "own": True}
    assert limits["messages_per_minute"] == {"limit": None, "deployment": 20, "own": True}
    assert limits["sockets"] == {"limit": 5, "deployment": 10, "own": True}
    assert limits["devices"] == {"limit": None, "deployment": None, "own": False}
    assert len(user["replies"]) == 2
    assert {each["conversation"] for each in user["replies"]} == {"talk"}
    assert TOKEN not in shown.out


def test_a_limit_goes_back_to_the_deployment_s(operator: Operator, deployment: Store) -> None:
    operator("users", "limit", "mallory", "messages_per_minute", "default")
    assert deployment.accounts.get("mallory").overrides == {}


def test_a_user_is_blocked_and_let_in_again(operator: Operator, deployment: Store, sockets: Sockets) -> None:
    assert told(operator("users", "block", "alice", "--json"))["sockets_closed"] == 3
    assert deployment.accounts.get("alice").is_blocked
    assert set(sockets.closed) == {PHONE, TABLET, BROWSER}
    operator("users", "unblock", "alice")
    assert not deployment.accounts.get("alice").is_blocked


def test_who_is_signed_out_keeps_keys(operator: Operator, deployment: Store, sockets: Sockets) -> None:
    assert told(operator("users", "sign-out", "alice", "--json"))["sockets_closed"] == 1
    assert sockets.closed == [BROWSER]
    assert deployment.accounts.get("alice").signed_out_at > 0


def test_a_name_that_nobody_has_is_said(operator: Operator) -> None:
    assert operator("users", "show", "alcie").err == "Nobody has come as alcie yet.\n"


# --- conversations ---


@pytest.mark.usefixtures("deployment")
def test_texts_are_shown_only_where_they_are_asked_for(operator: Operator) -> None:
    for command in (["list", "alice"], ["show", "alice", "talk"]):
        for form in ([], ["--json"]):
            shown = operator("conversations", *command, *form)
            assert SECRET_TEXT not in shown.out
            assert SECRET_TEXT in operator("conversations", *command, *form, "--text").out
            assert shown.code == 0


@pytest.mark.usefixtures("deployment")
def test_a_conversation_tells_who_writes_what_waits_and_what_was_answered(operator: Operator) -> None:
    talk = told(operator("conversations", "show", "alice", "talk", "--json"))
    waiting, writing, answered = talk["replies"]
    assert [each["status"] for each in talk["replies"]] == ["queued", "streaming", "complete"]
    assert (answered["length"], answered["tokens"], answered["dollars"]) == (24, 1234, 0.0123)
    assert (talk["writer"]["reply"], talk["writer"]["worker"]) == (writing["reply"], "invocation-1")
    assert [each["reply"] for each in talk["queue"]] == [waiting["reply"]]


def test_all_conversations_are_listed_a_page_after_the_other(operator: Operator, table: Table) -> None:
    for number in range(51):
        pk = conversation_pk(ConversationKey("alice", f"c{number}"))
        table.put({"pk": pk, "sk": HEADER, "owner_id": "alice", "updated_at": number, "title": "Hello"})
    listed = operator("conversations", "list", "alice", "--json").out.splitlines()
    assert {json.loads(line)["conversation"] for line in listed} == {f"c{number}" for number in range(51)}


# --- what is typed, and what is chosen by users ---


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["keys", "create", "a#b"], 1, "user: must be 1 to 64 of the characters A-Z a-z 0-9 . _ @ -, is 'a#b'"),
        (["keys", "create", ""], 1, "user: must be 1 to 64"),
        (["keys", "revoke", "nothing"], 1, "there is no key nothing: `keys list`"),
        (["conversations", "show", "alice", "x"], 1, "alice has no conversation x: `conversations list alice`"),
        (["users", "list", "--table", "nowhere"], 1, "Give --stack, --region or --profile."),
        (["users", "limit", "alice", "dollars", "1"], 2, "there is no dollars; there are messages_per_minute, "),
        (["users", "limit", "alice", "sockets", "-1x"], 2, "-1"),
        (["users", "limit", "alice", "sockets", "1.5"], 2, "sockets: must be a number from 0 on"),
        (["users", "shwo", "alice"], 2, "No such command 'shwo'"),
    ],
)
def test_a_mistake_is_named_with_its_cure(operator: Operator, arguments: list[str], code: int, problem: str) -> None:
    failed = operator(*arguments)
    assert (failed.code, failed.out) == (code, "")
    assert problem in failed.err
    assert "Traceback" not in failed.err


def test_a_stack_of_an_older_template_is_told_what_to_do(operator: Operator, aws: Services) -> None:
    aws.describe("older", {})
    failed = operator("users", "list", "--stack", "older")
    assert failed.err == (
        "infra.operator: the stack older has no output TableName: deploy this version of the template first\n"
    )


def test_what_users_chose_is_neither_markup_nor_a_command_of_the_terminal(
    operator: Operator, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = "[red]x[/red] :wave: \x1b[31m\n\u202e漢字"
    store.api_keys.add(KEY, "alice", label)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")

    header, line = operator("keys", "list").out.removesuffix("\n").split("\n")

    assert "\x1b[1m" in header
    assert line.endswith(r"[red]x[/red] :wave: \x1b[31m\n\u202e漢字")
    assert json.loads(operator("keys", "list", "--json").out)["label"] == label


def test_a_narrow_terminal_cuts_nothing_off(
    operator: Operator, deployment: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting, *_ = deployment.conversations.waiting(ConversationKey("alice", "talk"))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "70")

    shown = operator("conversations", "show", "alice", "talk").out

    assert "…" not in shown
    assert waiting.reply in shown
    assert max(map(len, re.sub(r"\x1b\[\d*m", "", shown).split("\n"))) <= 70
