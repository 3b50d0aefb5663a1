"""What is recorded of a deployment: every frame, every call, and what they are refused for.

A scene waits for a frame or an answer before it goes on, so that nothing in it depends on the time: a reply that is to
be in the middle of something is held there by its script.
"""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import quote

from chatrelay.store.archive import PAGE
from chatrelay.store.store import Store
from chatrelay.store.table import Table
from chatrelay.wire.inbound import Send as Message
from emulator.stand_ins.script import (
    Pause,
    Script,
    Send,
    Step,
    answer,
    block_delta,
    blocks,
    closing,
    cut_after,
    fail_after,
    found_block,
    output_tokens,
    partial,
    refuse,
    search_block,
    stall_after,
    text_block,
    thinking_block,
)
from tests.builders.browser import PDF, PNG
from tests.builders.patience import PATIENCE_S
from tests.builders.phone import Frame
from tests.system.conftest import services_of
from tests.system.recorder import RecordedPhone, Recorder

MIXED = 'Grüße 👩‍👩‍👧‍👦, 你好, "quotes", back\\slash, tab\t, line\nfeed, \' and </script>. '
NOTHING = "0" * 32
WRONG = "crk_wrong"
Scene = Callable[[Recorder], Awaitable[None]]


class Held(tuple[Step, ...]):
    """The steps of a reply that pings before its `ending` until `released` is set, or nobody can wait for it any more.

    So a scene that fails in the middle keeps no worker from the tests that come later.
    """

    released: threading.Event
    ending: Script

    def __iter__(self) -> Iterator[Step]:
        yield from super().__iter__()
        given_up_s = time.monotonic() + PATIENCE_S
        while not self.released.is_set() and time.monotonic() < given_up_s:
            yield Pause(0.1)
            yield Send({"type": "ping"})
        yield from self.ending.steps


def held(text: str, rest: str = "") -> tuple[Script, threading.Event]:
    """Return a reply that says `text`, and the `rest` once the event is set."""
    steps = Held(partial(text).steps)
    steps.released = threading.Event()
    more = Script((block_delta(0, {"type": "text_delta", "text": rest}),))
    steps.ending = more + closing(output_tokens(text + rest))
    return Script(steps), steps.released


def kept(table: Table, conversation: str, content: str = "hello", user: str = "developer") -> None:
    """Keep a message that nobody has answered yet."""
    Store.over(table).conversations.accept(user, Message("m1", conversation, content, "claude"), 0)


def send(content: str, message: str = "m1", conversation: str = "talk", **fields: object) -> Frame:
    """Return the frame of a message."""
    return {"action": "send", "id": message, "conversation": conversation, "content": content, **fields}


async def doors(it: Recorder) -> None:
    """Who is let in by which credentials, and who is not."""
    await it.knock(Authorization=f"Bearer {WRONG}")
    await it.knock(Authorization=WRONG)
    await it.knock(X_API_Key=WRONG)
    await it.knock(Sec_WebSocket_Protocol="chatrelay.v1, bearer.Y3JrX3dyb25n")
    await it.knock(Sec_WebSocket_Protocol="chatrelay.v1, bearer.!!")
    await it.knock(Authorization=f"Bearer {it.key}", Origin="https://elsewhere.example")
    await it.knock("/v1?agent=hal", Authorization=f"Bearer {it.key}")
    await it.knock("/v2", Authorization=f"Bearer {it.key}")
    for carrier in ({"Authorization": it.key}, {"X-API-Key": it.key}):
        async with it.phone("with a header", headers=carrier) as phone:
            await greet(phone)
    for path in ("/v1?agent=codex", "/api/claude/ws", "/api/codex/ws"):
        async with it.phone(f"at {path}", path) as phone:
            await greet(phone)
    async with it.browser("page", "https://chat.example") as phone:
        await greet(phone)
        await phone.say(b"bytes")
        await phone.hear_closed()
    async with it.phone("too long a frame") as phone:
        await phone.say("x" * 200_000)
        await phone.hear_closed()


async def greet(phone: RecordedPhone, **fields: object) -> Frame:
    await phone.say({"action": "hello", **fields})
    return await phone.hear()


WRONG_QUESTIONS: list[Frame | str] = [
    "hello?",
    "[1]",
    {"content": "no action"},
    {"action": "dance"},
    {"action": 7},
    {"action": "hello", "conversation": 7},
    {"action": "hello", "conversation": "x" * 129},
    {"action": "hello", "device": "x" * 129},
    {"action": "hello", "conversation": ".."},
    {"action": "resume"},
    {"action": "resume", "reply": 7},
    {"action": "resume", "reply": NOTHING, "offset": -1},
    {"action": "resume", "reply": NOTHING},
    {"action": "resume", "conversation": "nothing was said here"},
    {"action": "cancel"},
    {"action": "cancel", "reply": "x" * 65},
    {"action": "cancel", "reply": NOTHING},
    {"action": "ack", "reply": NOTHING},
    {"action": "ack", "reply": NOTHING, "offset": True},
    {"action": "ack", "reply": NOTHING, "offset": 2**53},
    {"action": "ack", "reply": NOTHING, "offset": 0},
    {"action": "regenerate"},
    {"action": "regenerate", "reply": 7},
    {"action": "regenerate", "reply": NOTHING},
    {"action": "edit", "id": "m2", "conversation": "talk", "content": "Of nothing?"},
    {"action": "edit", "id": "m2", "conversation": "talk", "content": "Of nothing?", "replaces": 7},
    {"action": "edit", "id": "m2", "conversation": "talk", "content": "Of nothing?", "replaces": "m1"},
    {"action": "edit", "id": "m2", "conversation": "talk", "content": " ", "replaces": "m1"},
]


