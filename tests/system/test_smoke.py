"""`make smoke` against deployments that work, and with a fault put in for every sentence that it can say."""

import asyncio
import re
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from emulator.stand_ins.script import Script, answer, refuse, stall_after
from infra import smoke
from tests.builders.deployments import REPOSITORY, Relay

# Its middle is in the middle of a surrogate pair.
REPLY = answer("A relay hands on what it is given, so that 🏃 goes much further than it could by itself.", pause_s=0.05)
ENDLESS = answer("1\n2\n3\n" * 400, pause_s=0.05)
HOLD_S = 1.0
MESSAGE, USER, CANCELLED = ('"type":"message"', '"type":"user"', '"stop_reason":"cancelled"')


@dataclass(frozen=True)
class Walked:
    """What came of the command."""

    code: int
    lines: list[str]


Walk = Callable[..., Awaitable[Walked]]


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Walk:
    """Calls the command as `make smoke` does, with the key in the environment."""

    async def call(url: str, key: str | None, patience_s: float = 60, hold_s: float = HOLD_S) -> Walked:
        capsys.readouterr()
        monkeypatch.setenv(smoke.KEY, key or "")
        options = ["--patience-s", str(patience_s), "--hold-s", str(hold_s)]
        code = await asyncio.to_thread(smoke.main, [url, *options])
        told = capsys.readouterr()
        return Walked(code, (told.out + told.err).splitlines())

    return call


def plays(relay: Relay, reply: Script = REPLY, endless: Script = ENDLESS) -> None:
    """The model's part."""
    relay.plays(smoke.SHORT, reply)
    relay.plays(smoke.LONG, endless)
    relay.plays(smoke.HELD, ENDLESS)


async def test_a_deployment_that_works_is_walked_through(walk: Walk, relay: Relay) -> None:
    plays(relay)

    walked = await walk(f"http://{relay.address}/", f" {relay.key}\n")

    assert walked.code == 0
    *stations, last = walked.lines
    kinds = [re.sub(r"^ok  (\w+):.*", r"\1", station) for station in stations]
    assert list(dict.fromkeys(kinds)) == [
        *("health", "key", "handshake", "reply", "resume", "cancel", "body", "devices", "long", "ping")
    ]
    assert kinds.count("body") == len(smoke.BODIES) + 1
    assert "in a frame of 31744 bytes" in stations[kinds.index("devices")]
    assert last == "Everything works. MessageInvocation can stay as it is."
    async with httpx.AsyncClient(headers={"X-API-Key": relay.key}) as client:
        left = (await client.get(f"http://{relay.address}/api/conversations")).json()["conversations"]
    assert not [each for each in left if each["id"].startswith("smoke-")]


@dataclass(frozen=True)
class Case:
    """A fault, and what is said of it. `plan` is the gateway's."""

    says: str
    plan: dict[str, Any] = field(default_factory=dict)
    reply: Script = REPLY
    endless: Script = ENDLESS
    key: str | None = "right"
    url: str = "http://{relay}"


AT_ONCE = {
    "no key": Case("there is no key in CHATRELAY_KEY", key=""),
    "a wrong key": Case("The key in CHATRELAY_KEY is none of this deployment's.", key="crk_wrong"),
    "nobody there": Case("Nothing answers at http://127.0.0.1:9/api/health: ", url="http://127.0.0.1:9"),
    "no address": Case("Nothing answers at https://nowhere.invalid/api/health: ", url="https://nowhere.invalid"),
    "half an address": Case("http://[::1 is no address: ", url="http://[::1"),
    "the other address": Case("Give the output HttpUrl", url="wss://{relay}/v1"),
    "another address": Case("is not Chat Relay (status 404). Give the output HttpUrl", url="http://{relay}/v2"),
    "another server": Case("is not Chat Relay (status 405). Give the output HttpUrl", url="{model}/v1/messages?"),
    "the service refuses": Case("The reply fails with upstream: ", reply=refuse(401)),
    "the model refuses the second": Case('A second message is answered by {"type": "error"', endless=refuse(401)),
}


