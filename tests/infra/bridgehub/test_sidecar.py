import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml  # type: ignore[import-untyped]
from openapi_schema_validator import OAS32Validator
from openapi_spec_validator import validate

from emulator.stand_ins.fake_anthropic import serving
from infra.bridgehub.__main__ import parser
from infra.bridgehub.app import application
from infra.bridgehub.clis import ARGUMENT_BYTES, OUTPUT_CHARS, BridgeHub
from tests.builders.patience import PATIENCE_S
from tests.infra.bridgehub.sidecars import (
    BRIDGEHUB,
    HERE,
    REPOSITORY,
    TOKEN,
    Sidecar,
    eventually,
    gone,
    idle,
    needs_node,
    request,
    stayers,
)

SPECIFICATION = yaml.safe_load(Path(REPOSITORY, "infra", "bridgehub", "openapi.yaml").read_text())
EVENT = OAS32Validator({"$ref": "#/components/schemas/Event", "components": SPECIFICATION["components"]})
REQUEST = OAS32Validator({"$ref": "#/components/schemas/Request", "components": SPECIFICATION["components"]})


def events(response: httpx.Response) -> list[dict[str, Any]]:
    """What was answered, each event as the specification says, and nothing after the last line."""
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    *lines, rest = response.content.split(b"\n")
    assert rest == b""
    told = [json.loads(line) for line in lines if line.isascii()]
    assert len(told) == len(lines)
    for event in told:
        EVENT.validate(event)
    return told


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def failure(message: str) -> dict[str, Any]:
    return {"type": "error", "message": message}


END = {"type": "end", "usage": {}}
SAID = "Good 早上 🌅 \"quotes\", $HOME `id` 'and' \\ no shell\nand a second line"


def test_the_specification_is_one() -> None:
    validate(SPECIFICATION)
    REQUEST.validate(request("say hello", "/"))


@needs_node
@pytest.mark.parametrize(
    ("message", "output"),
    [
        (f"say {SAID}", SAID),
        ("noisy", "Heard?"),
        ("stdin", "[]"),
        ("half", "so \ud83d"),
    ],
    ids=lambda value: str(value).split(" ")[0],
)
async def test_the_answer_is_what_the_payload_says(bridgehub: Sidecar, message: str, output: str) -> None:
    assert events(await bridgehub.ask(message)) == [text(output), END]


@needs_node
async def test_an_answer_may_be_long(bridgehub: Sidecar) -> None:
    long = "漢字 😀 text. " * 13_000

    assert len(long.encode()) > 200 * 1024
    assert events(await bridgehub.ask("long 13000")) == [text(long), END]


@needs_node
async def test_a_request_is_handed_on_to_the_letter(bridgehub: Sidecar, tmp_path: Path) -> None:
    (answered, _) = events(await bridgehub.ask("request", tmp_path, session="another"))

    assert json.loads(answered["text"]) == request("request", tmp_path) | {"session": "another"}


@needs_node
@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("refuse", [failure("BridgeHub could not answer: codex_unavailable")]),
        ("silent", [failure("BridgeHub ended without an answer.")]),
        ("answerAndExit", [text("So far"), failure("BridgeHub ended with exit code 3.")]),
        ("die", [failure("BridgeHub gave something that is no answer.")]),
        ("endless", [failure("BridgeHub wrote a line that does not end.")]),
        ("throw", [failure("BridgeHub ended with exit code 1: Error: no session")]),
        ("mutter", [failure("BridgeHub ended without an answer: nothing to say")]),
        ("complain " + "x" * 9000, [failure("BridgeHub ended with exit code 1: " + "x" * 300)]),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
async def test_a_failure_is_the_last_event(bridgehub: Sidecar, message: str, told: list[dict[str, Any]]) -> None:
    assert events(await bridgehub.ask(message)) == told


@needs_node
async def test_a_request_that_no_argument_can_hold_is_refused(bridgehub: Sidecar) -> None:
    room = ARGUMENT_BYTES - len(json.dumps(request("say ", "/"), separators=(",", ":")))
    refused = await bridgehub.ask("say " + "x" * (room + 1))

    assert (refused.status_code, refused.text) == (413, "BridgeHub takes at most 131071 bytes of request.")
    assert events(await bridgehub.ask("say " + "x" * room)) == [text("x" * room), END]


@needs_node
async def test_an_answer_is_whole_when_something_that_it_started_lives_on(bridgehub: Sidecar) -> None:
    assert events(await bridgehub.ask("answerAndLeave")) == [text("So far"), END]