WRONG_FIELDS: list[Frame] = [
    {"content": None},
    {"content": 7},
    {"content": ""},
    {"content": " \n"},
    {"id": None},
    {"id": " "},
    {"id": "x" * 65},
    {"conversation": None},
    {"conversation": "x" * 129},
    {"conversation": "."},
    {"agent": "hal"},
    {"agent": "codex"},
    {"attachments": "a file"},
    {"attachments": [{"id": "a"}]},
    {"attachments": [{"url": "https://elsewhere.example/a.png"}]},
    {"attachments": [{"url": f"/api/files/{NOTHING}"}] * 11},
    {"attachments": [{"url": f"/api/files/{NOTHING}"}]},
]


async def questions(it: Recorder) -> None:
    """Small frames, right and wrong: each is answered, and the socket lives on."""
    async with it.phone("phone") as phone:
        await greet(phone)
        await greet(phone, conversation="talk", device="iphone")
        await greet(phone, conversation="", device=None)
        await phone.say({"action": "ping"})
        await phone.hear()
        for wrong in WRONG_QUESTIONS:
            await phone.say(wrong)
            await phone.hear()
        for wrong in WRONG_FIELDS:
            await phone.say(send("What is wrong with this?") | wrong)
            await phone.hear()
        await phone.say({"action": "send"})
        await phone.hear()


async def replies(it: Recorder) -> None:
    """A reply from its beginning to its end, on all devices that show its conversation."""
    it.relay.plays("Say something of everything.", answer(MIXED * 12, delta_chars=7, pause_s=0.002))
    it.relay.plays("Say nothing.", answer(""))
    it.relay.plays("Think, and search the web.", searching())
    async with it.phone("sender") as sender, it.phone("viewer") as viewer, it.phone("elsewhere") as elsewhere:
        await greet(viewer, conversation="talk")
        await greet(elsewhere, conversation="another talk")
        await sender.ask("Say something of everything.", id="m1", conversation="talk")
        await viewer.hear_end()
        for number, said in enumerate(("Say nothing.", "Think, and search the web."), 2):
            await it.idle("talk")
            await sender.ask(said, id=f"m{number}", conversation="talk")
            await viewer.hear_end()
        await it.idle("talk")
        await sender.say('{"action":"send","id":"m4","conversation":"talk","content":"Half a character: \\ud83d"}')
        await sender.hear_end()
        await viewer.hear_end()
        await it.idle("talk")
        await sender.ask("The same id again, with other words.", id="m1", conversation="talk")
        await viewer.ask("The same id, of another device.", id="m3", conversation="talk")


def searching() -> Script:
    """A reply before which the model thinks and finds a page, which it cites."""
    page: dict[str, str | None] = {"type": "web_search_result", "title": "Weather", "url": "https://weather.example/"}
    page |= {"encrypted_content": "ZW5j", "page_age": None}
    citation = {"type": "web_search_result_location", "url": page["url"], "title": "Weather"}
    citation |= {"encrypted_index": "aW5k", "cited_text": "It rains."}
    return blocks(
        *thinking_block("Where is Ada? " * 12, 7, 0.002),
        *search_block(1, "srvtoolu_1", "weather"),
        *found_block(2, "srvtoolu_1", [page]),
        *text_block(3, "It rains.", citation),
    )


async def endings(it: Recorder) -> None:
    """Every way in which the model's service ends a reply, and what is said of it."""
    pauses = iter([answer("First, ", stop_reason="pause_turn"), answer("second.")])
    it.relay.plays("Never begin.", Script((Pause(60),)))
    it.relay.plays("Fall silent.", stall_after("Half"))
    it.relay.plays("Pause.", lambda _: next(pauses))
    ends = {
        "Come to the limit.": answer("So far", stop_reason="max_tokens"),
        "Be busy.": refuse(429, headers={"retry-after": "17"}),
        "Be busy in the middle.": fail_after("Half", "overloaded_error"),
        "Fail.": fail_after("Half", "api_error"),
        "Be cut off.": cut_after("Half"),
        "Send nothing.": Script(()),
        "Refuse the key.": refuse(401),
        "Refuse the request.": refuse(403),
        "Want money.": refuse(400, message="Your credit balance is too low"),
        "Know no such model.": refuse(404),
        "Refuse the settings.": refuse(400, message="max_tokens: 9 is too many"),
        "Decline in the middle.": answer("Half", stop_reason="refusal"),
        "Take no such message.": refuse(400),
        "Take nothing so long.": refuse(413),
    }
    async with it.phone("patient") as patient, it.phone("silent") as silent, it.phone("phone") as phone:
        await patient.say(send("Never begin.", conversation="never begins"))
        await silent.say(send("Fall silent.", conversation="falls silent"))
        await phone.ask("Pause.", id="m1", conversation="pauses")
        for said, script in ends.items():
            it.relay.plays(said, script)
            await phone.ask(said, id="m1", conversation=said)
        await silent.hear_end()
        await patient.hear_end()


