"""A user's conversations over HTTP: any name leads to its own, and nobody else's.

How they are listed, opened while a reply is written, closed and deleted, and which addresses lead nowhere, the recorded
session has: ``scenes.conversations``, ``pages``, ``resumes``, ``deletions`` and ``calls``.
"""

import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

import httpx

from chatrelay.store.table import Table
from emulator.stand_ins.script import stall_after
from tests.builders.deployments import Relay
from tests.builders.phone import Phone
from tests.system.scenes import held, kept

NOTHING = (403, {"error": "There is no such conversation.", "code": "forbidden"})
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


async def test_a_deleted_conversation_ends_quietly_and_can_begin_anew(relay: Relay, conversation: str) -> None:
    relay.plays("endlessly", stall_after("On and on."))
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


async def test_what_is_another_users_is_as_if_it_were_not_there(relay: Relay, conversation: str, stranger: str) -> None:
    script, released = held("Nobody else hears ", "of it.")
    relay.plays("a secret", script)
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
        released.set()
        heard = await phone.hear_until(lambda frame: frame["type"] == "complete")
    assert {frame["reply"] for frame in heard} == {typing["reply"]}
    assert typing["reply"] not in {frame["reply"] for frame in own}
    (request,) = relay.requests_for("an own one")
    assert len(request.body["messages"]) == 1
    assert [turn["content"] for turn in messages(relay, conversation)[1]["turns"]] == ["a secret"]


def test_a_name_that_nothing_has_is_nothing(relay: Relay) -> None:
    for name in ("unknown", "a%00b", "%23", "a%23b", "%2e%2e%2e", "%25%32%46", "%F0%9F%8C%85"):
        for method, rest in (("GET", "/messages"), ("DELETE", "")):
            assert call(relay, method, f"/api/conversations/{name}{rest}") == NOTHING, (method, name)


def test_any_name_is_addressed_by_every_call(relay: Relay, table: Table) -> None:
    """RFC 3986 2.1: any octet may be percent-encoded. Whoever closes a session forgets nothing."""
    for name in ODD_NAMES:
        at = f"/api/conversations/{quote(name, safe='')}"
        kept(table, name)
        closed = call(relay, "DELETE", f"/api/claude/session/{quote(name, safe='')}/close")
        status, page = messages(relay, name)
        deleted = call(relay, "DELETE", at)

        assert (closed[0], closed[1]["session_id"]) == (200, name)
        assert (status, page["conversation"], len(page["turns"])) == (200, name, 1)
        assert deleted == (200, {"ok": True, "conversation": name})
        assert messages(relay, name) == NOTHING, name


def test_any_name_is_addressed_by_a_message(relay: Relay) -> None:
    for name in ODD_NAMES[:4]:
        path = f"/api/conversations/{quote(name, safe='')}/messages"
        status, accepted = call(relay, "POST", path, {"id": "m1", "content": "hello"})
        assert (status, accepted["conversation"]) == (202, name)


def test_an_unknown_cursor_is_told(relay: Relay) -> None:
    told = (400, {"error": "cursor: is none of ours", "code": "invalid_message"})
    for cursor in ("x", "W10", "%00", "eyJwayI6IktFWSMxIn0"):
        assert call(relay, "GET", f"/api/conversations?cursor={cursor}") == told, cursor


def test_the_pages_that_may_connect_may_call(relay: Relay) -> None:
    with httpx.Client(base_url=f"http://{relay.address}", timeout=30) as client:
        for origin in ("https://chat.example", "https://second.example", "https://evil.example"):
            asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
            asked = client.options("/api/conversations", headers={"Origin": origin, **asks})
            called = client.get("/api/conversations", headers={"Origin": origin, "X-API-Key": relay.key})
            allowed = None if origin == "https://evil.example" else origin
            told = [answer.headers.get("access-control-allow-origin") for answer in (asked, called)]
            assert told == [allowed] * 2, origin
            assert not allowed or "x-api-key" in asked.headers["access-control-allow-headers"]
