"""The page for those who have no mouse, who listen, or who see few colours: a browser, its keyboard and its tree."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import FilePayload, Page, Route, WebSocketRoute, expect

from emulator.stand_ins.script import (
    answer,
    block_start,
    block_stop,
    blocks,
    cut_after,
    found_block,
    search_block,
    text_block,
    thinking_block,
)
from tests.builders.browser import CITED, FOUND, in_a_browser, load, say, unfinished
from tests.builders.deployments import Relay
from tests.builders.phone import Phone

pytestmark = in_a_browser

RICH = """# Everything

Some **words** and `code`, a [link](https://example.com/), and \\(x_1*y_1\\).

```python
print("a line of code that is so long that nobody has a screen on which it would be seen as a whole without scrolling")
```

| name | value |
| --- | ---: |
| one | 1 |

- [x] done
- [ ] open

> A quote:
>
> ```
> of code
> ```
"""
ENDLESS = unfinished("And so on, and so on.")
NOTES = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"Notes")
VOID = FilePayload(name="void.txt", mimeType="text/plain", buffer=b"")
UNDRAWABLE = "> " * 4000 + "deep"

State = Callable[[Page, Relay], Awaitable[None]]


async def proven(page: Page) -> None:
    await expect(page.get_by_test_id("proof").last).to_have_attribute("data-proof", "verified")


async def empty(page: Page, _: Relay) -> None:
    await expect(page.get_by_test_id("empty")).to_be_visible()


async def help_dialog(page: Page, _: Relay) -> None:
    await page.get_by_test_id("new-chat").focus()
    await page.keyboard.press("?")
    await expect(page.get_by_test_id("help-dialog")).to_be_visible()


async def rejected(page: Page, _: Relay) -> None:
    async def without_key(route: Route) -> None:
        answered = await route.fetch()
        await route.fulfill(response=answered, json={**await answered.json(), "key": "crk_wrong"})

    await page.route("**/playground/config.json", without_key)
    await page.reload()
    await expect(page.get_by_test_id("key-dialog")).to_be_visible()


async def rich(page: Page, relay: Relay) -> None:
    output = "A line of what it printed.\n" * 40
    script = blocks(
        *thinking_block("Let me see. " * 9, 20, 0.0),
        *search_block(1, "srvtoolu_1", "riddles"),
        *found_block(2, "srvtoolu_1", [FOUND]),
        *text_block(3, "Let me count them."),
        block_start(4, {"type": "server_tool_use", "id": "srvtoolu_2", "name": "count", "input": {"what": "riddles"}}),
        block_stop(4),
        block_start(5, {"type": "count_tool_result", "tool_use_id": "srvtoolu_2", "content": output}),
        block_stop(5),
        *text_block(6, RICH, CITED),
        *search_block(7, "srvtoolu_3", "more"),
    )
    relay.plays("All of it", script)
    await say(page, "All of it")
    await proven(page)
    await expect(page.locator(".what").last).to_have_text("Searching the web: more – was not finished")
    for summary in await page.get_by_test_id("aside").locator("summary").all():
        await summary.click()


async def ended(page: Page, relay: Relay) -> None:
    relay.plays("Stop it", ENDLESS)
    relay.plays("Break it", cut_after("Half of the truth"))
    relay.plays("Too deep", answer(UNDRAWABLE, delta_chars=2000))
    await say(page, "Stop it")
    await expect(page.get_by_test_id("reply-text")).to_contain_text("And so on")
    await page.keyboard.press("Escape")
    await proven(page)
    await say(page, "Break it")
    await expect(page.get_by_test_id("retry")).to_be_visible()
    await say(page, "Too deep")
    await expect(page.get_by_test_id("proof")).to_have_count(2)


async def refused(page: Page, _: Relay) -> None:
    await page.get_by_test_id("agent-codex").click()
    await say(page, "Hello, Codex")
    await expect(page.get_by_test_id("error")).to_be_visible()


async def writing(page: Page, relay: Relay) -> None:
    relay.plays("Go on", ENDLESS)
    await page.get_by_test_id("picker").set_input_files([NOTES, VOID])
    await expect(page.get_by_test_id("attachment").nth(1)).to_have_attribute("data-state", "failed")
    await expect(page.get_by_test_id("attachment").first).to_have_attribute("data-state", "uploaded")
    await say(page, "Go on")
    await expect(page.get_by_test_id("reply-text")).to_contain_text("And so on")
    await say(page, "And then?")
    await expect(page.get_by_test_id("typing").last).to_have_text("Waits for the reply before it")


async def drawer(page: Page, _: Relay) -> None:
    await say(page, "Listed")
    await proven(page)
    await page.get_by_test_id("menu").click()
    await page.get_by_test_id("conversation").first.get_by_test_id("delete").click()
    await expect(page.get_by_test_id("delete-confirm")).to_be_visible()


async def pushed(page: Page, relay: Relay) -> None:
    relay.plays("Never mind me", answer("You were away when I said this. " * 12, delta_chars=96, pause_s=1.0))
    await page.get_by_test_id("bell").click()
    await say(page, "Never mind me")
    await expect(page.get_by_test_id("reply-text").last).to_contain_text("You were")
    await page.get_by_test_id("new-chat").click()
    await page.get_by_test_id("push").locator("summary").click()


async def disconnected(page: Page, _: Relay) -> None:
    async def refuse(route: WebSocketRoute) -> None:
        await route.close(code=1001)

    await page.route_web_socket("**/v1*", refuse)
    await page.reload()
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "reconnecting")
    await say(page, "Written in a tunnel")
    await expect(page.locator(".foot-waiting")).to_be_visible()


LIGHT = {"color_scheme": "light"}
DARK = {"color_scheme": "dark"}
FORCED = {"color_scheme": "dark", "forced_colors": "active"}

STATES = [
    (rich, 1400, LIGHT),
    (writing, 390, DARK),
]
MORE_STATES = [
    (ended, 390, DARK),
    (drawer, 390, LIGHT),
    (writing, 1400, DARK),
    (empty, 390, LIGHT),
    (empty, 1400, DARK),
    (help_dialog, 1400, DARK),
    (rejected, 390, DARK),
    (refused, 1400, LIGHT),
    (pushed, 390, LIGHT),
    (disconnected, 1400, DARK),
    (rich, 360, FORCED),
    (drawer, 390, FORCED),
    (writing, 1400, FORCED),
]


@pytest.mark.parametrize(
    ("state", "width", "media"), [*STATES, *(pytest.param(*each, marks=pytest.mark.nightly) for each in MORE_STATES)]
)
async def test_no_rule_of_accessibility_is_broken(
    relay: Relay, page: Page, state: State, width: int, media: dict[str, Any]
) -> None:
    await page.set_viewport_size({"width": width, "height": 844})
    await page.emulate_media(reduced_motion="reduce", **media)
    await state(page, relay)

    found = await Axe().run(page)

    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found.response["violations"]] == []
    stop = page.get_by_test_id("stop")
    if await stop.is_visible():  # or the reply goes on without the page
        await stop.click()
        await expect(stop).to_be_hidden()


async def test_everything_is_done_by_keyboard(relay: Relay, page: Page) -> None:
    composer, proof = page.get_by_test_id("composer"), page.get_by_test_id("proof")
    tries = iter([cut_after("Half of the truth"), answer("The whole truth.")])
    relay.plays("Tell me much", answer("A line of many.\n\n" * 40, delta_chars=500))
    relay.plays("Go on", ENDLESS)
    relay.plays("Break once", lambda _: next(tries))
    await expect(composer).to_be_focused()
    await write(page, "Tell me much")
    await expect(proof).to_have_count(1)
    await expect(composer).to_be_focused()
    await expect(page.get_by_test_id("latest")).to_be_hidden()
    await page.keyboard.press("PageUp")
    await expect(page.get_by_test_id("latest")).to_be_visible()
    await tab(page, "[data-testid=latest]", back=True)
    await page.keyboard.press("Enter")
    await expect(composer).to_be_focused()
    await tab(page, "[data-scroll]", back=True)
    await page.keyboard.press("Home")
    await page.wait_for_function("() => document.querySelector('[data-scroll]').scrollTop < 24", timeout=60_000)
    await tab(page, "[data-testid=composer]")

    await write(page, "Go on")
    await expect(page.get_by_test_id("reply-text").last).to_contain_text("And so on")
    await page.keyboard.press("Escape")
    await expect(proof).to_have_count(2)
    await write(page, "Go on")
    await expect(page.get_by_test_id("reply-text").last).to_contain_text("And so on")
    await tab(page, "[data-testid=stop]")
    await page.keyboard.press("Enter")
    await expect(proof).to_have_count(3)
    await expect(composer).to_be_focused()
    await write(page, "Break once")
    await expect(page.get_by_test_id("retry")).to_be_visible()
    await tab(page, "[data-testid=retry]", back=True)
    await page.keyboard.press("Enter")
    await expect(proof).to_have_count(4)
    await expect(composer).to_be_focused()

    page.on("filechooser", lambda _: None)  # from now on the test is asked for files, not somebody at a screen
    await tab(page, "[data-testid=attach]", back=True)
    async with page.expect_file_chooser() as chooser:
        await page.keyboard.press("Enter")
    await (await chooser.value).set_files([text_file("one.txt"), text_file("two.txt")])
    files = page.get_by_test_id("attachment")
    await expect(files.last).to_have_attribute("data-state", "uploaded")
    await tab(page, "[data-testid=remove-attachment]", back=True)
    for left in (1, 0):
        await page.keyboard.press("Enter")
        await expect(files).to_have_count(left)
    await expect(composer).to_be_focused()

    await tab(page, "[data-agent=claude]", back=True)
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_test_id("agent-codex")).to_be_focused()
    await page.keyboard.press("ArrowLeft")
    await tab(page, "[data-testid=bell]")
    await page.keyboard.press("Space")
    await expect(page.get_by_test_id("bell")).to_have_attribute("aria-pressed", "true")
    await page.keyboard.press("Space")
    await tab(page, "[data-testid=fold]")
    await page.keyboard.press("Enter")
    await expect(page.locator("#panel")).to_be_hidden()
    await page.keyboard.press("Enter")
    await expect(page.locator("#panel")).to_be_visible()
    await tab(page, "[data-testid=new-chat]")
    await page.keyboard.press("Enter")
    await expect(composer).to_be_focused()

    await write(page, "Second")
    await expect(proof).to_have_count(1)
    rows = page.get_by_test_id("conversation")
    await tab(page, "[data-testid=conversation] .open", back=True)
    sought = rows.filter(has_text="Tell me much").locator(".open:focus")
    for _ in range(20):  # other tests' conversations may come to stand between
        await page.keyboard.press("ArrowDown")
        if await sought.count():
            break
    await page.keyboard.press("Enter")
    await expect(page.locator(".message.user").first).to_have_text("Tell me much")
    await expect(composer).to_be_focused()
    await tab(page, "[data-testid=delete]", back=True)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("button", name="Keep", exact=True)).to_be_focused()
    await tab(page, "[data-testid=delete-confirm]", back=True)
    await page.keyboard.press("Enter")
    await expect(rows.filter(has_text="Tell me much")).to_have_count(0)
    await expect(rows.locator(".open:focus")).to_have_count(1)

    await tab(page, "[data-testid=theme]", back=True)
    await page.keyboard.press("Enter")
    await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    await page.keyboard.press("?")
    await expect(page.get_by_test_id("help-close")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("theme")).to_be_focused()
    await tab(page, "[data-skip]", back=True)
    await page.keyboard.press("Enter")
    await expect(composer).to_be_focused()

    await page.set_viewport_size({"width": 390, "height": 844})
    await tab(page, "[data-testid=menu]", back=True)
    await page.keyboard.press("Enter")
    await expect(page.get_by_test_id("help")).to_be_focused()
    for _ in range(8):
        assert await page.evaluate("document.activeElement.closest('#drawer, main, aside')?.id ?? 'drawer'") == "drawer"
        await page.keyboard.press("Tab")
    await page.keyboard.press("Escape")
    await expect(page.get_by_test_id("menu")).to_be_focused()
    await page.keyboard.press("Enter")
    await tab(page, "[data-testid=conversation] .open")
    await page.keyboard.press("Enter")
    await expect(composer).to_be_focused()


async def write(page: Page, text: str) -> None:
    """To where the focus is."""
    await page.keyboard.type(text)
    await page.keyboard.press("Enter")


async def tab(page: Page, selector: str, *, back: bool = False) -> None:
    """With Tab alone, to what the selector is for; what has the focus on the way is seen to have it."""
    where = """(selector) => {
        const { activeElement: at } = document;
        const { outlineStyle } = getComputedStyle(at);
        const isSeen = outlineStyle !== "none" || at.matches("textarea") || at === document.body;
        return [at.matches(selector), isSeen, at.outerHTML];
    }"""
    passed = []
    for _ in range(16):
        await page.keyboard.press("Shift+Tab" if back else "Tab")
        arrived, is_seen, html = await page.evaluate(where, selector)
        assert is_seen, f"nobody sees that this has the focus: {html}"
        if arrived:
            return
        passed.append(html[:90])
    pytest.fail(f"{selector} is further away than " + "\n".join(passed))


def text_file(name: str) -> FilePayload:
    return FilePayload(name=name, mimeType="text/plain", buffer=b"Text")


HEARD = """
    globalThis.heard = [];
    new MutationObserver((changes) => {
        for (const { addedNodes } of changes) for (const { textContent } of addedNodes) heard.push(textContent);
    }).observe(document.querySelector("[data-announcements]"), { childList: true });
"""


async def test_who_listens_hears_who_speaks_and_what(relay: Relay, page: Page) -> None:
    relay.plays(
        "Tell me",
        answer("The **first** one.\n\n- a\n- b\n\n```py\nx = 1\n```\n\nThe last one.", delta_chars=6, pause_s=0.02),
    )
    relay.plays("Go on", unfinished("Once.\n\nAnd so on. And so on."))
    relay.plays("Break", cut_after("Half"))
    await page.evaluate(HEARD)
    await say(page, "Tell me")
    await heard(
        page,
        "Claude is typing",
        "The first one.",
        "a\nb",
        "Code, py:\nx = 1",
        "The last one.",
        "Claude's reply is complete",
    )
    await say(page, "Go on")
    await heard(page, "Claude is typing", "Once.")
    await page.get_by_test_id("stop").click()
    await proven(page)
    await page.wait_for_function("() => heard.length >= 2")
    [written, ending] = await page.evaluate("heard.splice(0)")
    assert written.startswith("And so on. ")
    assert ending == "Stopped."
    await say(page, "Break")
    await heard(page, "Claude is typing", "Half", await page.get_by_test_id("error").locator("p").inner_text())
    await page.get_by_test_id("picker").set_input_files([NOTES, VOID])
    await expect(page.get_by_test_id("attachment").last).to_have_attribute("data-state", "failed")
    await expect(page.get_by_test_id("attachment").first).to_have_attribute("data-state", "uploaded")
    uploads = sorted(await page.evaluate("heard.splice(0)"))
    assert uploads[0] == "notes.txt is attached"
    assert uploads[1].startswith("void.txt is not attached. ")
    conversation = await page.evaluate("sessionStorage.getItem('conversation.claude')")
    async with Phone.connected(relay.websocket, relay.key) as phone:
        await phone.say({"action": "send", "id": "elsewhere", "conversation": conversation, "content": "From afar"})
        await heard(page, "You, elsewhere: From afar", "Claude is typing", "Yes.", "Claude's reply is complete")
    await expect(page.get_by_role("region", name="Messages")).to_match_aria_snapshot("""
        - heading "You" [level=2]
        - article "You": Tell me
        - article "Claude":
          - heading "Claude" [level=2]
          - paragraph:
            - text: The
            - strong: first
            - text: one.
          - list:
            - listitem: a
            - listitem: b
          - text: py
          - button "Copy"
          - group "Code, py":
            - code: x = 1
          - paragraph: The last one.
          - text: /✓ 59 characters \\d+ tokens · [0-9.]+ ¢/
          - toolbar "This reply":
            - button "Copy reply"
            - button "Ask again"
            - button "Edit message"
        - heading "You" [level=2]
        - article "You": Go on
        - article "Claude, stopped":
          - heading "Claude" [level=2]
          - paragraph: Once.
          - paragraph: /And so on/
          - text: /Stopped. ✓ \\d+ characters/
          - toolbar "This reply":
            - button "Copy reply"
            - button "Ask again"
            - button "Edit message"
        - heading "You" [level=2]
        - article "You": Break
        - article "Claude, failed":
          - heading "Claude" [level=2]
          - paragraph: Half
          - paragraph
          - button "Try again"
          - button "Copy reply"
        - heading "You" [level=2]
        - article "You": From afar
        - article "Claude":
          - heading "Claude" [level=2]
          - paragraph: Yes.
          - text: /✓ 4 characters \\d+ tokens · [0-9.]+ ¢/
          - toolbar "This reply":
            - button "Copy reply"
            - button "Ask again"
            - button "Edit message"
    """)
    regions = "nodes => nodes.map(node => node.dataset.testid ?? Object.keys(node.dataset)[0]).sort()"
    live = await page.locator("[aria-live], [role=log], [role=status], [role=alert]").evaluate_all(regions)
    assert live == ["announcements", "complaint", "complaint", "editing"]


async def heard(page: Page, *expected: str) -> None:
    """Exactly this, in this order, since the last time."""
    await page.wait_for_function("count => heard.length >= count", arg=len(expected), timeout=30_000)
    assert await page.evaluate("count => heard.splice(0, count)", len(expected)) == list(expected)


async def test_a_lost_connection_is_told_once_and_counts_down_in_silence(relay: Relay, blank: Page) -> None:
    opened: list[WebSocketRoute] = []

    async def through(route: WebSocketRoute) -> None:
        opened.append(route)
        if len(opened) in (2, 3):
            await route.close(code=1001)
        else:
            route.connect_to_server()

    await blank.route_web_socket("**/v1*", through)
    page = await load(blank, relay)
    await page.evaluate(HEARD)
    await opened[0].close(code=1001)
    await heard(page, "The connection is lost. What you write is sent when it is back", "Connected again")
    assert len(opened) == 4


async def test_what_is_being_written_is_copied_without_a_clipboard_and_stays_where_it_is(
    relay: Relay, page: Page
) -> None:
    line = f"line = '{'wide ' * 40}'\n   "
    relay.plays("Code", answer(f"1. So:\n\n   ```py\n   {line * 120}```", delta_chars=len(line), pause_s=0.5))
    # As over plain http from another machine.
    await page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await say(page, "Code")
    pre, copy = page.get_by_role("group", name="Code, py"), page.get_by_role("button", name="Copy", exact=True)
    await expect(pre).to_contain_text("line =")
    await pre.evaluate("pre => (pre.scrollLeft = 50)")
    await copy.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator(".code-bar button")).to_have_text("Copied")
    await expect(page.locator(".code-bar button")).to_be_focused()
    length = len(await pre.inner_text())
    await page.wait_for_function("length => document.querySelector('pre').textContent.length > length", arg=length)
    assert await pre.evaluate("pre => pre.scrollLeft") == 50
    await page.keyboard.press("Escape")
    await proven(page)
    await expect(page.locator(".code-bar button")).to_be_focused()
    await page.get_by_test_id("composer").focus()
    await page.keyboard.press("Control+V")
    assert (await page.get_by_test_id("composer").input_value()).startswith("line = 'wide wide")

    await page.evaluate("document.execCommand = () => false")
    await page.get_by_test_id("copy-reply").click()
    await expect(page.get_by_test_id("copy-reply")).to_have_text("Cannot copy here")


async def test_an_input_methods_enter_sends_nothing(chat: Page) -> None:
    composer = chat.get_by_test_id("composer")
    await composer.fill("にほん")
    press = """(composer, how) => composer.dispatchEvent(
        new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true, ...how }))"""
    assert await composer.evaluate(press, {"keyCode": 229}), "the input method's own"
    assert await composer.evaluate(press, {"isComposing": True})
    await expect(composer).to_have_value("にほん")
    assert not await composer.evaluate(press, {})
    await expect(chat.locator(".message.user")).to_have_text(["にほん"])
    await expect(composer).to_have_value("")


@pytest.mark.parametrize(
    "text",
    [UNDRAWABLE, pytest.param("- " * 2000 + "deep", marks=pytest.mark.nightly)],
    ids=["quotes", "lists"],
)
async def test_a_reply_that_cannot_be_drawn_is_read_as_it_was_written(relay: Relay, chat: Page, text: str) -> None:
    relay.plays("Deep", answer(f"Some **words**.\n\nAnd more.\n\n{text}\n\nThe end.", delta_chars=2000))
    await say(chat, "Deep")
    await expect(chat.get_by_test_id("proof")).to_have_attribute("data-proof", "verified")
    await expect(chat.get_by_test_id("reply-text")).to_contain_text(f"{text}\n\nThe end.")
    await say(chat, "Still here?")
    await expect(chat.get_by_test_id("reply-text").last).to_have_text("Yes.")
    await chat.reload()
    await expect(chat.get_by_test_id("reply-text").first).to_contain_text("The end.")


GROWING = [
    RICH,
    "\n".join(f"- item {number} with **bold** and `code`" for number in range(12)) + "\n\nThen text.\n\n1. a\n2. b",
    "- same\n" * 9 + "\n- loose\n\n" + "- same\n\n" * 3 + "The end.",
    "1. one\n   - deep\n   - deep\n" * 6
    + "\n   more\n\n> quoted\n> - a\n> - b\n\n"
    + "Text. " * 9
    + "\n\n"
    + "Text. " * 9,
    "See [it][1].\n\nA line.\n\nAnother.\n\n[1]: https://example.com/\n\nThe\nend\n===\n\n***\n\n* a\n* b\n+ c\n+ d",
]


async def test_what_is_drawn_piece_by_piece_is_what_is_drawn_at_once(chat: Page) -> None:
    differences = """async (texts) => {
        const { MarkdownView } = await import("/playground/views/markdown.js");
        const drawn = (view, box, text, isOpen) => (view.show(text, isOpen), box.innerHTML);
        const found = [];
        for (const text of texts) {
            const box = document.createElement("div");
            const view = new MarkdownView(box);
            for (let length = 1; length <= text.length; length += 1) {
                const [written, isOpen] = [text.slice(0, length), length < text.length];
                const fresh = document.createElement("div");
                const growing = drawn(view, box, written, isOpen);
                if (isOpen && /\\[[^\\]]*\\]\\[/.test(text)) continue; // what is defined later is linked at the end
                if (growing !== drawn(new MarkdownView(fresh), fresh, written, isOpen)) found.push([written, growing]);
            }
        }
        return found.slice(0, 3);
    }"""
    assert await chat.evaluate(differences, GROWING) == []
