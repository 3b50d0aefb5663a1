"""The relay's agent ``codex``, over real HTTP to the sidecar and through it to what stands in for the command lines."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from chatrelay.agents import codex as adapter
from chatrelay.agents.codex import REQUEST_BYTES, Codex
from chatrelay.domain.blocks import RESULT_LENGTH
from chatrelay.domain.errors import Denied, Overloaded, Upstream
from chatrelay.domain.reply import Ending
from chatrelay.domain.turns import Turn
from chatrelay.settings import BridgeHub as Settings
from tests.builders.written import log_in, text_in
from tests.infra.bridgehub.sidecars import TOKEN, Sidecar, gone, idle, needs_node, stayers

Ask = Callable[..., AsyncGenerator[object]]


class Secret:
    """The stored token, which has been rotated: `renew` finds the next one."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)

    async def __call__(self, *, renew: bool = False) -> str:
        if renew:
            self._tokens.pop(0)
        return self._tokens[0]


async def ask(
    sidecar: Sidecar, message: str, directory: Path, *, earlier: Sequence[Turn] = (), secret: Secret | None = None
) -> AsyncGenerator[object]:
    """What the agent answers."""
    async with adapter.client(sidecar.url) as client:
        agent = Codex(client, secret or Secret(TOKEN), Settings(sidecar.url, "relay/bridgehub", str(directory)))
        async with aclosing(agent.answer("talk", [*earlier, Turn("9", message)])) as events:
            async for event in events:
                yield event


async def whole(events: AsyncGenerator[object]) -> tuple[str, Ending]:
    *texts, ending = [event async for event in events]
    assert isinstance(ending, Ending)
    return text_in(texts), ending


@needs_node
async def test_bridgehub_answers(bridgehub: Sidecar, tmp_path: Path) -> None:
    said, ending = await whole(ask(bridgehub, "say Good 早上 🌅 morning", tmp_path))

    assert said == "Good 早上 🌅 morning"
    assert (ending.stop_reason, ending.model, ending.usage) == ("end_turn", "codex", {"output_tokens": 9})
    assert ending.blocks == [{"type": "text", "text": "Good 早上 🌅 morning"}]


@needs_node
async def test_a_long_answer_comes_whole(bridgehub: Sidecar, tmp_path: Path) -> None:
    said, _ = await whole(ask(bridgehub, "long 13000", tmp_path))

    assert said == "漢字 😀 text. " * 13_000


@needs_node
async def test_half_a_character_at_the_end_of_an_answer_is_replaced(bridgehub: Sidecar, tmp_path: Path) -> None:
    said, ending = await whole(ask(bridgehub, "half", tmp_path))

    assert (said, ending.blocks) == ("so \ufffd", [{"type": "text", "text": "so \ufffd"}])


@needs_node
async def test_bridgehub_is_told_the_conversation(bridgehub: Sidecar, tmp_path: Path) -> None:
    earlier = [Turn("1", "Hi", [{"type": "text", "text": "Hello 早上"}]), Turn("2", "Anyone?")]

    said, _ = await whole(ask(bridgehub, "request", tmp_path, earlier=earlier))

    told = json.loads(said)
    assert (told["session"], told["capsule"], told["payload"]["message"]) == ("talk", str(tmp_path), "request")
    assert json.loads(told["payload"]["context"][0]["content"]) == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello 早上"},
        {"role": "user", "content": "Anyone?"},
    ]


@needs_node
async def test_of_a_long_conversation_bridgehub_is_told_as_much_as_an_argument_holds(
    bridgehub: Sidecar, tmp_path: Path
) -> None:
    earlier = [Turn(str(n), f'{n}: "漢字" \\ {"x" * 1000}', [{"type": "text", "text": f"{n}\n"}]) for n in range(300)]

    said, _ = await whole(ask(bridgehub, "request", tmp_path, earlier=earlier))

    history = json.loads(json.loads(said)["payload"]["context"][0]["content"])
    assert history[-2:] == [{"role": "user", "content": earlier[-1].content}, {"role": "assistant", "content": "299\n"}]
    assert REQUEST_BYTES - 3000 < len(said.encode()) <= REQUEST_BYTES


