"""What tests of the page share."""

import asyncio
import base64
import os
import shutil
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, async_playwright, expect

from tests.builders.deployments import Relay

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAD0lEQVR4nGP4MK2i4tIdAA5dBCWeG9XrAAAAAElFTkSuQmCC"
)
"""Two pixels."""
PDF = b"%PDF-1.4\n%%EOF"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

expect.set_options(timeout=60_000)  # a slow machine is no fault of the page
in_a_browser = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="no Chromium on this machine; CI has one"),
]


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
    answer = httpx.request(method, f"http://{relay.address}{path}", json=body, headers=headers, timeout=30)
    assert answer.is_success, answer.text


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for all tests: each has a window of its own, which knows nothing of the others."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def page(relay: Relay, browser: Browser) -> AsyncIterator[Page]:
    """The page, connected. A script error on it, or a request to anywhere else, fails the test."""
    window = await browser.new_context(viewport={"width": 1280, "height": 860})
    page = await window.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if _leads_away(request.url, relay) else None)
    await page.goto(f"http://{relay.address}/")
    await expect(page.get_by_test_id("connection")).to_have_attribute("data-state", "online")
    yield page
    await window.close()
    assert problems == []


def _leads_away(url: str, relay: Relay) -> bool:
    """Not a file that is shown, nor a part of the browser's own PDF viewer."""
    return url.startswith("http") and not url.startswith(f"http://{relay.address}/")
