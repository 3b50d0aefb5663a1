"""A user's conversations over HTTP: listed, opened, deleted; and nobody else's."""

import asyncio
import json
import time
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import httpx
import pytest

from chatrelay.store.archive import PAGE
from chatrelay.store.conversations import Conversations
from chatrelay.store.leases import Leases
from chatrelay.store.replies import Replies
from chatrelay.store.table import Table
from chatrelay.wire.inbound import Send
from emulator.stand_ins.script import answer
from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import Phone, assembled

NOTHING = (403, {"error": "There is no such conversation.", "code": "forbidden"})
UNAUTHORIZED = (401, {"error": "Invalid API key", "code": "unauthorized"})
ODD_NAMES = [
    "tester’s — 🌅👩‍👩‍👧",
    '"hi" #1?a=b&c',
    "back\\slash `tick` ^|",
    "a/b",
    "/",
    "/close",
    "close",
    "messages",
    "/messages",
    "talk/messages",
    "talk/close",
    "/messages/close",
    "a\nb",
    "\r\n.",
    "...",
    "./..",
    "%2e%2E",
    "50% %2F%41",
    "漢字 e\u0301 \x7f\u2028",
]
CALLS = [
    ("GET", "/api/conversations"),
    ("GET", "/api/conversations/talk/messages"),
    ("DELETE", "/api/conversations/talk"),
    ("DELETE", "/api/claude/session/talk/close"),
    ("DELETE", "/api/codex/session/talk/close"),
    ("DELETE", "/api/notifications/iphone"),
]


def call(relay: Relay, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    content = None if body is None else json.dumps(body).encode()
    headers = headers or {"X-API-Key": relay.key}
    request = Request(f"http://{relay.address}{path}", content, headers, method=method)
    try:
        with urlopen(request, timeout=30) as response:  # noqa: S310
            return response.status, json.load(response)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def messages(relay: Relay, conversation: str) -> tuple[int, Any]:
    return call(relay, "GET", f"/api/conversations/{quote(conversation, safe='')}/messages")


def listed(relay: Relay) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page: dict[str, Any] = {"next": ""}
    while page["next"] is not None:
        query = urlencode({"cursor": page["next"]}) if page["next"] else ""
        _, page = call(relay, "GET", f"/api/conversations?{query}")
        found += page["conversations"]
    return found


def kept(
    table: Table, conversation: str, content: str = "hello", received_ms: int = 0, user: str = "developer"
) -> None:
    """A message that nobody has answered yet."""
    conversations = Conversations(table, Leases(table), Replies(table))
    conversations.accept(user, Send("m1", conversation, content, "claude"), received_ms)


async def test_conversations_are_listed_latest_first_page_by_page(relay: Relay, table: Table) -> None:
    many = PAGE + 10
    now_ms = time.time_ns() // 1_000_000
    for number in range(many - 2):
        kept(table, f"listed-{number}", f"Title {number}", now_ms + number)
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for number in range(many - 2, many):
            await phone.ask(f"Title {number}", id="m1", conversation=f"listed-{number}")
    titles = [each["title"] for each in listed(relay) if each["id"].startswith("listed-")]
    assert titles == [f"Title {number}" for number in reversed(range(many))]


async def test_a_conversation_is_opened_with_its_running_reply_and_read_along(relay: Relay, conversation: str) -> None:
    relay.plays("slowly", answer("A long story. " * 40, pause_s=0.05))
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, relay.key) as other,
    ):
        await phone.ask("first", id="m1", conversation=conversation)
        await phone.say({"action": "send", "id": "m2", "conversation": conversation, "content": "slowly"})
        await phone.hear_until(lambda frame: frame["type"] == "message")
        status, page = messages(relay, conversation)
        await other.say({"action": "resume", "reply": page["active"], "offset": 0})
        heard = await other.hear_until(lambda frame: frame["type"] == "complete")
        _, ended = messages(relay, conversation)
        async with asyncio.timeout(PATIENCE_S):
            while ended["active"] is not None:  # its writer has the lease until all its readers have everything
                await asyncio.sleep(0.05)
                _, ended = messages(relay, conversation)

    first, second = page["turns"]
    assert (status, page["conversation"], page["next"]) == (200, conversation, None)
    assert (first["id"], first["content"], first["agent"]) == ("m1", "first", "claude")
    assert (first["reply"]["status"], first["reply"]["text"]) == ("complete", "Yes.")
    assert first["received_at"] <= first["reply"]["ended_at"]
    assert second["reply"] == {"id": page["active"], "status": "streaming", "text": "", "ended_at": None}
    assert assembled(heard) == ended["turns"][1]["reply"]["text"] == "A long story. " * 40
    assert ended["active"] is None