async def resumes(it: Recorder) -> None:
    """A reply is taken up again: while it is held, when it has ended, when it was broken off and asked for anew."""
    script, released = held("So far 👋", ", and on to the end.")
    it.relay.plays("Let me leave.", script)
    async with it.phone("sender") as sender:
        await sender.say(send("Let me leave."))
        reply = (await sender.hear_text("So far 👋"))["reply"]
        async with it.phone("by reply") as by_reply, it.phone("by conversation") as by_conversation:
            await greet(by_reply, conversation="talk")
            await by_reply.say({"action": "resume", "reply": reply, "offset": 3})
            await by_reply.hear_text("far 👋")
            await by_conversation.say({"action": "resume", "conversation": "talk"})
            await by_conversation.hear_text("So far 👋")
            await sender.say({"action": "resume", "reply": reply, "offset": 9})
            await sender.hear()
            await it.call("GET", "/api/conversations/talk/messages")
            await it.heartbeat(reply)
            released.set()
            for phone in (sender, by_reply, by_conversation):
                await phone.hear_end()
        await it.idle("talk")
        await greet(sender, conversation="talk")
        for offset in (0, 6, 8, 10**9):  # 8 is inside of a surrogate pair
            await sender.say({"action": "resume", "reply": reply, "offset": offset})
            await sender.hear_end()
        await sender.say({"action": "resume", "reply": reply})
        await sender.hear_end()
        await sender.say({"action": "resume", "reply": None, "conversation": "talk", "offset": 7})
        await sender.hear_end()
    async with it.phone("stranger", key=it.strangers_key) as stranger:
        for action in ("resume", "cancel", "ack"):
            await stranger.say({"action": action, "reply": reply, "offset": 0})
            await stranger.hear()
        await stranger.say({"action": "resume", "conversation": "talk"})
        await stranger.hear()
    await once_more(it)


async def once_more(it: Recorder) -> None:
    """A reply that broke off has a successor by the same message."""
    tries = iter([cut_after("Half"), answer("All of it.")])
    it.relay.plays("Break off at first.", lambda _: next(tries))
    async with it.phone("sender") as sender, it.phone("viewer") as viewer:
        await greet(viewer, conversation="broken")
        broken = await sender.ask("Break off at first.", id="m1", conversation="broken")
        await viewer.hear_end()
        await it.idle("broken")
        await it.call("GET", "/api/conversations/broken/messages")
        await sender.say({"action": "resume", "conversation": "broken", "offset": 2})
        await sender.hear_end()
        await sender.ask("Break off at first.", id="m1", conversation="broken")
        await viewer.hear_end()
        await it.idle("broken")
        await sender.say({"action": "resume", "reply": broken[-1]["reply"], "offset": 2})
        await sender.hear_end()
        await it.call("GET", "/api/conversations/broken/messages")


async def cancels(it: Recorder) -> None:
    """What is being written is stopped, what waits is taken back, and what has ended stays."""
    script, _ = held("That is all")
    it.relay.plays("Go on without an end.", script)
    async with it.phone("sender") as sender, it.phone("viewer") as viewer:
        await greet(viewer, conversation="talk")
        await sender.say(send("Go on without an end."))
        running = (await sender.hear_text("That is all"))["reply"]
        await sender.say(send("Never mind.", "m2"))
        waiting = (await sender.hear())["reply"]
        await it.call("GET", "/api/conversations/talk/messages")
        await viewer.hear_text("That is all")
        await viewer.say({"action": "cancel", "reply": waiting})
        await viewer.hear_end()
        await sender.hear_end()
        await sender.say({"action": "cancel", "reply": running})
        await sender.hear_end()
        await viewer.hear_end()
        await it.idle("talk")
        await sender.say({"action": "cancel", "reply": running})
        await sender.say({"action": "cancel", "reply": waiting})
        await sender.hear_rest()
        for message in ("m1", "m2"):
            await sender.ask("Once more.", id=message, conversation="talk")
        await it.call("GET", "/api/conversations/talk/messages")


