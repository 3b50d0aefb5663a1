"""What a page of elsewhere gets when it tries every way that browsers have, at every route and port of the gateway."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright
from starlette.responses import HTMLResponse
from starlette.routing import BaseRoute

from chatrelay.store.table import Table
from emulator.faults.injection import interfering
from emulator.faults.plan import Plan
from emulator.gateway.gateway import Gateway
from emulator.lambda_.invoke import Invoker
from emulator.limits import Limits
from emulator.project import plugin
from emulator.services import identity
from emulator.services.services import Services
from emulator.services.storage_door import StorageDoor
from emulator.serving.guard import Names
from emulator.stand_ins.fake_anthropic import serving_in_thread
from emulator.template.stack import Stack
from tests.builders import credentials
from tests.builders.browser import CHROMIUM, FLAGS, in_a_browser
from tests.builders.deployments import CREDENTIALS, Relay
from tests.system.conftest import environment, services_of

pytestmark = in_a_browser

HOST = "127.0.0.2"
POLICY = json.dumps({"principalId": "alice", "context": {"user": "alice"}})
OWN = {
    "/": ["GET /"],
    "/playground/config.json": ["GET /playground/config.json"],
    "/playground": ["GET /playground/app.js", "GET /playground/index.html"],
    "/clients": ["GET /clients/js/client.js"],
    "/protocol": ["GET /protocol", "GET /protocol/asyncapi.yaml"],
    "/pushes": [
        "GET /pushes/",
        "GET /pushes/events?token=t",
        'POST /pushes/3/device/t {"aps":{}}',
        "POST /pushes/token",
    ],
    "/demonstration": ["POST /demonstration/v1/messages {}"],
    "/_faults": ["GET /_faults", "POST /_faults {}", "DELETE /_faults"],
    "/{stage}/@connections/{connection_id:any}": [
        "GET /v1/@connections/L0SM9cOFvHcCIhw=",
        "POST /v1/@connections/L0SM9cOFvHcCIhw= forged",
        "DELETE /v1/@connections/L0SM9cOFvHcCIhw=",
    ],
    "/2015-03-31/functions/{name}/invocations": ["POST /2015-03-31/functions/local-message/invocations {}"],
    "/s3/{path:any}": [
        "GET /s3/moto-api/data.json?X-Amz-Signature=1",
        "POST /s3/moto-api/reset?X-Amz-Signature=1",
        "GET /s3/{bucket}?X-Amz-Signature=1",
        "GET /s3/{bucket}/kept",
        "POST /s3/{bucket} forged",
        "PUT /s3/{bucket}/kept forged",
        "DELETE /s3/{bucket}/kept",
    ],
}
"""What is tried at each route of the gateway's own: a new one needs a row."""
TEMPLATE = {
    "/{path:any}": [
        "GET /api/status",
        'POST /api/conversations/c/messages {"id":"m1","content":"forged"}',
        "WS /v1",
        "WS /api/claude/ws",
    ],
}
"""The same for the template's, where pages of this machine are let through to its own rules."""
PORTS = [
    "GET /",
    "GET /moto-api/data.json",
    "POST /moto-api/reset",
    "GET /2018-06-01/runtime/invocation/next",
    f"POST /2018-06-01/runtime/invocation/x/response {POLICY}",
    f"POST /2018-06-01/runtime/invocation/x/error {POLICY}",
    f"POST /2018-06-01/runtime/init/error {POLICY}",
    "WS /",
]
"""At every port that a process of the gateway listens at, but for further workers'."""
TRY = """
async ([method, url, body]) => {
  const got = [];
  const settled = (element, on) => new Promise((done) => {
    element.onload = () => done(on);
    element.onerror = () => done(null);
    setTimeout(done, 10000, null);
    document.body.append(element);
  });
  if (method === "WS") {
    const opened = await new Promise((done) => {
      const socket = new WebSocket(url);
      socket.onopen = () => done("socket");
      socket.onerror = () => done(null);
    });
    return [opened].filter(Boolean);
  }
  const bodied = body === null ? {} : { body };
  for (const headers of [{}, { "content-type": "application/json", "x-amz-target": "a.B" }]) {
    try {
      const abort = AbortSignal.timeout(10000);
      const answer = await fetch(url, { method, headers, credentials: "include", signal: abort, ...bodied });
      got.push(`read ${answer.status} ${(await answer.text()).slice(0, 40)}`);
    } catch {}
  }
  if (method === "GET" || method === "POST") {
    try { await fetch(url, { method, mode: "no-cors", signal: AbortSignal.timeout(10000), ...bodied }); } catch {}
  }
  if (method === "GET") {
    got.push(await settled(Object.assign(new Image(), { src: url }), "image"));
    got.push(await settled(Object.assign(document.createElement("script"), { src: url }), "script"));
    await settled(Object.assign(document.createElement("iframe"), { src: url }), "frame");
  }
  if (method === "POST") {
    for (const enctype of ["text/plain", "multipart/form-data"]) {
      const frame = Object.assign(document.createElement("iframe"), { name: `sent-${Math.random()}` });
      document.body.append(frame);
      const form = document.createElement("form");
      Object.assign(form, { action: url, method: "POST", enctype, target: frame.name });
      form.append(Object.assign(document.createElement("input"), { name: (body ?? "").slice(0, -1), value: "}" }));
      document.body.append(form);
      const sent = new Promise((done) => { frame.onload = done; setTimeout(done, 10000); });
      form.submit();
      await sent;
    }
  }
  return got.filter(Boolean);
}
"""