@pytest.mark.parametrize("case", AT_ONCE.values(), ids=AT_ONCE)
async def test_what_is_wrong_is_said(walk: Walk, relay: Relay, case: Case) -> None:
    await says(walk, relay, case, 60)


async def says(walk: Walk, relay: Relay, case: Case, patience_s: float, hold_s: float = HOLD_S) -> None:
    plays(relay, case.reply, case.endless)
    url = case.url.format(relay=relay.address, model=relay.model_url)
    walked = await walk(url, relay.key if case.key == "right" else case.key, patience_s, hold_s)

    last = walked.lines[-1]
    assert (walked.code, case.says in last) == (1, True), last
    assert last.startswith(("NOT OK  ", "infra.smoke: "))


# --- what takes long: `make nightly` ---

FAULTS = {
    "the api": Case(
        "The function behind the HTTP API fails with status 50",
        plan={"calls": [{"do": "throttle", "function": "ApiFunction"}]},
    ),
    "the handshake": Case(
        "The WebSocket API refuses a handshake with status 50",
        plan={"calls": [{"do": "throttle", "function": "ConnectFunction"}]},
    ),
    "the socket": Case(
        "The WebSocket was closed with code 1001.", plan={"sockets": [{"do": "close", "posts": 1, "code": 1001}]}
    ),
    "posts": Case("A handshake is taken and `hello` is never answered", plan={"posts": [{"do": "drop"}]}),
    "events": Case(
        "Messages are taken and nobody answers: `message` is throttled",
        plan={"events": [{"do": "delay", "function": "message", "seconds": 60}]},
    ),
    "a late event": Case(
        "A message is answered, but only after ",
        plan={"events": [{"do": "delay", "contains": smoke.SHORT, "seconds": 8}]},
    ),
    "a frame": Case(
        "Frames of a reply are lost on the way, before offset",
        plan={"posts": [{"do": "drop", "contains": MESSAGE, "nth": 1}]},
    ),
    "the last frame": Case(
        "Frames of a reply are lost on the way: its text is not what its hash says.",
        plan={"posts": [{"do": "drop", "contains": [MESSAGE, "🏃"]}]},
    ),
    "a silent model": Case("A reply has begun and does not end: the model is silent.", reply=stall_after("Hm")),
    "a resume": Case(
        "A resume from offset", plan={"posts": [{"do": "drop", "contains": MESSAGE, "connection": 2}]}
    ),
    "a cancel": Case(
        "A cancelled reply ends with silence", plan={"posts": [{"do": "drop", "contains": CANCELLED}]}
    ),
    "a cancel too late": Case('A cancelled reply ends with {"type": "complete"', endless=answer("1")),
    "a device": Case(
        "Another device is not told a message of 31744 bytes.", plan={"posts": [{"do": "drop", "contains": USER}]}
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def faulty(start_relay: Callable[..., Relay]) -> Relay:
    """A deployment whose faults are changed at run time."""
    return start_relay("--faults", "{}", "--parameter", "FirstFrameAuth=false", "--limit", "max_environments=3")


@pytest.mark.nightly
async def test_a_deployment_that_works_by_the_other_way_is_walked_through(walk: Walk, faulty: Relay) -> None:
    plays(faulty)
    faulty.plays(smoke.HELD, answer("1"))

    walked = await walk(f"http://{faulty.address}", faulty.key)

    assert walked.code == 0
    (note,) = (each for each in walked.lines if each.startswith("note  "))
    assert re.fullmatch(r"note  long: the reply ended after \d s; one over 29 s was not seen", note)
    assert walked.lines[-1] == "Everything else works."


@pytest.mark.nightly
@pytest.mark.parametrize("case", FAULTS.values(), ids=FAULTS)
async def test_a_fault_is_named(walk: Walk, faulty: Relay, case: Case) -> None:
    async with httpx.AsyncClient(base_url=f"http://{faulty.address}", timeout=30) as client:
        await client.get("/api/health")  # the function is warm
        (await client.post("/_faults", json=case.plan)).raise_for_status()
        try:
            await says(walk, faulty, case, 5)
        finally:
            await client.delete("/_faults")


@dataclass(frozen=True)
class Change:
    """A deployment in which `file` says something else, and what is said of it."""

    says: str
    file: str
    old: str
    new: str


ESCAPED = '$util.escapeJavaScript($input.body).replaceAll("\\\\\'","\'")'
CHANGES = {
    "an older one": Change(
        "The deployment does not say where its WebSocket is.",
        "functions/api/app.py",
        '"websocket": wiring.websocket_url, ',
        "",
    ),
    "half a stack": Change(
        "Nothing answers at ws://127.0.0.1:9/v1: ",
        "functions/api/app.py",
        "wiring.websocket_url",
        '"ws://127.0.0.1:9/v1"',
    ),
    "the small function": Change(
        "`hello` is answered by {", "functions/control/app.py", "    frame = Frame.from", "    frame = Frames.from"
    ),
    "the ping": Change(
        "`ping` is answered by silence and not by `pong` and its time: PingRoute",
        "template.yaml",
        "RouteId: !Ref PingRoute\n",
        "RouteId: !Ref SendRoute\n",
    ),
    "a pong without its time": Change(
        '`ping` is answered by {"type": "pong"',
        "template.yaml",
        '"timestamp": "$context.requestTimeEpoch"}\'\n\n  PingIntegrationResponse',
        '"timestamp": ""}\'\n\n  PingIntegrationResponse',
    ),
    "a header that is refused": Change(
        'A message is answered by API Gateway itself: {"message": "Internal server error"',
        "template.yaml",
        "/functions/${Function}/invocations\n        - {Function: !GetAtt MessageFunction.Arn}",
        "/functions/${Function}-gone/invocations\n        - {Function: !GetAtt MessageFunction.Arn}",
    ),
    "a header that is passed over": Change(
        "API Gateway takes messages, and none of them reaches `message`. Deploy with MessageInvocation=function",
        "template.yaml",
        "/functions/${Function}/invocations\n        - {Function: !GetAtt MessageFunction.Arn}",
        "/functions/${Function}/invocations\n        - {Function: !GetAtt NotifyFunction.Arn}",
    ),
    "an apostrophe": Change(
        "A message with an apostrophe is answered by API Gateway itself: {",
        "template.yaml",
        ESCAPED,
        "$util.escapeJavaScript($input.body)",
    ),
    "a separator": Change(
        "A message with the line separator U+2028 is kept as",
        "template.yaml",
        ESCAPED,
        ESCAPED + '.replaceAll("u2028","u0020")',
    ),
}  # fmt: skip


WAITS = Change(
    'A message is answered by API Gateway itself: {"message": "Endpoint request timed out"',
    "template.yaml",
    "      RequestParameters:\n        integration.request.header.X-Amz-Invocation-Type: \"'Event'\"\n",
    "      TimeoutInMillis: 2000\n",
)
"""As if API Gateway ignored the header, with 2 s for its 29."""


@pytest.mark.nightly
@pytest.mark.parametrize(
    "reply",
    [answer("Well, that takes its time.", pause_s=1), answer("Soon.")],
    ids=["in the first reply", "in the one that lasts"],
)
async def test_an_api_gateway_that_waits_for_the_function_is_named(
    walk: Walk, start_relay: Callable[..., Relay], tmp_path: Path, reply: Script
) -> None:
    relay = start_relay("--parameter", "FirstFrameAuth=false", at=await asyncio.to_thread(changed, WAITS, tmp_path))

    await says(walk, relay, Case(WAITS.says, reply=reply), 15, 4)


@pytest.mark.nightly
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_deployment_that_is_wrong_is_named(
    walk: Walk, start_relay: Callable[..., Relay], tmp_path: Path, change: Change
) -> None:
    wrong = await asyncio.to_thread(changed, change, tmp_path)

    await says(walk, start_relay("--parameter", "FirstFrameAuth=false", at=wrong), Case(change.says), 15)


def changed(change: Change, folder: Path) -> Path:
    """A copy of what is deployed, in `folder`."""
    for part in ("functions", "infra", "layers"):
        shutil.copytree(REPOSITORY / part, folder / part)
    shutil.copy(REPOSITORY / "template.yaml", folder)
    file = folder / change.file
    written = file.read_text()
    assert change.old in written
    file.write_text(written.replace(change.old, change.new))
    return folder
