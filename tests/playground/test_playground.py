"""The page, as a person sees it, in a real browser."""

import json
import re
from pathlib import Path

from playwright.async_api import FilePayload, Page, WebSocketRoute, expect

from chatrelay.store.accounts import Accounts
from chatrelay.store.api_keys import ApiKeys
from emulator.stand_ins.script import (
    Pause,
    Send,
    Step,
    answer,
    blocks,
    cut_after,
    found_block,
    refuse,
    search_block,
    text_block,
    thinking_block,
)
from tests.builders.browser import CITED, FOUND, PDF, PNG, call, hold_back, in_a_browser, load, say, unfinished
from tests.builders.deployments import Relay
from tests.builders.phone import Phone
from tests.system.conftest import environment, table_of

pytestmark = in_a_browser

WATCH_GROWTH = """
() => {
  window.lengths = [0];
  new MutationObserver(() => {
    const length = [...document.querySelectorAll("[data-testid=reply-text]")].at(-1)?.innerText.length;
    if (length && length !== window.lengths.at(-1)) window.lengths.push(length);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}
"""
"""Notes the lengths that the reply's text has: the page says them by itself, however busy the machine is that asks."""


async def test_a_message_is_typed_and_its_reply_streams_in_pieces(relay: Relay, page: Page, tmp_path: Path) -> None:
    # A blank at the very end is drawn before the caret only.
    text = ("Words that come **one by one**, as they are written. " * 8).rstrip()
    relay.plays("Please stream", answer(text, first_s=3, delta_chars=8, pause_s=0.02))
    await page.evaluate(WATCH_GROWTH)
    await say(page, "Please stream")
    await expect(page.get_by_test_id("typing")).to_contain_text("Claude is typing")
    await expect(page.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    lengths = await page.evaluate("window.lengths")
    assert len(lengths) >= 5, "the text was there at once, or in very few pieces"
    assert lengths == sorted(lengths)
    assert await page.get_by_test_id("reply-text").last.locator("strong").count() == 8
    assert int(await page.get_by_test_id("timing-frames").inner_text()) > 10
    assert re.fullmatch(r"[0-9.,]+ m?s", await page.get_by_test_id("timing-first").inner_text())
    assert len(await page.screenshot(path=tmp_path / "playground.png")) > 20_000


async def test_a_reply_survives_a_lost_socket(relay: Relay, blank: Page) -> None:
    text = "A long way home, through many tunnels. " * 20
    relay.plays("Tell me on the train", answer(text, delta_chars=100, pause_s=0.5))
    sockets: list[WebSocketRoute] = []

    async def through(route: WebSocketRoute) -> None:
        sockets.append(route)
        route.connect_to_server()

    await blank.route_web_socket("**/v1*", through)
    page = await load(blank, relay)
    await say(page, "Tell me on the train")
    await expect(page.get_by_test_id("reply-text").last).to_contain_text("A long way")
    await sockets[-1].close(code=1001)
    await expect(page.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await expect(page.get_by_test_id("reply-text").last).to_have_text(text.strip())
    assert len(sockets) == 2
    assert len(relay.requests_for("Tell me on the train")) == 1


async def test_conversations_are_listed_opened_with_what_runs_and_deleted(relay: Relay, page: Page) -> None:
    relay.plays("Tell me a story", unfinished("A story with no end. A story with no end."))
    call(relay, "POST", "/api/conversations/elsewhere/messages", {"id": "m0", "content": "Deleted elsewhere"})
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "hello", "conversation": "paged"})
        await phone.hear()
        for number in range(5):  # half a megabyte is more than a page
            body = {"id": f"m{number}", "content": f"Question {number} {'.' * 110_000}"}
            call(relay, "POST", "/api/conversations/paged/messages", body)
            await phone.hear_until(lambda frame: frame["type"] == "complete")
        for words, kept in (("Tell me a story", "message"), ("And then?", "typing")):
            await phone.say({"action": "send", "id": words, "conversation": "running", "content": words})
            await phone.hear_until(lambda frame, kept=kept: frame["type"] == kept)  # type: ignore[misc]
    await page.reload()
    rows, said = page.get_by_test_id("conversation"), page.locator(".message.user")
    await expect(rows.locator(".title").nth(0)).to_have_text("Tell me a story")
    await expect(rows.locator(".title").nth(1)).to_contain_text("Question 0")
    await expect(rows.locator(".title").nth(2)).to_have_text("Deleted elsewhere")

    await rows.nth(1).locator(".open").click()
    await expect(said).to_contain_text([f"Question {number}" for number in range(1, 5)])
    await expect(page.get_by_test_id("reply-text").last).to_have_text("Yes.")
    await page.get_by_test_id("earlier").click()
    await expect(said).to_contain_text([f"Question {number}" for number in range(5)])
    await expect(page.get_by_test_id("earlier")).to_be_hidden()

    await rows.nth(0).get_by_test_id("delete").click()
    call(relay, "DELETE", "/api/conversations/elsewhere")
    call(relay, "POST", "/api/conversations/paged/messages", {"id": "m5", "content": "Question 5"})
    await expect(rows.locator(".title").nth(0)).to_contain_text("Question 0")
    await expect(rows.filter(has_text="Deleted elsewhere")).to_have_count(0)
    await expect(rows.nth(1)).to_contain_text("Delete it for good?")
    await expect(rows.nth(1).locator(".no")).to_be_focused()
    await page.keyboard.press("Enter")

    await rows.nth(1).locator(".open").click()
    await expect(said).to_have_text(["Tell me a story", "And then?"])
    await expect(page.get_by_test_id("reply-text").first).to_contain_text("A story with no end. A story")
    await expect(page.get_by_test_id("typing").last).to_have_text("Waits for the reply before it")
    await page.reload()
    await expect(page.get_by_test_id("reply-text").first).to_contain_text("A story with no end. A story")
    await expect(said).to_have_text(["Tell me a story", "And then?"])
    await page.get_by_test_id("stop").click()
    await expect(page.get_by_test_id("reply-text").last).to_have_text("Yes.")

    await rows.nth(1).get_by_test_id("delete").click()
    await rows.nth(1).get_by_test_id("delete-confirm").click()
    await expect(rows.filter(has_text="Tell me a story")).to_have_count(0)
    await expect(rows.locator(".title").nth(0)).to_contain_text("Question 0")
    await expect(page.get_by_test_id("empty")).to_be_visible()

    turns = await hold_back(page, "**/paged/messages")
    async with page.expect_response("**/paged/messages") as response:
        await rows.nth(0).locator(".open").click()
        await page.get_by_test_id("new-chat").click()
        turns.set()
    await (await response.value).finished()
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")  # what came late is read by then
    await expect(page.get_by_test_id("empty")).to_be_visible()

    await page.set_viewport_size({"width": 390, "height": 844})
    await expect(rows.first).to_be_hidden()
    await page.get_by_test_id("menu").click()
    await expect(rows.nth(0)).to_contain_text("Question 0")


