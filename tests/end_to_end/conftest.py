"""A second user, beside the one that the gateway makes; a deployment that has Codex; a browser."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from chatrelay.store.keys import Keys
from chatrelay.store.table import Table
from infra.local.services import Services
from infra.local.signature import Credentials
from tests.conftest import Relay
from tests.end_to_end.browser import CHROMIUM, FLAGS
from tests.infra.bridgehub.sidecars import BRIDGEHUB, TOKEN, starting


@pytest.fixture(scope="session")
def gateway_relay(start_relay: Callable[..., Relay]) -> Relay:
    """In which API Gateway itself calls the function that answers: no socket is open without a key."""
    chosen = ("FirstFrameAuth=false", "MessageInvocation=gateway", "ClaudeReadTimeout=2")
    options = [word for each in chosen for word in ("--parameter", each)]
    return start_relay(*options, "--limit", "max_environments=3")


@pytest.fixture(params=["function", "gateway"])
def each_way(request: pytest.FixtureRequest) -> Relay:
    """A deployment with each value of ``MessageInvocation``; its model has been asked nothing yet."""
    chosen: Relay = request.getfixturevalue("gateway_relay" if request.param == "gateway" else "relay")
    chosen.model.requests.clear()
    return chosen


@pytest.fixture(scope="module")
def worker(relay: Relay) -> dict[str, str]:
    """The environment of a function that runs."""
    return environment(relay)


def environment(relay: Relay) -> dict[str, str]:
    """What a function of the deployment runs with."""
    assert httpx.get(f"http://{relay.address}/api/health", timeout=30).status_code == 200
    found = (child.environ() for child in psutil.Process(relay.process.pid).children(recursive=True))
    return next(each for each in found if "FILES_BUCKET" in each)


def services_of(worker: dict[str, str]) -> Services:
    """What a function asks, as it does."""
    return Services(worker["AWS_ENDPOINT_URL"], Credentials.of(worker))


def table_of(worker: dict[str, str]) -> Table:
    """Return the table that a function uses."""
    return Table(services_of(worker).resource("dynamodb").meta.client, worker["TABLE_NAME"])


@pytest.fixture(scope="module")
def table(worker: dict[str, str]) -> Table:
    """Of the deployment `relay`."""
    return table_of(worker)


@pytest.fixture(scope="module")
def stranger(table: Table) -> str:
    """Another user's key."""
    Keys(table).add("crk_the-stranger", "stranger")
    return "crk_the-stranger"


@pytest.fixture(scope="session")
def codex_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where Codex works."""
    return tmp_path_factory.mktemp("codex")


@pytest.fixture(scope="session")
def relay_with_codex(start_relay: Callable[..., Relay], codex_folder: Path) -> Iterator[Relay]:
    """In front of the sidecar, and a BridgeHub that is a real Node script."""
    with starting(codex_folder) as start:
        hub = {
            "CodexBackend": "bridgehub",
            "BridgeHubUrl": start(*BRIDGEHUB).url,
            "BridgeHubWorkingDirectory": codex_folder,
        }
        options = [word for name, value in hub.items() for word in ("--parameter", f"{name}={value}")]
        yield start_relay(*options, BRIDGEHUB_TOKEN=f"{TOKEN}\r\n")


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