async def queues(it: Recorder) -> None:
    """Messages to a conversation that is being answered wait their turn."""
    script, released = held("One moment", ", here I am.")
    it.relay.plays("Let the others wait.", script)
    it.relay.plays("I come second.", answer("You are the second."))
    it.relay.plays("I come third.", answer("You are the third."))
    async with it.phone("sender") as sender, it.phone("viewer") as viewer:
        await greet(viewer, conversation="talk")
        await sender.say(send("Let the others wait."))
        await sender.hear_text("One moment")
        await viewer.hear_text("One moment")
        await sender.say(send("I come second.", "m2"))
        second = (await sender.hear())["reply"]
        third = {"id": "m3", "content": "I come third."}
        await it.call("POST", "/api/conversations/talk/messages", third)
        await it.call("POST", "/api/conversations/talk/messages", third)
        await viewer.say({"action": "resume", "reply": second})
        await viewer.hear()
        await sender.say(send("I come second.", "m2"))
        await sender.hear()
        await sender.say(send("Let the others wait."))
        first = (await sender.hear_text("One moment"))["reply"]
        await greet(sender, conversation="talk")
        await it.call("GET", "/api/conversations/talk/messages")
        await it.heartbeat(first)
        released.set()
        for phone in (sender, viewer):
            for _ in range(3):
                await phone.hear_end()
        await it.idle("talk")
        await it.call("GET", "/api/conversations/talk/messages")


async def replacements(it: Recorder) -> None:
    """What was said is changed and asked again; what was there is kept."""
    old, released = held("I am the old", " reply.")
    tries = iter([old, answer("I am the new reply.")])
    it.relay.plays("Which reply are you?", lambda _: next(tries))
    edit = {"action": "edit", "id": "m2", "conversation": "talk", "content": "Which reply are you?", "replaces": "m1"}
    async with it.phone("sender") as sender, it.phone("viewer") as viewer:
        await greet(viewer, conversation="talk")
        await sender.ask("What is wrong here?", id="m1", conversation="talk")
        await viewer.hear_end()
        await sender.say(edit)
        first = (await sender.hear_text("I am the old"))["reply"]
        await viewer.hear_text("I am the old")
        again = {"action": "regenerate", "reply": first}
        await sender.say(again)
        await sender.hear()
        await it.heartbeat(first)
        released.set()
        for phone in (sender, viewer):
            await phone.hear_end()
        await it.idle("talk")
        for said in (again, again, edit):
            await sender.say(said)
            await sender.hear_end()
        await viewer.hear_end()
        await it.idle("talk")
        await viewer.say({"action": "resume", "reply": first})
        await viewer.hear_end()
        await it.call("POST", "/api/conversations/talk/messages", {"id": "m3", "content": "And?", "replaces": "m9"})
        await it.call("GET", "/api/conversations/talk/messages")
        await it.call("GET", "/api/conversations/talk/messages?replaced=true")
    async with it.phone("a stranger's", key=it.strangers_key) as phone:
        for said in (again, edit):
            await phone.say(said)
            await phone.hear()


WRONG_MESSAGES: list[Any] = [
    {"content": "hi"},
    {"id": "m1"},
    {"id": "m1", "content": " "},
    {"id": "m1", "content": 7},
    {"id": "m1", "content": "hi", "agent": "hal"},
    {"id": "m1", "content": "hi", "agent": "codex"},
    {"id": "m1", "content": "hi", "attachments": [{"url": f"/api/files/{NOTHING}"}]},
    {"id": "m1", "content": "漢" * 100_001},
    ["hi"],
]


async def calls(it: Recorder) -> None:
    """Every call without a user's own key, addresses that lead nowhere, pages of elsewhere, and messages by HTTP."""
    await it.call("GET", "/api/health", key="")
    for key in ("", WRONG, None):
        await it.call("GET", "/api/status", key=key)
    for method, path in NEED_KEY:
        for key in ("", WRONG):
            await it.call(method, path, key=key)
    for method, path in LEAD_NOWHERE:
        await it.call(method, path)
    page = {"Origin": "https://chat.example"}
    asks = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    await it.call("OPTIONS", "/api/conversations", key="", headers={**page, **asks})
    await it.call("GET", "/api/conversations", headers=page)
    await it.call("GET", "/api/conversations", key=WRONG, headers=page)
    post = "/api/conversations/talk/messages"
    for wrong in WRONG_MESSAGES:
        await it.call("POST", post, wrong)
    for body in (b"hi", b"\xff", bytes(11_000_000)):
        await it.call("POST", post, content=body, headers={"content-type": "application/octet-stream"})
    async with it.phone("viewer") as viewer:
        await greet(viewer, conversation="talk")
        await it.call("POST", post, {"id": "m1", "content": "漢" * 100_000})
        await viewer.hear_end()
        await it.call("POST", post, {"id": "m1", "content": "the same id"})