async def test_files_are_uploaded_shown_and_shown_again(relay: Relay, blank: Page, tmp_path: Path) -> None:
    # A browser without a window has no viewer of its own for PDFs; the page asks no more than whether there is one.
    await blank.add_init_script("Object.defineProperty(navigator, 'pdfViewerEnabled', { value: true })")
    page = await load(blank, relay)
    tray, files, picker = page.get_by_test_id("attachment"), page.get_by_test_id("file"), page.get_by_test_id("picker")
    bar = tray.first.get_by_role("progressbar", include_hidden=True)
    uploads = await hold_back(page, "**/api/files/upload")
    chosen = {"sunset.png": PNG, "atlas.pdf": PDF + bytes(4_500_000), "void.txt": b"", "archive.zip": b"PK\x03\x04\xff"}
    for name, content in chosen.items():
        (tmp_path / name).write_bytes(content)
    await picker.set_input_files([tmp_path / name for name in chosen])
    await expect(tray.first).to_have_attribute("data-state", "uploading")
    await expect(bar).to_be_visible()
    await expect(bar).to_have_js_property("value", 0)
    await expect(page.get_by_test_id("send")).to_be_disabled()
    uploads.set()
    await expect(tray.first).to_have_attribute("data-state", "uploaded")
    await expect(bar).to_be_hidden()
    await expect(bar).to_have_js_property("value", 1)
    await expect(tray.nth(1)).to_have_attribute("data-state", "uploaded")
    await expect(tray.nth(2)).to_contain_text("This file is empty. Choose one with something in it.")
    await expect(tray.nth(3)).to_contain_text("models read pictures (JPEG, PNG, GIF, WebP), PDFs and texts")
    for _ in range(2):
        await tray.nth(2).get_by_test_id("remove-attachment").click()
    await say(page, "Look at these")
    await expect(page.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await expect(tray).to_have_count(0)
    blocks = relay.requests_for("Look at these")[0].body["messages"][-1]["content"]
    assert [block["type"] for block in blocks] == ["image", "document", "text"]

    await picker.set_input_files(FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"Wordless"))
    await page.get_by_test_id("send").click()
    await expect(page.get_by_test_id("proof")).to_have_count(2)
    await page.route("**/api/files/*", lambda route: route.abort())
    await page.reload()
    await expect(files.first).to_have_attribute("data-kind", "lost")
    await page.unroute("**/api/files/*")
    await page.get_by_test_id("new-chat").click()
    await page.get_by_test_id("conversation").first.locator(".open").click()
    await expect(files.locator("img")).to_have_js_property("naturalWidth", 2)
    await expect(files).to_contain_text(["", "atlas.pdf", "notes.txt"])
    await expect(files.nth(1).locator("iframe")).to_have_attribute("src", re.compile("^blob:"))
    await expect(files.nth(2)).to_have_attribute("href", re.compile("^blob:"))
    async with page.expect_popup() as popup:
        await files.nth(2).click()
    await expect((await popup.value).locator("body")).to_have_text("Wordless")
    address = await files.locator("img").get_attribute("src")
    is_kept = "src => Object.assign(new Image(), { src }).decode().then(() => true, () => false)"
    assert await page.evaluate(is_kept, address)
    await page.get_by_test_id("new-chat").click()
    assert not await page.evaluate(is_kept, address)