async def test_a_deleted_conversation_ends_quietly_and_can_begin_anew(relay: Relay, conversation: str) -> None:
    relay.plays("endlessly", answer("On and on. " * 2000, pause_s=0.05))
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "endlessly"})
        typing, *_ = await phone.hear_until(lambda frame: frame["type"] == "message")
        deleted = call(relay, "DELETE", f"/api/conversations/{conversation}")
        again = call(relay, "DELETE", f"/api/conversations/{conversation}")
        gone = messages(relay, conversation)
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "anew"})
        heard = await phone.hear_until(lambda frame: frame["type"] == "complete")

    assert deleted == (200, {"ok": True, "conversation": conversation})
    assert (again, gone) == (NOTHING, NOTHING)
    assert heard[-1]["epoch"] > typing["epoch"]
    assert {frame["type"] for frame in heard if frame["reply"] == typing["reply"]} <= {"message"}
    assert [turn["content"] for turn in messages(relay, conversation)[1]["turns"]] == ["anew"]
    (request,) = relay.requests_for("anew")
    assert len(request.body["messages"]) == 1


async def test_a_closed_session_forgets_nothing(relay: Relay, conversation: str) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.ask("hello", id="m1", conversation=conversation)
        for agent in ("claude", "codex", "claude"):
            closed = call(relay, "DELETE", f"/api/{agent}/session/{conversation}/close", Authorization=relay.key)
            expected = {"ok": True, "session_id": conversation, "message": "Session closed"}
            assert closed == (200, expected)
        assert assembled(await phone.ask("more", id="m2", conversation=conversation)) == "Yes."
    assert len(messages(relay, conversation)[1]["turns"]) == 2


async def test_what_is_another_users_is_as_if_it_were_not_there(relay: Relay, conversation: str, stranger: str) -> None:
    relay.plays("a secret", answer("Nobody else hears of it. " * 20, pause_s=0.05))
    theirs = {"X-API-Key": stranger}
    at = f"/api/conversations/{conversation}"
    async with (
        Phone.connected(relay.websocket, relay.key) as phone,
        Phone.connected(relay.websocket, stranger) as other,
    ):
        await phone.say({"action": "send", "id": "m1", "conversation": conversation, "content": "a secret"})
        typing, *_ = await phone.hear_until(lambda frame: frame["type"] == "message")

        assert call(relay, "GET", f"{at}/messages", **theirs) == NOTHING
        assert call(relay, "DELETE", at, **theirs) == NOTHING
        _, page = call(relay, "GET", "/api/conversations", **theirs)
        assert conversation not in [each["id"] for each in page["conversations"]]
        assert call(relay, "DELETE", f"/api/claude/session/{conversation}/close", **theirs)[0] == 200
        for action in ("resume", "cancel", "ack"):
            await other.say({"action": action, "reply": typing["reply"], "offset": 0})
            assert (await other.hear())["content"] == "There is no such reply."
        await other.say({"action": "resume", "conversation": conversation, "offset": 0})
        assert (await other.hear())["code"] == "forbidden"
        await other.say({"action": "hello", "conversation": conversation})
        assert "active" not in await other.hear()

        own = await other.ask("an own one", id="m1", conversation=conversation)
        heard = await phone.hear_until(lambda frame: frame["type"] == "complete")
    assert {frame["reply"] for frame in heard} == {typing["reply"]}
    assert typing["reply"] not in {frame["reply"] for frame in own}
    (request,) = relay.requests_for("an own one")
    assert len(request.body["messages"]) == 1
    assert [turn["content"] for turn in messages(relay, conversation)[1]["turns"]] == ["a secret"]