NEED_KEY = [
    ("GET", "/api/usage"),
    ("DELETE", "/api/session"),
    ("GET", "/api/conversations"),
    ("GET", "/api/conversations/talk/messages"),
    ("POST", "/api/conversations/talk/messages"),
    ("DELETE", "/api/conversations/talk"),
    ("DELETE", "/api/claude/session/talk/close"),
    ("DELETE", "/api/codex/session/talk/close"),
    ("POST", "/api/notifications/register"),
    ("DELETE", "/api/notifications/iphone"),
    ("POST", "/api/files/upload"),
    ("POST", "/api/files"),
    ("GET", f"/api/files/{NOTHING}"),
]
LEAD_NOWHERE = [
    ("GET", "/api/nothing"),
    ("POST", "/api/health"),
    ("GET", "/api/conversations/talk"),
    ("GET", "/api/conversations/talk/turns"),
    ("GET", "/api/conversations/messages"),
    ("POST", "/api/conversations/talk"),
    ("DELETE", "/api/claude/session/talk"),
    ("DELETE", "/api/codex/session/close"),
    ("GET", "/api/conversations/%20/messages"),
    ("GET", f"/api/conversations/{'x' * 129}/messages"),
    ("GET", "/api/conversations/nothing%20was%20said/messages"),
    ("DELETE", "/api/conversations/nothing%20was%20said"),
    ("GET", f"/api/files/{NOTHING}"),
    ("GET", "/api/files/none-of-ours"),
]


async def conversations(it: Recorder) -> None:
    """What a user sees of conversations, page by page, and how they are deleted."""
    odd = "a/b — 50% ✓?#"
    await it.call("GET", "/api/conversations")
    async with it.phone("phone") as phone:
        await phone.ask("What is a title? " * 9, id="m1", conversation="long title")
        await phone.ask("What is in a name?", id="m1", conversation=odd)
        await it.call("GET", "/api/conversations")
        await it.call("GET", "/api/conversations?cursor=")
        for cursor in ("x", "W10"):
            await it.call("GET", f"/api/conversations?cursor={cursor}")
            await it.call("GET", f"/api/conversations/long%20title/messages?cursor={cursor}")
        await greet(phone, conversation="long")
        for number in (1, 2):
            await it.call("POST", "/api/conversations/long/messages", {"id": f"m{number}", "content": "字" * 99_999})
            await phone.hear_end()
            await it.idle("long")
        page = (await it.call("GET", "/api/conversations/long/messages")).json()
        await it.call("GET", f"/api/conversations/long/messages?cursor={page['next']}")
    at = f"/api/conversations/{quote(odd, safe='')}"
    for key in (it.strangers_key, None):
        await it.call("GET", f"{at}/messages", key=key)
        await it.call("DELETE", at, key=key)
        await it.call("GET", "/api/conversations", key=key)
    await it.call("GET", f"{at}/messages")
    await it.call("DELETE", at)


async def pages(it: Recorder) -> None:
    """A list that is longer than a page."""
    for number in range(PAGE + 1):
        kept(it.table, f"talk {number}", "What is new?", user=it.user)
    page = (await it.call("GET", "/api/conversations")).json()
    await it.call("GET", f"/api/conversations?cursor={page['next']}")


async def deletions(it: Recorder) -> None:
    """A conversation that is deleted ends quietly, and begins anew."""
    script, _ = held("On and on")
    it.relay.plays("Write until you are forgotten.", script)
    async with it.phone("sender") as sender:
        await sender.say(send("Write until you are forgotten."))
        reply = (await sender.hear_text("On and on"))["reply"]
        await it.call("DELETE", "/api/conversations/talk")
        for asked in ({"action": "resume", "reply": reply}, {"action": "cancel", "reply": reply}):
            await sender.say(asked)
            await sender.hear()
        await sender.ask("Begin anew.", id="m1", conversation="talk")
        await it.idle("talk")
        await it.call("GET", "/api/conversations/talk/messages")


WRONG_FORMS: list[Any] = [
    {"filename": 7, "mime_type": "image/png", "size": 5},
    {"filename": "x" * 256, "mime_type": "image/png", "size": 5},
    {"filename": "a.png", "mime_type": "picture", "size": 5},
    {"filename": "a.png", "mime_type": "image/png", "size": 0},
    {"filename": "a.png", "mime_type": "image/png", "size": 10**9},
    [],
]


WRONG_UPLOADS: list[Any] = [
    {"other": ("a.png", PNG, "image/png")},
    {"file": ("a.png", b"", "image/png")},
    {"file": ("x" * 256, PNG, "image/png")},
    {"file": ("film.mov", bytes(4_500_001), "video/quicktime")},
]


async def files(it: Recorder) -> None:
    """Files are uploaded by either way, had again, quoted in messages, and nobody else's."""
    small = {"file": ("../Grüße 早上.png", PNG, "image/png")}
    picture = (await it.call("POST", "/api/files/upload", files=small, data={"type": "image"})).json()["url"]
    where = await it.call("GET", picture)
    await it.call("GET", where.headers["location"], key="")
    await it.call("POST", "/api/files/upload", files=small, headers={"x-forwarded-host": "app.example"})
    document = await upload_by_form(it, "paper.pdf", PDF, "application/pdf")
    await it.call("GET", document)
    text = await upload(it, "notes.md", "Grüße 早上".encode(), "text/markdown")
    await quoted(it, picture, document, text)
    await unfit_files(it, picture)
    for body in WRONG_FORMS:
        await it.call("POST", "/api/files", body)
    for posted in WRONG_UPLOADS:
        await it.call("POST", "/api/files/upload", files=posted)
    await it.call("POST", "/api/files/upload", {"file": "a.png"})


