"""What Codex thinks, does and cites, through the whole deployment: at OpenAI, and on a user's own machine."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from emulator.stand_ins.fake_anthropic import serving_in_thread
from emulator.stand_ins.script import Script, Send
from tests.builders.deployments import Relay
from tests.builders.openai_service import Service
from tests.builders.phone import Frame, Phone, assembled, proves
from tests.infra.bridgehub.sidecars import TOKEN, codex_in, starting

LINK = "([w.example](https://w.example/))"
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "早"}}
CITATION = {"type": "url_citation", "url": "https://w.example/", "title": "Weather", "start_index": 10, "end_index": 43}
ANSWER = (
    {
        "type": "response.reasoning_summary_text.delta",
        "output_index": 0,
        "summary_index": 0,
        "delta": "**Where?** \ud83c",
    },
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "\udf05"},
    {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 1, "delta": "**There!**"},
    {"type": "response.output_item.done", "output_index": 1, "item": SEARCH},
    {"type": "response.output_text.delta", "output_index": 2, "content_index": 0, "delta": "It rains. "},
    {"type": "response.output_text.delta", "output_index": 2, "content_index": 0, "delta": LINK},
    {"type": "response.output_text.annotation.added", "output_index": 2, "content_index": 0, "annotation": CITATION},
    {"type": "response.completed", "response": {"model": "gpt-5"}},
)
AT_OPENAI = [
    ("reasoning", "**Where?** 🌅\n\n**There!**"),
    ("tool", '{"type": "search", "query": "早"}'),
    ("tool_result", '{"status": "completed"}'),
    ("message", f"It rains. {LINK}"),
    ("source", "https://w.example/"),
]
ON_THE_MACHINE = [
    ("reasoning", "**Looking** 😀"),
    ("tool", '{"command": "bash -lc ls"}'),
    ("tool_result", json.dumps({"exit_code": 0, "output": "a.py\n" * 9000})[:30_000]),
    ("message", "There is a lot."),
]


@pytest.fixture(scope="module")
def service() -> Service:
    return Service()


@pytest.fixture(scope="module")
def relay_with_openai(start_relay: Callable[..., Relay], service: Service) -> Iterator[Relay]:
    with serving_in_thread(service) as url:
        chosen = {"CodexBackend": "openai", "OpenAIBaseUrl": f"{url}/v1", "CodexThinking": "true"}
        yield start_relay(*parameters(chosen), OPENAI_API_KEY="sk-openai")


@pytest.fixture(scope="module")
def relay_with_codex_alone(
    start_relay: Callable[..., Relay], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relay]:
    """The sidecar runs Codex itself, without BridgeHub."""
    folder = tmp_path_factory.mktemp("codex")
    with starting(folder) as start:
        url = start("--codex", str(codex_in(folder))).url
        chosen = {"CodexBackend": "bridgehub", "BridgeHubUrl": url, "BridgeHubWorkingDirectory": str(folder)}
        yield start_relay(*parameters(chosen), BRIDGEHUB_TOKEN=TOKEN)


def parameters(chosen: dict[str, str]) -> list[str]:
    options = [word for name, value in chosen.items() for word in ("--parameter", f"{name}={value}")]
    return [*options, "--limit", "max_environments=2"]


async def heard_and_kept(relay: Relay, conversation: str, parts: list[tuple[str, str]]) -> list[Frame]:
    """The frames of an answer that has these `parts`: live, resumed, and in the list. Claude is told of its text."""
    async with Phone.connected(relay.websocket, relay.key) as phone:
        typing, *heard, complete = await phone.ask("work", id="m1", conversation=conversation, agent="codex")
        assert parts_in(heard) == parts
        assert proves(complete, assembled(heard))
        assert complete["parts"] == len(parts)
        await phone.say({"action": "resume", "reply": typing["reply"], "offset": 3})
        resumed = await phone.hear_until(lambda frame: frame["type"] == "complete")
        assert assembled(resumed, since=3) == assembled(heard)[3:]
        await phone.ask(f"And Claude in {conversation}?", id="m2", conversation=conversation)
    async with httpx.AsyncClient(headers={"X-API-Key": relay.key}) as http:
        page = await http.get(f"http://{relay.address}/api/conversations/{conversation}/messages")
    turn, _ = page.json()["turns"]
    assert [(part["type"], part["content"]) for part in turn["reply"]["parts"]] == parts
    (asked,) = relay.requests_for(f"And Claude in {conversation}?")
    said = "".join(content for kind, content in parts if kind == "message")
    assert asked.body["messages"][1] == {"role": "assistant", "content": [{"type": "text", "text": said}]}
    return heard


def parts_in(frames: list[Frame]) -> list[tuple[str, str]]:
    """The parts of a log, by type and content."""
    found: dict[int, tuple[str, str]] = {}
    for frame in frames:
        kind, content = found.get(frame["part"], (frame["type"], ""))
        found[frame["part"]] = (kind, content + frame["content"])
    return list(found.values())


@pytest.mark.nightly
async def test_what_openai_thinks_searches_and_cites(
    relay_with_openai: Relay, service: Service, conversation: str
) -> None:
    service.script = Script(tuple(Send(event) for event in ANSWER))

    heard = await heard_and_kept(relay_with_openai, conversation, AT_OPENAI)

    described: dict[str, dict[str, Any]] = {frame["type"]: frame for frame in heard}
    begins = described["message"]["offset"] + 10
    assert (described["source"]["from"], described["source"]["to"]) == (begins, begins + len(LINK))
    assert (described["tool"]["name"], described["tool"]["by"]) == ("web_search", "model")
    assert service.requests[0].body["reasoning"] == {"summary": "auto"}
    async with Phone.connected(relay_with_openai.websocket, relay_with_openai.key) as phone:
        await phone.ask("Sure?", id="m3", conversation=conversation, agent="codex")
    assert service.requests[-1].body["input"] == [
        {"role": "user", "content": "work"},
        {"role": "assistant", "content": f"It rains. {LINK}"},
        {"role": "user", "content": f"And Claude in {conversation}?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Sure?"},
    ]


@pytest.mark.nightly
async def test_what_codex_thinks_and_runs_on_its_users_machine(
    relay_with_codex_alone: Relay, conversation: str
) -> None:
    heard = await heard_and_kept(relay_with_codex_alone, conversation, ON_THE_MACHINE)

    result = next(frame for frame in heard if frame["type"] == "tool_result")
    assert (result["call"], result["is_error"], result["truncated"]) == ("item_1", False, True)
