"""What tests of the page share."""

import asyncio
import base64
import os
import shutil
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from tests.conftest import Relay

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