async def quoted(it: Recorder, picture: str, document: str, text: str) -> None:
    """Files in messages, of both ways in."""
    async with it.phone("sender") as sender, it.phone("viewer") as viewer:
        await greet(viewer, conversation="talk")
        attachments = [{"url": url, "filename": "what I call it"} for url in (picture, document, text)]
        await sender.ask("What is in these?", id="m1", conversation="talk", attachments=attachments)
        await viewer.hear_end()
        await it.idle("talk")
        await sender.ask("", id="m2", conversation="talk", attachments=[{"url": text}])
        await viewer.hear_end()
        await it.idle("talk")
        posted = {"id": "m3", "content": "And by HTTP?", "attachments": [{"url": picture}]}
        await it.call("POST", "/api/conversations/talk/messages", posted)
        await viewer.hear_end()
        await sender.hear_end()
        await it.idle("talk")
        await it.call("GET", "/api/conversations/talk/messages")


async def unfit_files(it: Recorder, picture: str) -> None:
    """Files that no model reads, that are too large, that were never uploaded, and that are another user's."""
    archive = await upload(it, "archive.zip", b"PK\x03\x04\xff", "image/png")
    poster = await upload_by_form(it, "poster.png", PNG + bytes(4_000_000), "image/png")
    asked = {"filename": "a.png", "mime_type": "image/png", "size": 5}
    unused = (await it.call("POST", "/api/files", asked)).json()["url"]
    async with it.phone("sender") as sender:
        for url in (archive, poster, unused):
            attachments = [{"url": url}]
            await sender.ask("What is this?", id="m1", conversation="unfit", attachments=attachments)
            posted = {"id": "m1", "content": "What is this?", "attachments": attachments}
            await it.call("POST", "/api/conversations/unfit/messages", posted)
    theirs = it.strangers_key
    await it.call("GET", picture, key=theirs)
    async with it.phone("stranger", key=theirs) as stranger:
        await stranger.ask("What is theirs?", id="m1", conversation="unfit", attachments=[{"url": picture}])


async def upload_by_form(it: Recorder, filename: str, content: bytes, mime_type: str) -> str:
    asked = {"filename": filename, "mime_type": mime_type, "size": len(content)}
    form = (await it.call("POST", "/api/files", asked)).json()
    await it.call("POST", form["upload"]["url"], key="", data=form["upload"]["fields"], files={"file": content})
    return str(form["url"])


async def upload(it: Recorder, filename: str, content: bytes, mime_type: str) -> str:
    answered = await it.call("POST", "/api/files/upload", files={"file": (filename, content, mime_type)})
    return str(answered.json()["url"])


IPHONE, ROBOT, TABLET = "a0" * 32, "recorded:token-1", "a1" * 32
WRONG_REGISTRATIONS: list[Any] = [
    {},
    {"device_token": IPHONE},
    {"device_token": "", "device_id": "x"},
    {"device_token": 7, "device_id": "x"},
    {"device_token": "xyz", "device_id": "x"},
    {"device_token": "a b", "device_id": "x", "platform": "android"},
    {"device_token": IPHONE, "device_id": "x" * 129},
    {"device_token": IPHONE, "device_id": "x", "platform": "palm"},
    [],
]


async def pushes(it: Recorder) -> None:
    """A user's phones are told of a reply, but for those that have shown it."""
    words = "Es war einmal ein Relais, das nichts verlor. " * 3
    it.relay.plays("Tell me a long story.", answer(words))
    it.relay.plays("Break off.", cut_after("Half"))
    register = "/api/notifications/register"
    for wrong in WRONG_REGISTRATIONS:
        await it.call("POST", register, wrong)
    await it.call("POST", register, {"device_token": IPHONE.upper(), "device_id": "iphone"})
    await it.call("POST", register, {"device_token": IPHONE, "platform": "ios", "device_id": "iphone"})
    await it.call("POST", register, {"device_token": ROBOT, "platform": "android", "device_id": "robot"})
    await it.call("POST", register, {"device_token": TABLET, "device_id": "a/b’s tablet"})
    for _ in range(2):
        await it.call("DELETE", f"/api/notifications/{quote('a/b’s tablet', safe='')}")
    await it.call("DELETE", f"/api/notifications/{'x' * 129}")
    async with it.phone("iphone") as phone:
        await phone.ask("Break off.", id="m1", conversation="talk")
        await it.idle("talk")
        await phone.ask("Tell me a long story.", id="m2", conversation="talk")
        await it.idle("talk")
        await greet(phone, conversation="talk", device="iphone")
        shown = (await phone.ask("Tell me what I see.", id="m3", conversation="talk"))[-1]
        for offset in (shown["length"], 0):
            await phone.say({"action": "ack", "reply": shown["reply"], "offset": offset})
        await phone.hear_rest()
        await it.pushes(ROBOT, 2)
        await it.pushes(IPHONE, 1)
        await it.pushes(TABLET, 0)