@pytest.mark.parametrize(("method", "path"), CALLS)
@pytest.mark.parametrize("headers", [{"Authorization": "crk_wrong"}, {"Accept": "*/*"}], ids=["wrong", "none"])
def test_without_a_key_there_is_401(relay: Relay, method: str, path: str, headers: dict[str, str]) -> None:
    assert call(relay, method, path, **headers) == UNAUTHORIZED


@pytest.mark.parametrize("name", ["unknown", "a%00b", "%23", "a%23b", "%2e%2e%2e", "%25%32%46", "%F0%9F%8C%85"])
@pytest.mark.parametrize(("method", "rest"), [("GET", "/messages"), ("DELETE", "")])
def test_a_name_that_nothing_has_is_nothing(relay: Relay, method: str, rest: str, name: str) -> None:
    assert call(relay, method, f"/api/conversations/{name}{rest}") == NOTHING


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_is_addressed_by_every_call(relay: Relay, table: Table, name: str) -> None:
    """RFC 3986 2.1: any octet may be percent-encoded."""
    at = f"/api/conversations/{quote(name, safe='')}"
    kept(table, name)
    again = call(relay, "POST", f"{at}/messages", {"id": "m1", "content": "hello"})
    closed = call(relay, "DELETE", f"/api/claude/session/{quote(name, safe='')}/close")
    status, page = messages(relay, name)
    deleted = call(relay, "DELETE", at)

    assert (again[0], again[1]["conversation"]) == (202, name)
    assert (closed[0], closed[1]["session_id"]) == (200, name)
    assert (status, page["conversation"], len(page["turns"])) == (200, name, 1)
    assert deleted == (200, {"ok": True, "conversation": name})
    assert messages(relay, name) == NOTHING


async def test_the_socket_takes_any_name(relay: Relay) -> None:
    async with Phone.connected(relay.websocket, relay.key) as phone:
        for name in ODD_NAMES[:4]:
            assert assembled(await phone.ask("hello", id="m1", conversation=name)) == "Yes."
            assert messages(relay, name)[1]["conversation"] == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/conversations/talk"),
        ("GET", "/api/conversations/talk/turns"),
        ("POST", "/api/conversations/talk"),
        ("GET", "/api/conversations/messages"),
        ("DELETE", "/api/claude/session/talk"),
        ("DELETE", "/api/claude/session/close"),
    ],
)
def test_an_address_that_is_none_is_told(relay: Relay, method: str, path: str) -> None:
    assert call(relay, method, path)[0] == 404


@pytest.mark.parametrize("name", ["%20", "x" * 129])
def test_a_name_that_none_can_have_is_told(relay: Relay, name: str) -> None:
    status, told = call(relay, "GET", f"/api/conversations/{name}/messages")
    assert (status, told["code"]) == (400, "invalid_message")


@pytest.mark.parametrize("cursor", ["x", "W10", "%00", "eyJwayI6IktFWSMxIn0"])
def test_an_unknown_cursor_is_told(relay: Relay, cursor: str) -> None:
    told = (400, {"error": "cursor: is none of ours", "code": "invalid_message"})
    assert call(relay, "GET", f"/api/conversations?cursor={cursor}") == told


@pytest.mark.parametrize("origin", ["https://chat.example", "https://second.example", "https://evil.example"])
def test_the_pages_that_may_connect_may_call(relay: Relay, origin: str) -> None:
    asks = {"Origin": origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    with httpx.Client(base_url=f"http://{relay.address}", timeout=30) as client:
        asked = client.options("/api/conversations", headers=asks)
        called = client.get("/api/conversations", headers={"Origin": origin, "X-API-Key": relay.key})
    allowed = None if origin == "https://evil.example" else origin
    assert [answer.headers.get("access-control-allow-origin") for answer in (asked, called)] == [allowed] * 2
    assert not allowed or "x-api-key" in asked.headers["access-control-allow-headers"]