@pytest.fixture(scope="module")
def visited(start_relay: Callable[..., Relay]) -> Relay:
    """A gateway with a fault plan, which has all that one without has and more; at another address of this machine."""
    return start_relay("--faults", "{}", "--host", HOST, "--verbose", "--limit", "max_environments=1")


@pytest.fixture(scope="module")
def worker(visited: Relay) -> dict[str, str]:
    """The environment of a function that runs."""
    return environment(visited)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The port of pages that this gateway knows nothing of."""
    with serving_in_thread(HTMLResponse("<!doctype html><title>A page</title>")) as url:
        yield url.rpartition(":")[2]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for which a name of elsewhere leads here, as a rebound one would."""
    flags = [*FLAGS, f"--host-resolver-rules=MAP {HOST}.example {HOST},MAP elsewhere.example 127.0.0.1"]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        await browser.close()


def kept(worker: dict[str, str], table: Table) -> Any:
    """All that there is to change: items, files, and what is kept for the model."""
    services = services_of(worker)
    items = services.resource("dynamodb").Table(table.name).scan()["Items"]
    files = [(file.key, file.e_tag) for file in services.resource("s3").Bucket(worker["FILES_BUCKET"]).objects.all()]
    secrets = services.client("secretsmanager").list_secrets()["SecretList"]
    return sorted(map(str, items)), files, [secret["Name"] for secret in secrets]


def listening(process: psutil.Process) -> set[int]:
    """The ports of a process and of its children."""
    everyone = [process, *process.children(recursive=True)]
    found = (each for one in everyone for each in one.net_connections("inet"))
    return {each.laddr.port for each in found if each.status == psutil.CONN_LISTEN}


def runtimes_of(process: psutil.Process) -> list[int]:
    """The ports where its workers ask for their events: each has one, and all are alike."""
    workers = (child.environ() for child in process.children(recursive=True))
    return [int(each["AWS_LAMBDA_RUNTIME_API"].rpartition(":")[2]) for each in workers if "FILES_BUCKET" in each]


async def got(page: Page, tries: list[str], address: str, bucket: str) -> dict[str, list[str]]:
    """What came of each try that something came of."""
    wanted = {}
    for line in tries:
        method, path, *body = line.replace("{bucket}", bucket).split(" ", 2)
        url = f"{'ws' if method == 'WS' else 'http'}://{address}{path}"
        wanted[line] = page.evaluate(TRY, [method, url, body[0] if body else None])
    answers = await asyncio.gather(*wanted.values())
    return {line: answer for line, answer in zip(wanted, answers, strict=True) if answer}


def one_of_each(*tables: dict[str, list[str]]) -> list[str]:
    """One try at each route: enough for a page that is refused before it is known what it does there."""
    return [lines[0] for table in tables for lines in table.values()]