async def builderos(it: Recorder) -> None:
    """The app that was there before the protocol: a bare key, then messages without an action."""
    for wrong in (WRONG, "", {"content": "I have no key."}):
        async with it.phone("app", APP, key="") as app:
            await app.say(wrong)
            await app.hear_closed()
    async with it.phone("app", APP, key="") as app, it.phone("phone") as phone:
        await app_answers(it, app, phone)
        await app_questions(app)
    async with it.phone("old app", APP, key="") as old:
        await let_in(old, f"{it.key}\n")
        await old.say({"content": "I name no session."})
        await old.hear_end()
    async with it.phone("app for Codex", "/api/codex/ws", key="") as codex:
        await let_in(codex, it.key)
        await codex.say(from_app("Is Codex there?", chat_type="codex"))
        await codex.hear()


APP = "/api/claude/ws"


async def let_in(app: RecordedPhone, key: str) -> None:
    await app.say(key)
    await app.hear_until(lambda frame: frame["type"] == "ready")


def from_app(content: str, **fields: object) -> Frame:
    """Return a message as the app sends it."""
    return {"content": content, "session_id": "tab", "device_id": "iPhone", "chat_type": "jarvis", **fields}


async def app_answers(it: Recorder, app: RecordedPhone, phone: RecordedPhone) -> None:
    """What the app and a newer phone see of the same conversation."""
    script, released = held("One moment, app", ", here I am.")
    it.relay.plays("Think before you tell the app.", answer("Thought over.", thinking="Hm. " * 9))
    it.relay.plays("Fail before the app.", fail_after("Half"))
    it.relay.plays("Let the app wait.", script)
    await app.say({"action": "ping"})
    await app.hear()
    await let_in(app, it.key)
    await app.say({"working_directory": "/Users/me/project"})
    await app.hear()
    await greet(phone, conversation="tab")
    picture = {"id": "7F", "mime_type": "image/png", "type": "image", "filename": "photo.png", "size": len(PNG)}
    picture["url"] = await upload(it, "photo.png", PNG, "image/png")
    for message in (
        from_app("Think before you tell the app."),
        from_app("Fail before the app."),
        from_app("Look at this, app.", attachments=[picture]),
    ):
        await app.say(message)
        await app.hear_end()
        await phone.hear_end()
        await it.idle("tab")
    await app.say(from_app("Let the app wait."))
    await app.hear_text("One moment, app")
    await app.say(from_app("And then?"))
    await app.hear()
    released.set()
    for _ in range(2):
        await app.hear_end()
        await phone.hear_end()
    await it.idle("tab")
    await phone.ask("From a phone of today.", id="m1", conversation="tab")
    await app.hear_end()
    await it.idle("tab")
    for agent in ("claude", "codex"):
        await it.call("DELETE", f"/api/{agent}/session/tab/close", key="", headers={"Authorization": it.key})
    await phone.ask("Does the app still listen?", id="m2", conversation="tab")
    await it.idle("tab")


APP_QUESTIONS: list[Frame | str] = [
    "hello?",
    "[1]",
    {},
    {"session_id": "tab"},
    {"content": 7},
    {"content": " "},
    {"content": "hi", "session_id": 7},
    {"content": "hi", "chat_type": "hal"},
    {"content": "hi", "attachments": [{"url": "https://elsewhere.example/a.png"}]},
    {"content": "", "working_directory": None},
    {"action": "dance"},
    {"action": "hello", "conversation": "tab"},
    {"action": "cancel", "reply": NOTHING},
]


async def app_questions(app: RecordedPhone) -> None:
    """What the app is refused, and what of the newer protocol it may say."""
    for asked in APP_QUESTIONS:
        await app.say(asked)
        await app.hear()
    await app.say({"action": "resume", "conversation": "tab", "offset": 2})
    await app.hear_end()


