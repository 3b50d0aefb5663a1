"""What tests of the page share."""

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from emulator.stand_ins.script import Pause, Script, Send, partial
from tests.builders.deployments import Relay
from tests.builders.patience import PATIENCE_S

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP4MK2i4tIdAA5dBCWeG9XrAAAAAElFTkSuQmCC"
)
"""Two pixels."""
FOUND = {"type": "web_search_result", "title": "Riddles", "url": "https://riddles.example/", "encrypted_content": ""}
CITED = {
    "type": "web_search_result_location",
    "title": "Riddles",
    "url": "https://riddles.example/",
    "cited_text": "",
    "encrypted_index": "",
}
"""A page as a search finds it, and as a text cites it."""
PDF = b"%PDF-1.4\n%%EOF"
_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
"""The one without a window if there is one: what it draws is the same, with two thirds of the work."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-features=SpareRendererForSitePerProcess",  # A process that waits for a window which no test opens.
]

expect.set_options(timeout=60_000)  # a slow machine is no fault of the page
in_a_browser = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium on this machine; CI has one"),
]


def unfinished(text: str) -> Script:
    """A reply that has `text` and goes on, in five minutes of signs of life, until somebody stops it.

    A page draws nothing meanwhile, and a page that draws without end takes a core.
    """
    alive = (Pause(0.5), Send({"type": "ping"}))
    return partial(text) + Script(alive * 600)


async def say(page: Page, text: str) -> None:
    await page.get_by_test_id("composer").fill(text)
    await page.keyboard.press("Enter")


async def hold_back(page: Page, pattern: str) -> asyncio.Event:
    """Requests go out once the event is set."""
    released = asyncio.Event()

    async def hold(route: Route) -> None:
        await released.wait()
        await route.continue_()

    await page.route(pattern, hold)
    return released


def call(relay: Relay, method: str, path: str, body: dict[str, Any] | None = None) -> None:
    headers = {"X-API-Key": relay.key}
    answer = httpx.request(method, f"http://{relay.address}{path}", json=body, headers=headers, timeout=PATIENCE_S)
    assert answer.is_success, answer.text


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests: each has a window of its own, which knows nothing of the others."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def blank(relay: Relay, browser: Browser) -> AsyncIterator[Page]:
    """A window without the page yet. A script error in it, or a request to anywhere else, fails the test."""
    async with _window(relay, browser) as (page, problems):
        yield page
    assert problems == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(relay: Relay, blank: Page) -> Page:
    """The page, connected, in a window of its own."""
    return await load(blank, relay)


@pytest_asyncio.fixture(loop_scope="session")
async def chat(used_page: tuple[Page, list[str]]) -> AsyncIterator[Page]:
    """A new chat on a page that other tests have used, for what needs no page of its own.

    Such tests stand last in their file: the page is there from the first one on, and follows all that happens.
    """
    page, problems = used_page
    await page.get_by_test_id("new-chat").click()
    yield page
    found = problems.copy()
    problems.clear()
    assert found == []


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def used_page(relay: Relay, browser: Browser) -> AsyncIterator[tuple[Page, list[str]]]:
    """What `chat` shares, and the problems that it had."""
    async with _window(relay, browser) as (page, problems):
        await load(page, relay)
        yield page, problems


async def load(window: Page, relay: Relay) -> Page:
    """Load the page into a window, and wait until it is connected."""
    await window.goto(f"http://{relay.address}/")
    await expect(window.get_by_test_id("connection")).to_have_attribute("data-state", "online")
    return window


@asynccontextmanager
async def _window(relay: Relay, browser: Browser) -> AsyncIterator[tuple[Page, list[str]]]:
    """A window that knows nothing of the others, and its problems as they come."""
    # Without motion: what breathes while a reply is written would draw sixty pictures a second.
    window = await browser.new_context(viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    page = await window.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if _leads_away(request.url, relay) else None)
    yield page, problems
    await window.close()


def _leads_away(url: str, relay: Relay) -> bool:
    """Not a file that is shown, nor a part of the browser's own PDF viewer."""
    return url.startswith("http") and not url.startswith(f"http://{relay.address}/")