@needs_node
async def test_a_call_that_takes_too_long_is_ended_with_all_that_it_started(
    start_sidecar: Callable[..., Sidecar], tmp_path: Path
) -> None:
    """The seconds are by the clock: within them, Node starts on a busy machine."""
    sidecar = start_sidecar(*BRIDGEHUB, "--time-limit-s", "4")
    directories = {message: tmp_path / message for message in ("answerAndStay", "stayDeaf")}
    for directory in directories.values():
        directory.mkdir()

    answers = await asyncio.gather(*(sidecar.ask(message, directory) for message, directory in directories.items()))

    late = failure("BridgeHub took longer than 4 seconds.")
    assert [events(answer) for answer in answers] == [[text("So far"), late], [late]]
    for directory in directories.values():
        await gone(await stayers(directory))


@needs_node
async def test_a_call_whose_caller_goes_away_is_ended_with_all_that_it_started(
    bridgehub: Sidecar, tmp_path: Path
) -> None:
    asking = asyncio.create_task(bridgehub.ask("stayDeaf", tmp_path))
    pids = await stayers(tmp_path)

    asking.cancel()

    await gone(pids)


@needs_node
async def test_a_caller_who_does_not_read_keeps_no_call_alive(bridgehub: Sidecar, tmp_path: Path) -> None:
    """The answer waits in full buffers when the caller leaves."""
    body = json.dumps(request("long 500000", tmp_path)).encode()
    head = (
        f"POST /v1/answers HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    host, port = bridgehub.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(head.encode() + body)
    await reader.readuntil(b'"text"')
    assert (await bridgehub.health())["calls"] == 1

    writer.transport.abort()

    await idle(bridgehub)


@needs_node
async def test_only_so_many_calls_are_under_way(single: Sidecar, tmp_path: Path) -> None:
    sidecar = single
    asking = asyncio.create_task(sidecar.ask("stay", tmp_path))
    await stayers(tmp_path)
    assert await sidecar.health() == {"status": "ok", "calls": 1, "limit": 1}

    refused = await sidecar.ask("say hello")
    asking.cancel()
    await idle(sidecar)

    assert (refused.status_code, refused.text, refused.headers["retry-after"]) == (429, "BridgeHub is busy.", "5")
    assert events(await sidecar.ask("say hello")) == [text("hello"), END]


@needs_node
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_a_sidecar_that_ends_leaves_nothing_behind(
    start_sidecar: Callable[..., Sidecar], tmp_path: Path, number: signal.Signals
) -> None:
    sidecar = start_sidecar(*BRIDGEHUB)
    asking = asyncio.create_task(sidecar.ask("stayDeaf", tmp_path))
    pids = await stayers(tmp_path)

    sidecar.process.send_signal(number)

    with pytest.raises(httpx.RemoteProtocolError):
        await asking
    await gone(pids)
    await eventually(lambda: sidecar.process.poll() == 0)


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", f"Bearer {TOKEN}é"]
)
@needs_node
async def test_a_token_that_is_missing_or_wrong_is_told(bridgehub: Sidecar, header: str) -> None:
    headers = {b"authorization": header.encode("latin-1")}
    async with httpx.AsyncClient(base_url=bridgehub.url, headers=headers) as client:
        refused = await client.post("/v1/answers", json=request("say hello", "/"))

    assert (refused.status_code, refused.text) == (401, "The token is missing or wrong.")
    assert refused.headers["www-authenticate"] == "Bearer"


@needs_node
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[" * 100_000,
        json.dumps(request("say hello", "/")).encode("utf-16"),
        json.dumps(request("say hello", "/") | {"version": "bridgehub/2.0"}).encode(),
        json.dumps(request("say hello", "/") | {"capsule": 7}).encode(),
        json.dumps(request("say hello", "/") | {"payload": {"message": "say hello"}}).encode(),
        json.dumps(request("say hello", "/") | {"payload": {"message": "say hello", "context": ["x"]}}).encode(),
    ],
    ids=[
        "nothing",
        "no JSON",
        "too deep",
        "UTF-16",
        "a later version",
        "no directory",
        "no context",
        "no such context",
    ],
)
async def test_what_is_no_request_is_refused(bridgehub: Sidecar, body: bytes) -> None:
    async with httpx.AsyncClient(base_url=bridgehub.url, headers={"authorization": f"Bearer {TOKEN}"}) as client:
        refused = await client.post("/v1/answers", content=body)

    assert refused.status_code == 400
    assert refused.text.startswith("The request is wrong: ")