async def test_a_text_arrives_while_codex_is_still_at_work(codex: Sidecar, tmp_path: Path) -> None:
    """The second message is written only when the first has arrived here."""
    os.mkfifo(tmp_path / "go")
    async with aclosing(ask(codex, "wait", tmp_path)) as events:
        assert text_in([await anext(events)]) == "First."
        await asyncio.to_thread((tmp_path / "go").write_text, "")
        said, ending = await whole(events)

    assert said == "\n\nSecond."
    assert ending.usage == {"input_tokens": 30, "output_tokens": 7, "cache_read_input_tokens": 60}
    assert ending.blocks == [{"type": "text", "text": "First.\n\nSecond."}]


async def test_what_codex_thinks_and_does_is_in_the_log(codex: Sidecar, tmp_path: Path) -> None:
    log = log_in([event async for event in ask(codex, "work", tmp_path)])

    thought, call, result, answer = log.parts
    assert (thought.content, call.content, answer.content) == (
        "**Looking** 😀",
        '{"command": "bash -lc ls"}',
        "There is a lot.",
    )
    assert call.facts == {"call": "item_1", "name": "command_execution", "by": "model"}
    assert result.facts == {"call": "item_1", "is_error": False, "truncated": True}
    assert len(result.content) == RESULT_LENGTH
    assert result.content.startswith('{"exit_code": 0, "output": "a.py\\n')


@needs_node
async def test_cancelling_ends_the_call_with_all_that_it_started(bridgehub: Sidecar, tmp_path: Path) -> None:
    asking = asyncio.create_task(whole(ask(bridgehub, "stay", tmp_path)))
    pids = await stayers(tmp_path)

    asking.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asking
    await gone(pids)


@needs_node
async def test_leaving_the_answer_ends_the_call(bridgehub: Sidecar, tmp_path: Path) -> None:
    async with aclosing(ask(bridgehub, "answerAndStay", tmp_path)) as events:
        assert text_in([await anext(events)]) == "So far"
        pids = await stayers(tmp_path)

    await gone(pids)


@needs_node
async def test_a_sidecar_that_has_enough_to_do_is_overloaded(single: Sidecar, tmp_path: Path) -> None:
    asking = asyncio.create_task(whole(ask(single, "stay", tmp_path)))
    await stayers(tmp_path)

    with pytest.raises(Overloaded, match="Codex is busy") as busy:
        await whole(ask(single, "say hello", tmp_path))
    asking.cancel()
    await idle(single)

    assert busy.value.retry_after_s == 5


@needs_node
@pytest.mark.parametrize(
    ("scene", "kept", "sentence"),
    [
        ("refuse", "", "BridgeHub could not answer: codex_unavailable"),
        ("answerAndExit", "So far", "BridgeHub ended with exit code 3."),
    ],
)
async def test_bridgehubs_failures_are_told_after_what_was_written(
    bridgehub: Sidecar, tmp_path: Path, scene: str, kept: str, sentence: str
) -> None:
    said = ""
    async with aclosing(ask(bridgehub, scene, tmp_path)) as events:
        while said != kept:
            said += text_in([await anext(events)])
        with pytest.raises(Upstream) as failure:
            await anext(events)

    assert str(failure.value) == sentence


@needs_node
async def test_a_token_that_was_rotated_is_read_anew(bridgehub: Sidecar, tmp_path: Path) -> None:
    said, _ = await whole(ask(bridgehub, "say hello", tmp_path, secret=Secret("old", TOKEN)))

    assert said == "hello"


@needs_node
async def test_a_wrong_token_is_told(bridgehub: Sidecar, tmp_path: Path) -> None:
    with pytest.raises(Denied, match="BridgeHub does not accept the relay's key"):
        await whole(ask(bridgehub, "say hello", tmp_path, secret=Secret("old", "wrong")))


@pytest.fixture
def nobody() -> Sidecar:
    """An address where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    return Sidecar(f"http://127.0.0.1:{port}", None, [])  # type: ignore[arg-type]


async def test_a_machine_that_is_not_there_is_told(nobody: Sidecar, tmp_path: Path) -> None:
    with pytest.raises(Upstream, match="cannot be reached"):
        await whole(ask(nobody, "say hello", tmp_path))
