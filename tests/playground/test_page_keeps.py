"""Nothing that was typed into the page is lost, and its errors name the cure. In a real browser."""

import socket
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.async_api import Browser, FilePayload, Page, Route, WebSocketRoute, expect

from emulator.stand_ins.script import answer, refuse
from tests.builders.browser import PNG, call, hold_back, in_a_browser, load, say, unfinished
from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S

pytestmark = in_a_browser

PICTURE = FilePayload(name="sunset.png", mimeType="image/png", buffer=PNG)


async def be(page: Page, state: str) -> None:
    """Wait until the page's connection is in that state."""
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", state)


async def test_a_draft_its_files_and_what_is_typed_early_are_there_after_a_reload_and_in_every_tab(
    relay: Relay, page: Page
) -> None:
    composer, tray, said = page.get_by_test_id("composer"), page.get_by_test_id("attachment"), page.locator(".user")
    await page.get_by_test_id("picker").set_input_files(PICTURE)
    await expect(tray).to_have_attribute("data-state", "uploaded")
    await composer.fill("Half a thought")
    await page.get_by_test_id("agent-codex").click()
    await expect(composer).to_have_value("")
    await expect(tray).to_have_count(0)
    await page.get_by_test_id("agent-claude").click()
    ready = await hold_back(page, "**/config.json")
    await page.reload()
    await composer.fill("Typed early")
    ready.set()
    await be(page, "online")
    await expect(composer).to_have_value("Half a thought\n\nTyped early")
    await expect(tray).to_have_attribute("data-state", "uploaded")

    other = await page.context.new_page()
    await load(other, relay)
    await expect(other.get_by_test_id("composer")).to_have_value("Half a thought\n\nTyped early")
    await other.get_by_test_id("composer").fill("A whole thought")
    await expect(composer).to_have_value("A whole thought")
    await be(page, "online")
    await composer.press("Enter")
    for each in (page, other):
        await expect(each.get_by_test_id("reply-text")).to_have_text("Yes.")
        await expect(each.get_by_test_id("composer")).to_have_value("")
        await expect(each.get_by_test_id("attachment")).to_have_count(0)
    await other.close()

    await composer.fill("Another one")
    await page.get_by_test_id("new-chat").click()
    await expect(composer).to_have_value("")
    await expect(page).to_have_title("Chat Relay")
    await page.go_back()
    await expect(composer).to_have_value("Another one")
    await expect(said).to_have_text("A whole thought")
    await expect(page).to_have_title("A whole thought · Chat Relay")
    await page.go_back()
    await expect(page.get_by_test_id("agent-codex")).to_be_checked()
    await page.go_forward()
    await expect(composer).to_have_value("Another one")
    await page.go_forward()
    await expect(page).to_have_title("Chat Relay")
    await page.go_back()
    await expect(composer).to_have_value("Another one")
    await page.get_by_test_id("conversation").first.get_by_test_id("delete").click()
    await page.get_by_test_id("delete-confirm").click()
    await expect(composer).to_have_value("")
    assert await page.evaluate("localStorage.length") == 0
    assert len(relay.requests_for("A whole thought")) == 1


@pytest.mark.nightly
async def test_why_the_model_s_service_refuses_this_deployment_is_said_with_the_cure(relay: Relay, page: Page) -> None:
    error, retry = page.get_by_test_id("error"), page.get_by_test_id("retry")
    relay.plays("Who pays?", refuse(401))
    relay.plays("Too many?", refuse(529))
    await say(page, "Who pays?")
    await expect(error).to_contain_text("Check ANTHROPIC_API_KEY and start `make run` again.")
    await expect(retry).to_have_count(0)
    await page.reload()
    await expect(error).to_contain_text("Check ANTHROPIC_API_KEY and start `make run` again.")
    await expect(retry).to_have_count(0)
    await expect(page.get_by_test_id("withdraw")).to_have_text("Edit")
    await say(page, "Too many?")
    await expect(error).to_have_count(2)
    await expect(retry).to_have_count(1)


async def test_a_message_to_codex_which_is_not_set_up_goes_back_to_where_it_was_written(page: Page) -> None:
    composer, error, edit = (page.get_by_test_id(name) for name in ("composer", "error", "withdraw"))
    await page.get_by_test_id("agent-codex").click()
    await be(page, "online")
    await expect(page.get_by_test_id("not-set-up")).to_contain_text("Codex is not set up here.")
    await page.get_by_test_id("picker").set_input_files(PICTURE)
    await expect(page.get_by_test_id("attachment")).to_have_attribute("data-state", "uploaded")
    await say(page, "Hello, Codex")
    await expect(error).to_contain_text("Codex is not connected to this relay yet.")
    await expect(composer).to_have_value("Hello, Codex")
    await expect(page.get_by_test_id("attachment")).to_have_attribute("data-state", "uploaded")
    await expect(edit).to_have_count(0)

    await page.context.set_offline(True)
    await be(page, "offline")
    await say(page, "Hello again")
    await expect(error).to_have_count(0)
    await composer.fill("Something else")
    await page.context.set_offline(False)
    await expect(error).to_contain_text("Codex is not connected")
    await expect(composer).to_have_value("Something else")
    await page.reload()
    await expect(composer).to_have_value("Something else")
    await edit.click()
    await expect(composer).to_have_value("Something else\n\nHello again")
    await expect(page.get_by_test_id("attachment")).to_have_attribute("data-state", "uploaded")
    await expect(error).to_have_count(0)