@needs_node
async def test_a_request_that_is_far_too_long_is_not_read(bridgehub: Sidecar) -> None:
    assert (await bridgehub.ask("x" * 2 * 1024 * 1024)).status_code == 413


@needs_node
async def test_whoever_waits_hears_that_somebody_is_there(tmp_path: Path) -> None:
    app = application(BridgeHub(HERE / "bridgehub.js"), TOKEN, calls=1, time_limit_s=1, ping_s=0.05)
    async with serving(app) as url, httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = await client.post("/v1/answers", json=request("stay", tmp_path), headers=headers)

    *pings, last = events(answer)
    assert {"type": "ping"} in pings
    assert last == failure("BridgeHub took longer than 1 seconds.")


async def test_codex_is_told_everything_by_its_standard_input(codex: Sidecar, tmp_path: Path) -> None:
    long = "x" * 256 * 1024

    answered, end = events(await codex.ask(f"{long} prompt", tmp_path))

    assert answered == text(f"Full Conversation History:\n[]\n\n{long} prompt")
    assert end == {
        "type": "end",
        "usage": {"input_tokens": 30, "output_tokens": 7, "cache_read_input_tokens": 60},
    }


@pytest.mark.parametrize(
    ("message", "texts", "last"),
    [
        ("grow", ["Gro", "wing"], "end"),
        ("fail", ["So far"], "Codex could not answer: You have hit your usage limit."),
        ("failWithout", [], "Codex could not answer: The connection was reset."),
        ("die", [], "Codex ended with exit code 1: The connection was reset."),
        ("stop", ["So far"], "Codex ended without an answer."),
        ("complain", [], "Codex ended with exit code 1: Not logged in. Run `codex login`."),
    ],
    ids=["grow", "fail", "fail without a reason", "die", "stop", "complain"],
)
async def test_codexs_messages_are_the_answer(codex: Sidecar, message: str, texts: list[str], last: str) -> None:
    *said, ended = events(await codex.ask(message))

    assert said == [text(content) for content in texts]
    assert ended.get("message", ended["type"]) == last


async def test_what_codex_thinks_and_does_is_told_as_it_happens(codex: Sidecar) -> None:
    *told, end = events(await codex.ask("work"))

    assert told == [
        {"type": "reasoning", "text": "**Looking** 😀"},
        {"type": "tool", "call": "item_1", "name": "command_execution", "input": {"command": "bash -lc ls"}},
        {
            "type": "tool_result",
            "call": "item_1",
            "content": {"exit_code": 0, "output": ("a.py\n" * 9000)[:OUTPUT_CHARS]},
            "is_error": False,
        },
        text("There is a lot."),
    ]
    assert end["type"] == "end"


async def test_codex_may_stay_after_its_turn(codex: Sidecar, tmp_path: Path) -> None:
    """The answer is over with the turn, whose end the events say; what is left of the call is ended."""
    async with asyncio.timeout(PATIENCE_S):
        said, ended = events(await codex.ask("stay", tmp_path))

    assert (said, ended["type"]) == (text("hi"), "end")
    assert ended["usage"]["output_tokens"] == 7
    await gone(await stayers(tmp_path))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([], "required: --token-file"),
        (["--token-file", "/no/such"], "the token cannot be read"),
        (["--token-file", "/dev/null"], "there is no token in /dev/null"),
        (["--token-file", __file__], "one of the arguments --bridgehub --codex is required"),
        (["--token-file", __file__, "--bridgehub", "/no/such"], "there is no file /no/such"),
        (["--token-file", __file__, "--codex", "no-such-program"], "there is no program no-such-program on the PATH"),
        (["--token-file", __file__, "--codex", "sh", "--calls", "0"], "0 is not positive"),
        (["--token-file", __file__, "--codex", "sh", "--calls", "many"], "invalid"),
    ],
    ids=["nothing", "no token file", "no token", "no command line", "no script", "no program", "no calls", "no number"],
)
def test_a_mistake_in_the_command_is_named(
    capsys: pytest.CaptureFixture[str], options: list[str], problem: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(options)

    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_it_needs_nothing_but_its_own_requirements() -> None:
    others = "('chatrelay', 'emulator', 'boto3', 'httpx', 'pydantic', 'yaml')"
    code = f"import infra.bridgehub.__main__, sys; print(*(name for name in sys.modules if name.startswith({others})))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)  # noqa: S603

    assert ran.stdout.strip() == ""