async def users(it: Recorder) -> None:
    """What a user may use, has used, and how long a connection is good."""
    accounts = Store.over(it.table).accounts
    script, released = held("One moment", ", here I am.")
    it.relay.plays("Take your time.", script)
    other = {"id": "m2", "content": "And this?"}
    async with it.phone("phone") as phone:
        await greet(phone, conversation="talk")
        accounts.override(it.user, {"replies_at_once": 1})
        await phone.say(send("Take your time."))
        await phone.hear_text("One moment")
        await phone.say(send("And this?", "m2", "other"))
        await phone.hear()
        released.set()
        await phone.hear_end()
        await it.idle("talk")
        accounts.override(it.user, {"tokens_per_day": 0})
        await phone.say(send("And this?", "m2", "other"))
        await phone.hear()
        await phone.say(send("Take your time."))
        await phone.hear_end()
        await it.call("POST", "/api/conversations/other/messages", other)
        accounts.override(it.user, {"files_per_day": 0, "devices": 0})
        await it.call("POST", "/api/files", {"filename": "a.txt", "mime_type": "text/plain", "size": 1})
        await it.call("POST", "/api/notifications/register", {"device_token": IPHONE, "device_id": "iphone"})
        for query in ("?month=2000-01", "?month=13"):
            await it.call("GET", f"/api/usage{query}")
        (connection,) = accounts.get(it.user).sockets
        it.table.update(f"CONNECTION#{connection}", "CONNECTION", "SET good_until = :past", {":past": 1})
        await phone.say(send("And this?", "m2", "other"))
        await phone.hear()
        for token in (WRONG, it.strangers_key, "", it.key):
            await phone.say({"action": "auth", "token": token})
            await phone.hear()
        await phone.ask("And this?", id="m2", conversation="other")
        await it.call("DELETE", "/api/session")
        await phone.hear_closed()
    await it.call("GET", "/api/conversations")
    await it.knock(Authorization=f"Bearer {it.key}")


async def failures(it: Recorder) -> None:
    """What is told when the relay itself, its storage or its worker fails."""
    it.table.put({"pk": f"CONVERSATION#{it.user}#broken", "sk": "CONVERSATION#LEASE", "fence": "no number"})
    async with it.phone("phone") as phone:
        await greet(phone, conversation="broken")
        await it.call("GET", "/api/conversations/broken/messages")
        await phone.ask("Is anything broken?", id="m1", conversation="broken")
        picture = await upload(it, "photo.png", PNG, "image/png")
        attachments = [{"url": picture}]
        await phone.ask("Keep this.", id="m1", conversation="talk", attachments=attachments)
        await it.idle("talk")
        put_away(it, picture)
        await phone.ask("What was it?", id="m2", conversation="talk")
        await it.idle("talk")
        await phone.ask("Once more.", id="m3", conversation="talk", attachments=attachments)
        posted = {"id": "m4", "content": "Once more.", "attachments": attachments}
        await it.call("POST", "/api/conversations/talk/messages", posted)
    await death(it)


def put_away(it: Recorder, url: str) -> None:
    """Make the storage refuse a file that it has."""
    bucket = services_of(it.worker).resource("s3").Bucket(it.worker["FILES_BUCKET"])
    (file,) = (each for each in bucket.objects.all() if url[-32:] in each.key)
    source = {"Bucket": bucket.name, "Key": file.key}
    bucket.Object(file.key).copy_from(CopySource=source, StorageClass="GLACIER", MetadataDirective="REPLACE")


async def death(it: Recorder) -> None:
    """The worker dies in the middle of a reply; what it had written is kept."""
    script, _ = held("Before I d")
    lives = iter([script, answer("I live again.")])
    it.relay.plays("Die in the middle.", lambda _: next(lives))
    async with it.phone("sender") as sender, it.phone("viewer") as viewer:
        await greet(viewer, conversation="fatal")
        await sender.say(send("Die in the middle.", conversation="fatal"))
        reply = (await sender.hear_text("Before I d"))["reply"]
        for _ in range(2):  # the text is kept after the one heartbeat, and before the next
            await it.heartbeat(reply)
        for worker in it.relay.workers("message"):
            worker.kill()
        await sender.hear_end()
        await viewer.hear_end()
        await it.idle("fatal")
        await it.call("GET", "/api/conversations/fatal/messages")
        await sender.say({"action": "resume", "reply": reply, "offset": 7})
        await sender.hear_end()
        await sender.ask("Die in the middle.", id="m1", conversation="fatal")
        await viewer.hear_end()


async def codex(it: Recorder) -> None:
    """The other agent, by the sidecar of BridgeHub."""
    token = "c0" * 32
    await it.call("POST", "/api/notifications/register", {"device_token": token, "device_id": "iphone"})
    async with it.phone("phone", "/v1?agent=codex") as phone, it.phone("other") as other:
        await phone.ask("say Good 早上", id="m1", conversation="talk")
        for scene in ("refuse", "answerAndExit", "complain not logged in"):
            await phone.ask(scene, id="m1", conversation=scene)
        await phone.say(send("answerAndStay", conversation="stay"))
        reply = (await phone.hear_text("So far"))["reply"]
        await other.say({"action": "resume", "reply": reply, "offset": 3})
        await other.hear_text("far")
        await it.heartbeat(reply)
        await other.say({"action": "cancel", "reply": reply})
        await phone.hear_end()
        await other.hear_end()
        await greet(other, conversation="posted")
        posted = {"id": "m1", "content": "say By HTTP", "agent": "codex"}
        await it.call("POST", "/api/conversations/posted/messages", posted)
        await other.hear_end()
        await other.ask("Claude is here, too.", id="m1", conversation="mixed")
    async with it.phone("app", "/api/codex/ws", key="") as app:
        await let_in(app, it.key)
        await app.say(from_app("say Hello, app", chat_type="codex"))
        await app.hear_end()
    await it.pushes(token, 4)