async def test_without_a_network_nothing_is_lost_and_stop_is_said_later(relay: Relay, page: Page) -> None:
    composer, stop, said = page.get_by_test_id("composer"), page.get_by_test_id("stop"), page.locator(".user:visible")
    relay.plays("For ever", unfinished("And so on, and so on."))
    await say(page, "For ever")
    await expect(page.get_by_test_id("reply-text")).to_contain_text("And so on")
    await composer.fill("Meanwhile")
    await expect(stop).to_be_visible()
    await expect(page.get_by_test_id("send")).to_be_visible()
    await page.context.set_offline(True)
    await be(page, "offline")
    await stop.click()
    await expect(stop).to_be_disabled()
    await composer.press("Enter")
    await expect(said).to_have_text(["For ever", "Meanwhile"])
    await page.get_by_test_id("withdraw").click()
    await expect(said).to_have_text(["For ever"])
    await expect(composer).to_have_value("Meanwhile")
    await page.get_by_test_id("picker").set_input_files(PICTURE)
    await expect(page.get_by_test_id("attachment")).to_have_attribute("data-state", "waiting")
    await composer.press("Enter")
    await page.context.set_offline(False)
    await expect(page.get_by_test_id("reply-text").last).to_have_text("Yes.")
    await expect(page.locator(".foot-ending")).to_have_text("Stopped.")
    [request] = relay.requests_for("Meanwhile")
    assert [block["type"] for block in request.body["messages"][-1]["content"]] == ["image", "text"]


async def test_what_was_said_while_away_comes_in_by_itself_once_and_in_order(relay: Relay, blank: Page) -> None:
    sockets: list[WebSocketRoute] = []
    refusing: list[bool] = []

    async def through(route: WebSocketRoute) -> None:
        sockets.append(route)
        if refusing:
            await route.close(code=1001)
        else:
            route.connect_to_server()

    await blank.route_web_socket("**/v1*", through)
    page = await load(blank, relay)
    await say(page, "First")
    await expect(page.get_by_test_id("reply-text")).to_have_text("Yes.")
    conversation = await page.evaluate("sessionStorage.getItem('conversation.claude')")
    refusing.append(True)
    await sockets[-1].close(code=1001)
    await be(page, "reconnecting")
    await say(page, "Fourth")
    for number, words in enumerate(("Second", "Third")):
        call(relay, "POST", f"/api/conversations/{conversation}/messages", {"id": f"m{number}", "content": words})
    call(relay, "POST", "/api/conversations/said-elsewhere/messages", {"id": "m1", "content": "In another talk"})
    refusing.clear()
    await expect(page.locator(".user:visible")).to_have_text(["First", "Second", "Third", "Fourth"])
    await expect(page.get_by_test_id("reply-text")).to_have_text(["Yes."] * 4)
    await expect(page.get_by_test_id("conversation").filter(has_text="In another talk")).to_have_count(1)
    await be(page, "online")
    assert len(relay.requests_for("Fourth")) == 1


@pytest.mark.nightly
async def test_a_key_is_asked_for_only_if_the_relay_gives_none(relay: Relay, page: Page) -> None:
    dialog, pill = page.get_by_test_id("key-dialog"), page.get_by_test_id("connection")

    async def as_to_another_machine(route: Route) -> None:
        answered = await route.fetch()
        await route.fulfill(json={**await answered.json(), "key": None})

    await page.evaluate("sessionStorage.setItem('key', 'crk_of-an-earlier-run')")
    await page.reload()
    await be(page, "online")
    await expect(dialog).to_be_hidden()

    await page.context.route("**/playground/config.json", as_to_another_machine)
    await page.reload()
    await expect(dialog).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await say(page, "Keep this")
    await pill.click()
    for key, state in (("crk_wrong", "rejected"), (relay.key, "online")):
        await expect(dialog).to_be_visible()
        await page.get_by_test_id("key").fill(key)
        await page.get_by_test_id("key-submit").click()
        await be(page, state)
    await expect(page.get_by_test_id("reply-text")).to_have_text("Yes.")
    other = await page.context.new_page()
    await other.goto(page.url)
    await be(other, "online")
    assert len(relay.requests_for("Keep this")) == 1


@pytest.mark.nightly
async def test_a_relay_that_was_started_again_gets_what_the_old_one_owed(
    start_relay: Callable[..., Relay], browser: Browser
) -> None:
    """It has another key, another run, an empty table and none of the files."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = str(free.getsockname()[1])
    old = start_relay("--port", port, CHATRELAY_DEV_KEY="")
    old.plays("Tell me all", unfinished("A very long story."))
    page = await browser.new_page()
    await page.goto(f"http://{old.address}/")
    await be(page, "online")
    await page.get_by_test_id("picker").set_input_files(PICTURE)
    await expect(page.get_by_test_id("attachment")).to_have_attribute("data-state", "uploaded")
    await say(page, "Tell me all")
    await expect(page.get_by_test_id("reply-text")).to_contain_text("A very long story.")
    await page.get_by_test_id("picker").set_input_files(PICTURE)
    await expect(page.get_by_test_id("attachment")).to_have_attribute("data-state", "uploaded")
    await page.get_by_test_id("composer").fill("Not sent yet")
    old.process.terminate()
    assert old.process.wait(PATIENCE_S) == 0
    await be(page, "reconnecting")

    new = start_relay("--port", port, CHATRELAY_DEV_KEY="")
    new.plays("Tell me all", answer("A short one."))
    await expect(page.get_by_test_id("reply-text")).to_have_text("A short one.")
    await expect(page.get_by_test_id("composer")).to_have_value("Not sent yet")
    await page.get_by_test_id("composer").press("Enter")
    await expect(page.get_by_test_id("reply-text").last).to_have_text("Yes.")
    for words in ("Tell me all", "Not sent yet"):
        content = new.requests_for(words)[-1].body["messages"][-1]["content"]
        assert [block["type"] for block in content] == ["image", "text"]
    await page.context.close()