def rows(*tables: dict[str, list[str]]) -> list[str]:
    return [line for table in tables for lines in table.values() for line in lines]


@pytest.mark.timeout(300)
async def test_a_foreign_page_gets_nothing_and_changes_nothing(
    visited: Relay, browser: Browser, elsewhere: str, worker: dict[str, str], table: Table
) -> None:
    bucket, (host, port) = worker["FILES_BUCKET"], visited.address.split(":")
    services_of(worker).client("s3").put_object(Bucket=bucket, Key="kept", Body=b"kept")
    gateway = psutil.Process(visited.process.pid)
    ports, runtimes = listening(gateway), runtimes_of(gateway)
    assert {int(port), *runtimes} <= ports
    inner = ports - {int(port)} - set(runtimes[1:])
    assert len(inner) >= 3, "moto's, the fault plan's in front of it, and that of a worker"
    before, log, page = kept(worker, table), len(visited.log), await browser.new_page()

    await page.goto(f"http://elsewhere.example:{elsewhere}/")
    assert await got(page, rows(OWN, TEMPLATE), visited.address, bucket) == {}
    for each in inner:
        assert await got(page, PORTS, f"127.0.0.1:{each}", bucket) == {}
    assert await got(page, PORTS, f"elsewhere.example:{min(inner)}", bucket) == {}
    framed = {frame.url for frame in page.frames[1:]}
    assert framed == {"chrome-error://chromewebdata/"}, "nothing is shown in a frame"

    await page.goto(f"http://localhost:{elsewhere}/")
    assert await got(page, rows(OWN), visited.address, bucket) == {}, "a page of another project is foreign, too"

    rebound = await page.goto(f"http://{host}.example:{port}/")
    assert rebound is not None
    assert rebound.status == 421
    answers = await got(page, one_of_each(OWN, TEMPLATE), f"{host}.example:{port}", bucket)
    assert {line[0] for line in answers.values()} <= {f"read 421 {f'This is {visited.address}. For another name'[:40]}"}
    await page.close()

    assert kept(worker, table) == before
    called = [line for line in visited.log[log:] if "λ" in line and "-message" in line]
    assert called == []


async def test_the_same_tries_succeed_from_the_gateway_s_own_page(visited: Relay, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(f"http://{visited.address}/playground/config.json")
    answers = await got(page, ["GET /playground/config.json", "GET /pushes/"], visited.address, "")
    assert {line: answer[0][:9] for line, answer in answers.items()} == {
        "GET /playground/config.json": "read 200 ",
        "GET /pushes/": "read 200 ",
    }
    await page.close()


async def test_an_address_that_was_typed_is_followed(relay: Relay, browser: Browser) -> None:
    page = await browser.new_page()
    await page.goto(f"http://localhost:{relay.address.rpartition(':')[2]}/")
    assert page.url == f"http://{relay.address}/"
    await page.close()


async def test_a_gateway_without_a_fault_plan_has_one_access_key_for_all_workers(relay: Relay) -> None:
    assert environment(relay)["AWS_ACCESS_KEY_ID"] == credentials.read(relay.log).access_key


async def test_every_route_has_a_row_and_that_of_plans_is_there_with_a_plan_only() -> None:
    names, nothing = Names("127.0.0.1:1"), Services("http://127.0.0.1:1", CREDENTIALS)
    stack = Stack("local", {}, (), (), {}, {}, ())
    with identity.issued("127.0.0.1") as issued:
        added = plugin(names.address, {})
        plain = Gateway(stack, nothing, Limits(), added, issued, names)
        async with interfering(Plan(), stack, nothing, Limits()) as interference:
            faulty = replace(plain, interference=interference)
        for gateway in (plain, faulty):
            doors = gateway.doors(Invoker({}, nothing, gateway.limits), StorageDoor(nothing))
            own = [_path(route) for door in doors if not door.deployed for route in door.routes]
            template = [_path(route) for door in doors if door.deployed for route in door.routes]
            assert set(own) == (set(OWN) if gateway is faulty else set(OWN) - {"/_faults"})
            assert set(template) == set(TEMPLATE)


def _path(route: BaseRoute) -> str:
    return str(getattr(route, "path", None))