async def test_a_reply_that_the_page_does_not_show_is_pushed_to_it(relay: Relay, page: Page) -> None:
    relay.plays("Never mind me", answer("You were away when I said this. " * 12, delta_chars=96, pause_s=1.0))
    bell, push = page.get_by_test_id("bell"), page.get_by_test_id("push").filter(has_text="You were away")
    await bell.click()
    await expect(bell).to_have_attribute("aria-pressed", "true")
    await say(page, "What I see")
    await expect(page.get_by_test_id("frame").locator(".frame-type", has_text="ack")).to_have_count(1)
    await say(page, "Never mind me")
    await expect(page.get_by_test_id("reply-text").last).to_contain_text("You were")
    await page.get_by_test_id("new-chat").click()
    await push.locator("summary").click()
    payload = json.loads(await push.locator("pre").inner_text())
    assert payload["aps"]["alert"]["title"] == "New message from Claude"
    await push.get_by_test_id("push-open").click()
    await expect(page.locator(".message.user")).to_have_text(["What I see", "Never mind me"])
    await expect(push).to_have_count(0)
    await bell.click()
    await expect(bell).to_have_attribute("aria-pressed", "false")


async def test_what_is_used_is_told_live_as_after_a_reload_and_what_is_left_of_the_day(
    relay: Relay, blank: Page
) -> None:
    table, key = table_of(environment(relay)), "crk_the-thrifty"
    ApiKeys(table).add(key, "thrifty")
    Accounts(table).override("thrifty", {"tokens_per_day": 1, "dollars_per_day": 5_000_000, "files_per_day": 1})
    await blank.add_init_script(f"sessionStorage.setItem('key', '{key}')")
    page = await load(blank, relay)
    used, day, wait = page.get_by_test_id("used"), page.get_by_test_id("day"), re.compile(r"Try again in \d+ (h|min|s)")
    await expect(day.locator("span")).to_have_text(
        ["Today: 0 of 1 token, 0 ¢ of $5.00", "$5.00 left today, until 00:00 UTC"]
    )
    await say(page, "Is it dear?")
    await expect(used).to_have_text(re.compile(r"^\d+ tokens · [0-9.]+ ¢$"))
    await expect(used).to_have_attribute("title", re.compile(r"^\d+ in, \d+ out, .*; claude-sonnet-4-6; \$0\.0\d+$"))
    tokens, cents = (await used.inner_text()).split(" tokens · ")
    await expect(day.locator("span")).to_have_text(
        [f"Today: {tokens} of 1 token, {cents} of $5.00", "Nothing left today, until 00:00 UTC"]
    )

    live = await used.evaluate("used => used.outerHTML")
    await page.reload()
    await expect(page.get_by_test_id("proof")).to_have_attribute("data-proof", "kept")
    assert await used.evaluate("used => used.outerHTML") == live

    await say(page, "Some more?")
    await expect(page.get_by_test_id("error")).to_have_attribute("data-code", "quota_exceeded")
    await expect(page.get_by_test_id("retry")).to_have_text(wait)
    await expect(page.get_by_test_id("retry")).to_be_disabled()
    files = [FilePayload(name=name, mimeType="text/plain", buffer=b"Wordless") for name in ("one.txt", "two.txt")]
    await page.get_by_test_id("picker").set_input_files(files)
    await expect(page.get_by_test_id("attachment").and_(page.locator("[data-state=failed]"))).to_contain_text(wait)


async def test_what_the_model_writes_cannot_become_code(relay: Relay, chat: Page) -> None:
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>[a](javascript:alert(3)) <b onclick=alert(4)>b</b> end"
    relay.plays("Attack me", answer(evil))
    dialogs: list[str] = []
    chat.on("dialog", lambda dialog: dialogs.append(dialog.message))
    await say(chat, "Attack me")
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    reply = chat.get_by_test_id("reply-text").last
    assert await reply.locator("img, script, [onclick], a[href^=javascript]").count() == 0
    await expect(reply).to_contain_text("end")
    assert dialogs == []


async def test_a_broken_reply_keeps_its_text_and_can_be_asked_for_again(relay: Relay, chat: Page) -> None:
    tries = iter([cut_after("Half of the truth"), answer("The whole truth.")])
    relay.plays("Break once", lambda _: next(tries))
    await say(chat, "Break once")
    error = chat.get_by_test_id("error")
    await expect(error).to_have_attribute("data-code", "upstream")
    await expect(chat.get_by_test_id("reply-text").last).to_contain_text("Half of the truth")
    await chat.get_by_test_id("retry").click()
    await expect(chat.get_by_test_id("reply-text").last).to_contain_text("The whole truth.")
    await expect(error).to_have_count(0)
    relay.plays("Who pays?", refuse(401))
    await say(chat, "Who pays?")
    await expect(error).to_contain_text("Check ANTHROPIC_API_KEY and start `make run` again.")
    await expect(chat.get_by_test_id("retry")).to_have_count(0)


async def test_a_reply_can_be_stopped(relay: Relay, chat: Page) -> None:
    relay.plays("Go on for ever", unfinished("And so on, and so on."))
    stop, send = chat.get_by_test_id("stop"), chat.get_by_test_id("send")
    await expect(send).to_be_visible()
    await say(chat, "Go on for ever")
    await expect(chat.get_by_test_id("reply-text").last).to_contain_text("And so on")
    await expect(send).to_be_hidden()
    await stop.click()
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await expect(stop).to_be_hidden()
    [upstream] = relay.requests_for("Go on for ever")
    assert not upstream.finished


PARTS = """node => {
    const copy = node.cloneNode(true);
    for (const details of copy.querySelectorAll("details")) details.open = false;
    return copy.innerHTML;
}"""
"""What stands in a reply, whatever is unfolded."""


async def test_parts_stand_in_their_order_and_are_the_same_live_reloaded_and_elsewhere(
    relay: Relay, chat: Page
) -> None:
    thought = "Let me see. " * 20
    # Long enough to be seen on a busy machine, and never so silent that the relay gives up.
    searching: list[Step] = [Pause(1.0), Send({"type": "ping"})] * 5
    script = blocks(
        *thinking_block(thought, 60, 1.0),
        *search_block(1, "srvtoolu_1", "riddles"),
        *searching,
        *found_block(2, "srvtoolu_1", [FOUND] * 20),
        *text_block(3, "Got **it"),
        *search_block(4, "srvtoolu_2", "poems"),
        *searching,
        *found_block(5, "srvtoolu_2", {"type": "web_search_tool_result_error", "error_code": "unavailable"}),
        *text_block(6, "Not** that.", CITED),
    )
    relay.plays("Think", script)
    parts, asides, texts = (chat.locator(each) for each in (".parts", ".aside", "[data-testid=reply-text]"))
    await say(chat, "Think")
    await expect(asides.locator(".what")).to_have_text("Thinking")
    await expect(asides.locator(".tail")).to_contain_text("Let me see.")
    await asides.locator("summary").click()
    await expect(asides.locator(".what")).to_have_text("Searching the web: riddles")
    await expect(asides).to_have_attribute("data-live", "")
    await expect(asides.last.locator(".what")).to_have_text("Searching the web: poems")
    await texts.first.evaluate("text => getSelection().selectAllChildren(text)")
    other = await chat.context.new_page()
    await other.goto(chat.url)
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    assert (await chat.evaluate("String(getSelection())")).strip() == "Got **it"
    titles = ["Thought, searched the web", "Searched the web: poems – failed"]
    await expect(asides.locator(".what")).to_have_text(titles)
    assert await parts.evaluate("parts => [...parts.children].map(part => part.className)") == [
        "aside",
        "text",
        "aside",
        "text",
        "sources",
    ]
    await expect(texts).to_have_text(["Got **it", "Not** that."])
    await expect(asides.first).to_have_attribute("open", "")
    await expect(asides.first.get_by_test_id("step").first).to_have_text(thought)
    pages = asides.first.get_by_role("list", name="What web_search found")
    await expect(pages.get_by_role("link", name="Riddles riddles.example")).to_have_count(20)
    assert await pages.evaluate("({ clientHeight, scrollHeight }) => clientHeight < 240 && scrollHeight > 400")
    await expect(chat.get_by_test_id("sources").get_by_role("link")).to_have_text("Riddles riddles.example")
    clipboard = "{ value: { writeText: async (text) => (globalThis.copied = text) } }"
    await chat.evaluate(f"Object.defineProperty(navigator, 'clipboard', {clipboard})")
    await chat.get_by_test_id("copy-reply").click()
    await expect(chat.get_by_test_id("copy-reply")).to_have_text("Copied")
    assert await chat.evaluate("copied") == "Got **it\n\nNot** that."

    live = await parts.evaluate(PARTS)
    await expect(other.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    assert await other.locator(".parts").evaluate(PARTS) == live
    await other.close()
    await chat.reload()
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "kept")
    assert await parts.evaluate(PARTS) == live
    await chat.set_viewport_size({"width": 360, "height": 740})
    await expect(chat.get_by_test_id("latest")).to_be_hidden()
    for summary in await asides.locator("summary").all():
        await summary.click()
    await expect(
        chat.get_by_test_id("latest")
    ).to_be_visible()  # whoever unfolds something is not scrolled away from it
    await expect(asides.last.locator("pre").last).to_contain_text("unavailable")
    assert await chat.locator("[data-scroll]").evaluate("box => box.scrollWidth") == 360
    await chat.set_viewport_size({"width": 1280, "height": 860})


async def test_a_message_is_changed_and_another_reply_asked_for(relay: Relay, chat: Page) -> None:
    tries = iter([answer("The first reply."), answer("Another reply.")])
    relay.plays("Right words", lambda _: next(tries))
    said, replies = chat.locator("[data-role=user]:visible"), chat.get_by_test_id("reply-text")
    await say(chat, "Wrong words")
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await chat.get_by_test_id("copy-reply").focus()
    await chat.keyboard.press("ArrowRight")
    await expect(chat.get_by_test_id("regenerate")).to_be_focused()
    await chat.keyboard.press("ArrowRight")
    await chat.keyboard.press("Enter")
    await expect(chat.get_by_test_id("composer")).to_have_value("Wrong words")
    await expect(chat.get_by_test_id("composer")).to_be_focused()
    await expect(chat.get_by_test_id("editing")).to_be_visible()
    await say(chat, "Right words")
    await expect(replies).to_have_text(["The first reply."])
    await expect(said).to_have_text(["Right words"])
    await expect(chat.get_by_test_id("editing")).to_be_hidden()
    await chat.get_by_test_id("regenerate").click()
    await expect(replies).to_have_text(["Another reply."])
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await chat.reload()
    await expect(replies).to_have_text(["Another reply."])
    await expect(said).to_have_text(["Right words"])


async def test_an_edit_is_called_off_and_nothing_typed_is_lost(chat: Page) -> None:
    await say(chat, "Stays")
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await chat.get_by_test_id("composer").fill("A draft")
    await chat.get_by_test_id("edit").click()
    await expect(chat.get_by_test_id("composer")).to_have_value("A draft\n\nStays")
    await chat.get_by_test_id("editing").get_by_role("button").click()
    await expect(chat.get_by_test_id("editing")).to_be_hidden()
    await chat.get_by_test_id("send").click()
    await expect(chat.locator("[data-role=user]:visible")).to_have_text(["Stays", "A draft\n\nStays"])


async def test_a_list_that_is_drawn_anew_loses_no_click(chat: Page) -> None:
    for words in ("First", "Second"):
        await chat.get_by_test_id("new-chat").click()
        await say(chat, words)
        await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    rows = chat.get_by_test_id("conversation")
    await expect(rows.locator(".title").nth(0)).to_have_text("Second")
    drawn = await hold_back(chat, "**/api/conversations")

    async with chat.expect_response("**/api/conversations"):
        async with chat.expect_request("**/api/conversations"):
            await say(chat, "Third")
        await rows.nth(1).get_by_test_id("delete").hover()
        await chat.mouse.down()
        drawn.set()
    await chat.evaluate("new Promise((resolve) => setTimeout(resolve, 100))")  # what came is drawn by then
    await chat.mouse.up()

    await expect(rows.nth(1)).to_contain_text("Delete it for good?")
