import asyncio
import functools
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from io import StringIO
from itertools import pairwise
from typing import Any

import httpx
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from aws_lambda_powertools import Logger

from chatrelay.agents import Agent, claude
from chatrelay.agents.claude import Claude
from chatrelay.agents.mending import Mending
from chatrelay.aws.files import Files
from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.aws.management_api import ManagementApi
from chatrelay.domain.errors import Duplicate, NoSuchAgent, SettingError, Superseded
from chatrelay.domain.keys import ConversationKey
from chatrelay.domain.log import LONGEST, Log
from chatrelay.domain.outcome import ReplyOutcome
from chatrelay.domain.prices import Prices
from chatrelay.domain.reply import Status
from chatrelay.domain.turns import Room, Turn
from chatrelay.relay.acceptance import Acceptance
from chatrelay.relay.admission import Admission
from chatrelay.relay.agent_registry import AgentRegistry
from chatrelay.relay.conversation_worker import ConversationWorker
from chatrelay.relay.dispatch import Dispatcher, Message
from chatrelay.relay.invocation import Invocation
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.reply_writer import Grace, ReplyWriter
from chatrelay.relay.resume import ResumeService
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store.attribute_values import Item
from chatrelay.store.connections import Connection, Viewer
from chatrelay.store.conversations import Accepted
from chatrelay.store.leases import EXPIRES_S
from chatrelay.store.table import Table
from chatrelay.wire.dialect import Dialect
from chatrelay.wire.dialects import BUILDEROS, VERSION_1
from chatrelay.wire.inbound import Send
from emulator.stand_ins.fake_anthropic import ScriptedModel, serving_in_thread
from emulator.stand_ins.script import (
    Script,
    answer,
    blocks,
    cut_after,
    fail_after,
    partial,
    refuse,
    search_block,
    stall_after,
    text_block,
)
from tests.builders.doubles import Address, Clocked, Sockets, assembled
from tests.builders.layer import Store, by_key, scanned
from tests.builders.patience import PATIENCE_S
from tests.builders.settings import CLAUDE
from tests.builders.written import journaled, kept_text

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = replace(CLAUDE, history_tokens=1000)
LONG = 900.0
APP = Connection("c1=", "claude", BUILDEROS, 1, by_key("alice"))
PHONE = Connection("c1=", "claude", VERSION_1, 1, by_key("alice"))
TALK = ConversationKey("alice", "talk")
LAST_MARK = "\U0001f3c1"


async def secret_key(*, renew: bool = False) -> str:
    return "renewed" if renew else "key"


class Model:
    """What the model plays for every request, unless it `refuses` it, and when it wrote the end of its text."""

    def __init__(self) -> None:
        self.script = answer("Good 早上 🌅 morning")
        self.refuses: Callable[[dict[str, Any]], Script | None] = lambda _: None
        self.scripted = ScriptedModel(lambda body: self.refuses(body) or self.script)
        self.clocked = Clocked(self.scripted, json.dumps(LAST_MARK).strip('"').encode())


@pytest.fixture(scope="module")
def service() -> Iterator[Address]:
    address = Address()
    with serving_in_thread(address) as address.url:
        yield address


@pytest.fixture(autouse=True)
def model(service: Address) -> Model:
    model = Model()
    service.app = model.clocked
    return model


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Address) -> AsyncIterator[AsyncAnthropic]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANTHROPIC_BASE_URL", service.url)
        async with claude.client(read_timeout_s=60) as client:
            yield client


PRICES = Prices.read("claude-sonnet-5=3/15")


class Noted(ReplyWriter):
    """A writer whose outcome is noted."""

    outcomes: list[ReplyOutcome]

    async def write(self, sender: Viewer | None = None) -> ReplyOutcome:
        self.outcomes.append(await super().write(sender))
        return self.outcomes[-1]


class Answering:
    """A worker, and whoever sends it messages shows their conversation."""

    def __init__(
        self,
        agent: Any,
        *,
        store: Store,
        recovery: Recovery,
        resume: ResumeService,
        api: ManagementApi,
        threads: Executor,
        workers: WorkerInvoker,
        pushes: PushInvoker,
        files: Files,
        telemetry: Telemetry,
    ) -> None:
        self._store = store
        self._recovery = recovery
        self._api = api
        self._files = files
        self._telemetry = telemetry
        self._dispatcher = Dispatcher(
            store, api, resume, workers, telemetry, Admission(store, lambda: None, 0, Logger())
        )
        self._parts: dict[str, Any] = {
            "api": api,
            "threads": threads,
            "workers": workers,
            "pushes": pushes,
            "telemetry": telemetry,
            "prices": lambda: PRICES,
        }
        self._written: list[ReplyOutcome] = []
        self.grace = Grace()
        self.agent = lambda: Mending(agent)
        self.worker = self.built({"claude": self.agent})

    def built(self, agents: Mapping[str, Callable[[], Agent]]) -> ConversationWorker:
        store, registry = self._store, AgentRegistry(agents)

        def writer(accepted: Accepted, invocation: Invocation) -> ReplyWriter:
            noted = Noted(
                accepted,
                invocation,
                store=store,
                agents=registry,
                files=lambda: self._files,
                grace=self.grace,
                **self._parts,
            )
            noted.outcomes = self._written
            return noted

        acceptance = Acceptance(store, self._recovery, registry, lambda: self._files)
        return ConversationWorker(
            store, self._dispatcher, acceptance, self._recovery, self._api, self._telemetry, writer
        )

    async def answer(self, message: Message, worker: str, time_left_s: float) -> ReplyOutcome:
        """The outcome of the first reply that the invocation writes."""
        return (await self.outcomes(message, worker, time_left_s))[0]

    async def outcomes(self, message: Message, worker: str, time_left_s: float) -> list[ReplyOutcome]:
        self._store.connections.open(message.connection)
        before = len(self._written)
        await self.worker.reply(message, Invocation.begun(worker, time_left_s))
        return self._written[before:]

    async def continued(self, key: ConversationKey, worker: str, time_left_s: float) -> list[ReplyOutcome]:
        """The outcomes of a worker that was called for what waits."""
        before = len(self._written)
        await self.worker.continue_queue(key, Invocation.begun(worker, time_left_s), is_fresh=True)
        return self._written[before:]


@pytest.fixture
def patient(relay: Answering, client: AsyncAnthropic) -> Answering:
    """The same for long conversations."""
    agent = Mending(Claude(client, secret_key, None, replace(SETTINGS, history_tokens=1_000_000)))
    relay.worker = relay.built({"claude": lambda: agent})
    return relay


@pytest.fixture
def impatient(relay: Answering, client: AsyncAnthropic) -> Answering:
    """The same, and soon done with a silent service."""
    agent = Claude(client.with_options(timeout=1.0), secret_key, None, SETTINGS)
    relay.worker = relay.built({"claude": lambda: Mending(agent)})
    return relay


@pytest.fixture
def answering(
    store: Store,
    recovery: Recovery,
    resume: ResumeService,
    api: ManagementApi,
    threads: Executor,
    workers: WorkerInvoker,
    push_invoker: PushInvoker,
    files: Files,
    telemetry: Telemetry,
) -> Callable[..., Answering]:
    """Makes a worker that asks this agent, over this `store` or the one of the test."""
    return functools.partial(
        Answering,
        store=store,
        recovery=recovery,
        resume=resume,
        api=api,
        threads=threads,
        workers=workers,
        pushes=push_invoker,
        files=files,
        telemetry=telemetry,
    )


@pytest.fixture
def relay(answering: Callable[..., Answering], client: AsyncAnthropic) -> Answering:
    return answering(Claude(client, secret_key, None, SETTINGS))


def said(
    content: str = "Hello",
    id: str = "m1",  # noqa: A002
    *,
    connection: Connection = PHONE,
    agent: str = "claude",
    received_ms: int = 1,
) -> Message:
    return Message(connection, "alice", Send(id, "talk", content, agent), received_ms)


def show(store: Store, name: str, dialect: Dialect = VERSION_1) -> None:
    """Opens another connection of the user's that shows the conversation."""
    connection = Connection(name, "claude", dialect, 1, by_key("alice"))
    store.connections.open(connection)
    store.connections.subscribe(connection, "talk")


def stored(table: Table) -> Item:
    """The only reply in the table."""
    replies = [item for item in table.query("CONVERSATION#alice#talk", "TURN#", "TURN#~") if item["sk"].endswith("#2")]
    assert len(replies) == 1
    return replies[0]


def failures(log: StringIO) -> list[dict[str, Any]]:
    """The lines of replies that failed; beside them is one of every reply that has ended."""
    return [line for line in map(json.loads, log.getvalue().splitlines()) if line["message"] == "reply failed"]


async def test_a_message_is_answered_while_it_is_written(
    relay: Answering, sockets: Sockets, table: Table, model: Model
) -> None:
    model.script = answer("Good 早上 🌅 morning", delta_chars=4, pause_s=0.15)

    outcome = await relay.answer(said(), "worker-1", LONG)

    frames = sockets.frames("c1=")
    types = [frame["type"] for frame in frames]
    assert (types[0], set(types[1:-1]), types[-1]) == ("typing", {"message"}, "complete")
    assert len(types) > 3
    assert assembled(frames) == "Good 早上 🌅 morning"
    assert (frames[0]["id"], frames[0]["conversation"]) == ("m1", "talk")
    assert {frame["reply"] for frame in frames} == {stored(table)["reply"]}
    assert {frame["epoch"] for frame in frames} == {1}
    assert (outcome.status, outcome.length, outcome.posts) == (Status.COMPLETE, 18, len(frames))
    assert outcome.readers_left == 0
    assert outcome.first_text_s is not None


async def test_the_end_proves_what_was_sent_and_stored(relay: Answering, sockets: Sockets, table: Table) -> None:
    await relay.answer(said(), "worker-1", LONG)

    complete = sockets.frames("c1=")[-1]
    sha256 = hashlib.sha256("Good 早上 🌅 morning".encode()).hexdigest()
    assert (complete["length"], complete["sha256"]) == (18, sha256)
    assert (complete["stop_reason"], complete["model"]) == ("end_turn", "claude-sonnet-5")
    assert {type(count) for count in complete["usage"].values()} == {int}
    kept = stored(table)
    assert (kept["reply_status"], kept["sha256"]) == ("complete", sha256)
    assert kept_text(kept) == "Good 早上 🌅 morning"


async def test_a_message_is_kept_before_the_client_hears_of_it(
    relay: Answering, sockets: Sockets, table: Table
) -> None:
    sockets.post_s = 0.3
    task = asyncio.create_task(relay.answer(said(), "worker-1", LONG))
    while not sockets.under_way:  # noqa: ASYNC110
        await asyncio.sleep(0.005)

    assert stored(table)["reply"] in sockets.under_way[0].decode()
    await task


async def test_the_model_is_told_the_conversation(relay: Answering, model: Model) -> None:
    model.script = answer("Hi.")
    await relay.answer(said("Hello", "m1", received_ms=1), "worker-1", LONG)
    await relay.answer(said("And?", "m2", received_ms=2), "worker-1", LONG)

    assert [(each["role"], each["content"][0]["text"]) for each in model.scripted.requests[1].body["messages"]] == [
        ("user", "Hello"),
        ("assistant", "Hi."),
        ("user", "And?"),
    ]


async def test_a_conversation_never_grows_over_its_budget(relay: Answering, model: Model) -> None:
    model.script = answer("word " * 400, delta_chars=500)
    for number in range(6):
        await relay.answer(said(f"q{number}", f"m{number}", received_ms=number), "worker-1", LONG)

    begins = [request.body["messages"][0]["content"][0]["text"] for request in model.scripted.requests]
    assert begins == ["q0", "q0", "q2", "q2", "q4", "q4"]


@pytest.mark.parametrize(
    ("script", "told", "kept", "status"),
    [
        (refuse(529, headers={"retry-after": "30"}), ("overloaded", True), "", "failed"),
        (refuse(413), ("too_large", False), "", "failed"),
        (refuse(401), ("upstream", False), "", "failed"),
        (fail_after("So far"), ("overloaded", True), "So far", "interrupted"),
        (fail_after("So far", "api_error"), ("upstream", True), "So far", "interrupted"),
        (cut_after("So far 🌅"), ("upstream", True), "So far 🌅", "interrupted"),
        (partial("So far"), ("upstream", True), "So far", "interrupted"),
        (stall_after("So far"), ("upstream", True), "So far", "interrupted"),
        (answer("So far", stop_reason="refusal"), ("refused", False), "So far", "interrupted"),
        (answer("", stop_reason="refusal"), ("refused", False), "", "failed"),
    ],
    ids=[
        "busy",
        "refused request",
        "refused key",
        "busy in mid-stream",
        "failure in mid-stream",
        "cut",
        "no message_stop",
        "silence",
        "refusal",
        "refusal at once",
    ],
)
async def test_a_reply_that_breaks_off_keeps_what_was_written_and_says_so(
    impatient: Answering,
    sockets: Sockets,
    table: Table,
    model: Model,
    script: Script,
    told: tuple[str, bool],
    kept: str,
    status: str,
) -> None:
    model.script = script

    outcome = await impatient.answer(said(), "worker-1", LONG)

    frames = sockets.frames("c1=")
    assert (frames[0]["type"], frames[-1]["type"], assembled(frames)) == ("typing", "error", kept)
    assert ((frames[-1]["code"], frames[-1]["retryable"]), frames[-1]["reply"]) == (told, frames[0]["reply"])
    assert "complete" not in [frame["type"] for frame in frames]
    assert (stored(table)["reply_status"], outcome.status.value) == (status, status)
    assert kept_text(stored(table)) == kept


async def ask(relay: Answering, sockets: Sockets, *contents: str) -> list[str]:
    """How each message ends: the code of its error, or `complete`."""
    for number, content in enumerate(contents):
        await relay.answer(said(content, f"{content[:9]}-{number}", received_ms=len(sockets.posts["c1="])), "w", LONG)
    ends = [frame for frame in sockets.frames("c1=") if frame["type"] in ("complete", "error")]
    return [end.get("code", "complete") for end in ends[-len(contents) :]]


def too_long(body: dict[str, Any]) -> Script | None:
    """As a service whose limit is 60,000 characters."""
    if len(str(body["messages"])) < 60_000:
        return None
    return refuse(400, message="prompt is too long: 260001 tokens > 200000 maximum")


async def test_a_conversation_that_grows_over_the_models_limit_goes_on(
    patient: Answering, sockets: Sockets, model: Model
) -> None:
    """https://github.com/boldsoftware/exe.dev/issues/62"""
    model.refuses = too_long

    assert await ask(patient, sockets, *["x" * 25_000] * 5, "short", "short2") == ["complete"] * 7

    assert len(model.scripted.requests) == 7 + 2, "what was too long once is not tried with every message"


async def test_a_message_that_is_too_long_for_the_model_is_told_so_and_not_sent_again(
    patient: Answering, sockets: Sockets, model: Model, log: StringIO
) -> None:
    model.refuses = too_long

    assert await ask(patient, sockets, "Hello", "x" * 70_000, "short") == ["complete", "too_large", "complete"]

    (error,) = [frame for frame in sockets.frames("c1=") if frame["type"] == "error"]
    assert (error["retryable"], error["content"]) == (False, "This message is too long for Claude.")
    assert "xxx" not in str(model.scripted.requests[-1].body)
    assert "Hello" in str(model.scripted.requests[-1].body)
    (line,) = failures(log)
    assert line["service_said"]["sentence"] == "prompt is too long: 260001 tokens > 200000 maximum"


async def test_a_message_that_the_service_does_not_take_is_refused_and_not_sent_again(
    patient: Answering, sockets: Sockets, model: Model
) -> None:
    """https://github.com/getappmap/appmap-js/issues/2006"""

    def filtered(body: dict[str, Any]) -> Script | None:
        blocked = "unpassable" in str(body["messages"])
        return refuse(400, message="Output blocked by content filtering policy") if blocked else None

    model.refuses = filtered

    ends = await ask(patient, sockets, "hello", "unpassable", "next", "next2")

    assert ends == ["complete", "refused", "complete", "complete"]
    (error,) = [frame for frame in sockets.frames("c1=") if frame["type"] == "error"]
    assert error["retryable"] is False
    assert [message["content"][0]["text"] for message in model.scripted.requests[-1].body["messages"][::2]] == [
        "hello",
        "next",
        "next2",
    ]


async def test_a_history_that_the_service_does_not_take_is_told_as_text_from_then_on(
    patient: Answering, sockets: Sockets, model: Model
) -> None:
    cited = {"type": "web_search_result_location", "url": "u", "title": None, "encrypted_index": "a", "cited_text": "b"}
    model.script = blocks(*text_block(0, "It rains.", cited))
    model.refuses = lambda body: refuse(400) if "citations" in str(body["messages"]) else None

    assert await ask(patient, sockets, "rain?") == ["complete"]
    model.script = answer("Yes.")
    assert await ask(patient, sockets, "sure?", "really?") == ["complete", "complete"]

    assert len(model.scripted.requests) == 3 + 1
    assert "It rains." in str(model.scripted.requests[-1].body)


async def test_an_answer_that_ends_in_a_search_does_not_end_its_conversation(
    patient: Answering, sockets: Sockets, model: Model
) -> None:
    """https://github.com/open-gsd/gsd-pi/issues/1330"""
    model.script = blocks(*text_block(0, "Looking"), *search_block(1, "srvtoolu_A", "rain"), stop_reason="max_tokens")

    assert await ask(patient, sockets, "first", "second", "third") == ["complete"] * 3

    assert len(model.scripted.requests) == 3
    assert str(model.scripted.requests[-1].body).count("Looking") == 2


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (SettingError("the environment variable BRIDGEHUB_URL must be an address"), "BRIDGEHUB_URL"),
        (httpx.InvalidURL("Invalid IPv4 address: '300.1.1.1'"), "300.1.1.1"),
        (KeyError("CODEX_MODEL"), "CODEX_MODEL"),
    ],
    ids=["a setting", "an address that only its client refuses", "anything else"],
)
async def test_an_agent_that_is_not_set_up_right_takes_no_other_down(
    relay: Answering, sockets: Sockets, log: StringIO, problem: Exception, told: str
) -> None:
    def misbuilt() -> Agent:
        raise problem

    relay.worker = relay.built({"claude": relay.agent, "codex": misbuilt})
    await relay.answer(said("Hello", "m1", agent="codex"), "w", LONG)
    await relay.answer(said("Hello", "m2", received_ms=2), "w", LONG)

    error, complete = (frame for frame in sockets.frames("c1=") if frame["type"] in ("error", "complete"))
    assert (error["code"], error["retryable"]) == ("upstream", False)
    assert error["content"] == "Codex is not set up right in this relay. Only whoever runs the relay can mend that."
    (line,) = failures(log)
    assert (line["reason"], line["exception_name"]) == ("settings", type(problem).__name__)
    assert told in line["service_said"]["sentence"], "the operator is told what is wrong"
    assert complete["length"] == 18


async def test_a_reply_that_fails_is_one_line_and_one_metric_without_its_text(
    relay: Answering, model: Model, log: StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    model.script = refuse(404, message="model: claude-sonnet-5")

    await relay.answer(said("a secret question"), "w", LONG)

    (line,) = failures(log)
    assert (line["message"], line["reason"], line["code"]) == ("reply failed", "model", "upstream")
    heard = line["service_said"]
    assert (heard["status"], heard["type"], heard["sentence"]) == (404, "not_found_error", "model: claude-sonnet-5")
    assert heard["request_id"].startswith("req_")
    assert line["exception_name"] == "NotFoundError"
    assert "secret" not in log.getvalue()
    (metric,) = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "RepliesFailed" in line]
    assert (metric["RepliesFailed"], metric["service"], metric["reason"]) == ([1.0], "stack", "model")
    assert metric["_aws"]["CloudWatchMetrics"][0]["Namespace"] == "ChatRelay"


async def test_a_reply_longer_than_can_be_kept_is_ended_in_order(
    relay: Answering, sockets: Sockets, table: Table, model: Model
) -> None:
    model.script = answer("🌅x" * LONGEST, delta_chars=50_001)

    outcome = await relay.answer(said(), "worker-1", LONG)

    *_, complete = frames = sockets.frames("c1=")
    assert (outcome.status, complete["stop_reason"]) == (Status.COMPLETE, "max_tokens")
    assert assembled(frames) == "🌅x" * (LONGEST // 3)
    assert stored(table)["reply_status"] == "complete"


async def test_phones_are_told_though_nobody_can_be_called_for_a_while(
    relay: Answering, store: Store, sockets: Sockets
) -> None:
    sockets.forbids = True
    answering = asyncio.create_task(relay.answer(said(), "worker-1", LONG))
    while not (sockets.posts["c1="] and sockets.frames("c1=")[-1]["type"] == "complete"):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert store.leases.get(TALK).writer, "whoever buries us would tell them"

    sockets.forbids = False
    await answering

    assert len(sockets.rung) == 1


async def test_an_overload_tells_when_to_try_again(relay: Answering, sockets: Sockets, model: Model) -> None:
    model.script = refuse(429, headers={"retry-after": "30"})

    await relay.answer(said(), "worker-1", LONG)

    assert sockets.frames("c1=")[-1]["retry_after"] == 30.0


async def test_a_reply_that_runs_out_of_time_ends_in_order(
    relay: Answering, sockets: Sockets, table: Table, model: Model
) -> None:
    model.script = answer("word " * 1000, pause_s=0.02)

    outcome = await relay.answer(said(), "worker-1", 33.0)

    frames = sockets.frames("c1=")
    assert (frames[-1]["type"], frames[-1]["code"], frames[-1]["retryable"]) == ("error", "interrupted", True)
    assert assembled(frames) == kept_text(stored(table))
    assert outcome.status is Status.INTERRUPTED
    assert 0 < outcome.length < 5000
    assert not model.scripted.requests[0].finished


async def test_a_message_without_any_time_left_is_still_ended(relay: Answering, sockets: Sockets, table: Table) -> None:
    await relay.answer(said(), "worker-1", 1.0)

    assert [frame["type"] for frame in sockets.frames("c1=")] == ["typing", "error"]
    assert stored(table)["reply_status"] == "interrupted"


async def test_a_message_that_was_answered_is_not_answered_again(
    relay: Answering, sockets: Sockets, model: Model
) -> None:
    await relay.answer(said(), "worker-1", LONG)
    told = len(sockets.posts["c1="])

    with pytest.raises(Duplicate):
        await relay.answer(said(received_ms=2), "worker-1", LONG)

    assert (len(model.scripted.requests), len(sockets.posts["c1="])) == (1, told)


async def test_a_message_whose_reply_broke_off_is_answered_by_a_new_one(
    relay: Answering, sockets: Sockets, table: Table, model: Model
) -> None:
    model.script = cut_after("So far")
    await relay.answer(said(), "worker-1", LONG)
    sockets.posts.clear()
    model.script = answer("All of it")

    await relay.answer(said(received_ms=2), "worker-1", LONG)

    frames = sockets.frames("c1=")
    assert (assembled(frames), {frame["epoch"] for frame in frames}) == ("All of it", {2})
    assert (stored(table)["reply_status"], model.scripted.requests[1].body["messages"]) == (
        "complete",
        [{"role": "user", "content": [{"type": "text", "text": "Hello"}]}],
    )


async def test_an_agent_that_is_not_there_keeps_no_message(relay: Answering, sockets: Sockets, table: Table) -> None:
    with pytest.raises(NoSuchAgent) as refusal:
        await relay.answer(said(agent="codex"), "worker-1", LONG)

    assert (refusal.value.code, refusal.value.retryable, refusal.value.field) == ("invalid_message", False, "agent")
    kept = sorted(item["pk"] for item in scanned(table))
    assert kept == ["CONNECTION#c1=", "COUNT#claude", "USER#alice", "USER#alice"]
    assert sockets.posts == {}


async def test_a_reader_that_leaves_does_not_end_the_reply(
    relay: Answering, sockets: Sockets, table: Table, model: Model
) -> None:
    model.script = answer("word " * 40, pause_s=0.005)
    sockets.refusals["c1="] = [410]

    outcome = await relay.answer(said(), "worker-1", LONG)

    assert outcome.readers_left == 1
    assert kept_text(stored(table)) == "word " * 40
    assert (sockets.posts["c1="], stored(table)["reply_status"]) == ([], "complete")


async def test_posts_that_are_refused_lose_nothing(relay: Answering, sockets: Sockets, model: Model) -> None:
    model.script = answer("word " * 40, pause_s=0.005)
    sockets.refusals["c1="] = [429, 500, 429]

    outcome = await relay.answer(said(), "worker-1", LONG)

    assert assembled(sockets.frames("c1=")) == "word " * 40
    assert outcome.posts == len(sockets.posts["c1="]) + 3


async def test_the_builderos_app_gets_its_frames_150_ms_apart(relay: Answering, sockets: Sockets, model: Model) -> None:
    model.script = answer("word " * 60, pause_s=0.01)

    await relay.answer(said(connection=APP), "worker-1", LONG)

    posts = sockets.posts["c1="]
    assert (posts[-1].json["type"], assembled(sockets.frames("c1="))) == ("complete", "word " * 60)
    assert len(posts) > 3
    assert min(b.started_s - a.ended_s for a, b in pairwise(posts)) >= 0.149


async def test_one_relay_answers_several_conversations_at_once(
    relay: Answering, sockets: Sockets, model: Model
) -> None:
    model.script = answer("word " * 20, pause_s=0.005)

    async def answered(number: int) -> ReplyOutcome:
        connection = Connection(f"c{number}=", "claude", VERSION_1, 1, by_key("alice"))
        return await relay.answer(
            Message(connection, "alice", Send("m", f"talk-{number}", "Hi", "claude"), 1), "worker-1", LONG
        )

    await asyncio.gather(*[answered(number) for number in range(4)])

    assert [assembled(sockets.frames(f"c{number}=")) for number in range(4)] == ["word " * 20] * 4


class Endless:
    """An agent that forgets to say how it ended."""

    room = Room(1000)
    model = "m"

    async def answer(self, conversation: str, turns: Any) -> AsyncIterator[str]:
        assert conversation == "alice/talk"
        assert isinstance(turns[-1], Turn)
        yield "So far"


async def test_an_agent_without_an_ending_is_upstreams_failure(
    answering: Callable[..., Answering], sockets: Sockets
) -> None:
    relay = answering(Endless())

    await relay.answer(said(), "worker-1", LONG)

    assert [frame.get("code") for frame in sockets.frames("c1=")][-1] == "upstream"


def long_reply(size: int) -> str:
    """`size` characters of any script, and one at the end that is found nowhere else."""
    unit = 'Good 早上 🌅 e\u0301 👩\u200d👩\u200d👧 "quoted"\n'
    return (unit * (size // len(unit) + 1))[: size - 1] + LAST_MARK


async def test_the_hot_path_keeps_up_with_the_model(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    """200 deltas a second and 20 ms a post: one post a delta would fall behind for ever."""
    text = long_reply(100_000)
    model.script = answer(text, delta_chars=200, pause_s=0.005)
    sockets.post_s = 0.020

    await relay.answer(said(), "worker-1", LONG)

    posts = sockets.posts["c1="]
    frames = sockets.frames("c1=")
    assert assembled(frames) == text
    assert frames[-1]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    where = store.conversations.latest(TALK)
    kept = store.conversations.stored(where) if where else None
    assert kept is not None
    assert kept.log.text == text

    carrier = next(number for number, frame in enumerate(frames) if frame["content"].endswith(LAST_MARK))
    later = [post for post in posts[: carrier + 1] if post.started_s > model.clocked.written_s]
    assert len(later) <= 2
    assert len(posts) / (posts[-1].ended_s - posts[0].started_s) < 30
    assert max(len(post.frame) for post in posts) <= 32 * 1024
    assert all(a.ended_s <= b.started_s for a, b in pairwise(posts))


async def test_who_joins_a_reply_that_is_being_written_hears_the_rest(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    model.script = answer("A reply that takes its time. " * 10, delta_chars=5, pause_s=0.03)
    writing = asyncio.create_task(relay.answer(said(), "worker-1", LONG))
    while len(sockets.posts["c1="]) < 5:  # noqa: ASYNC110 - the sockets keep records, not events
        await asyncio.sleep(0.01)
    reply = sockets.frames("c1=")[0]["reply"]

    assert store.leases.subscribe(TALK, reply, "c2=", 7)
    await writing

    resumed, *texts, complete = sockets.frames("c2=")
    assert (resumed["type"], resumed["offset"], complete["type"]) == ("resumed", 7, "complete")
    assert texts[0]["offset"] == 7
    assert "".join(frame["content"] for frame in texts) == ("A reply that takes its time. " * 10)[7:]
    assert assembled(sockets.frames("c1=")) == "A reply that takes its time. " * 10


async def test_readers_whose_posts_hang_do_not_stop_the_heartbeat(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    """More of them than the default executor has threads."""
    model.script = answer("x" * 100, delta_chars=1, pause_s=0.02)
    for number in range(24):
        show(store, f"slow{number}=")
    sockets.post_s = 4.0
    writing = asyncio.create_task(relay.answer(said(), "worker-1", LONG))
    async with asyncio.timeout(PATIENCE_S):
        while not journal(store):  # noqa: ASYNC110 - a table tells nobody
            await asyncio.sleep(0.05)
    posted = [connection for connection, posts in sockets.posts.items() if posts]

    writing.cancel()
    await asyncio.wait({writing})
    assert posted == [], "a heartbeat has left something while all posts hang"


def journal(store: Store) -> str:
    """What heartbeats have left of the one reply that there is."""
    replies = [item["pk"] for item in scanned(store.table) if item["sk"] == "REPLY"]
    return "".join(Log(store.replies.journaled(reply.removeprefix("REPLY#"))).text for reply in replies)


@dataclass(frozen=True)
class SlowViewers(Table):
    """A table that does not say who shows a conversation until it is `released`."""

    released: threading.Event = field(default_factory=threading.Event)

    def query(self, pk: str, first: str, last: str, *, forward: bool = True) -> Iterator[Item]:
        if first.startswith("VIEWER#"):
            assert self.released.wait(PATIENCE_S)
        return super().query(pk, first, last, forward=forward)


async def test_a_reply_is_stopped_while_nobody_knows_yet_who_else_reads_it(
    answering: Callable[..., Answering], client: AsyncAnthropic, store: Store, sockets: Sockets, model: Model
) -> None:
    """The sender hears of it at once, and whoever else shows the conversation hears the message and its end."""
    show(store, "c2=")
    table = SlowViewers(store.table.client, store.table.name)
    relay = answering(Claude(client, secret_key, None, SETTINGS), store=Store(table))
    model.script = answer("A reply that takes its time.", delta_chars=1, pause_s=0.05)
    writing = asyncio.create_task(relay.answer(said(), "worker-1", LONG))
    async with asyncio.timeout(PATIENCE_S):
        while not model.scripted.requests:  # noqa: ASYNC110 - the model keeps records, not events
            await asyncio.sleep(0.01)
        assert store.leases.cancel(TALK, sockets.frames("c1=")[0]["reply"])
        while not model.scripted.requests[0].closed_at:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    table.released.set()

    outcome = await writing

    assert outcome.status == Status.CANCELLED
    assert [frame["type"] for frame in sockets.frames("c1=")] == ["typing", "complete"]
    assert [frame["type"] for frame in sockets.frames("c2=")] == ["user", "typing", "complete"]


# --- one after the other ---


async def test_messages_to_a_busy_conversation_are_answered_in_turn(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    model.script = answer("A reply that takes its time.", delta_chars=1, pause_s=0.02)
    show(store, "c2=")
    first = asyncio.create_task(relay.outcomes(said("One", "m1", received_ms=1), "worker-1", LONG))
    while not sockets.posts["c1="]:  # noqa: ASYNC110 - the sockets keep records, not events
        await asyncio.sleep(0.01)

    assert await relay.outcomes(said("Two", "m2", received_ms=3), "worker-2", LONG) == []
    assert await relay.outcomes(said("Three", "m3", received_ms=2), "worker-3", LONG) == []
    outcomes = await first

    assert [outcome.status for outcome in outcomes] == [Status.COMPLETE] * 3
    assert [len(request.body["messages"]) for request in model.scripted.requests] == [1, 3, 5]
    assert [request.body["messages"][-1]["content"][0]["text"] for request in model.scripted.requests] == [
        "One",
        "Three",
        "Two",
    ]
    typing = [(frame["id"], frame["epoch"]) for frame in sockets.frames("c1=") if frame["type"] == "typing"]
    assert typing == [("m1", 1), ("m2", 0), ("m3", 0), ("m3", 2), ("m2", 3)]
    heard = [(frame["type"], frame["content"]) for frame in sockets.frames("c2=") if frame["type"] == "user"]
    assert heard == [("user", "One"), ("user", "Three"), ("user", "Two")]


async def test_who_waits_behind_a_slow_reader_gets_another_worker(
    relay: Answering, store: Store, sockets: Sockets
) -> None:
    """Nobody comes here, so it is this worker's turn after all."""
    show(store, "slow=")
    sockets.slow_s["slow="] = 0.5
    for number in (1, 2):
        store.conversations.accept("alice", Send(f"m{number}", "talk", "Hello", "claude"), number)

    outcomes = await relay.continued(TALK, "worker-1", LONG)

    assert [outcome.readers_left for outcome in outcomes] == [0, 0]
    assert sockets.invoked == [{"continue": {"user": "alice", "conversation": "talk"}, "attempt": 0}]
    frames = sockets.frames("slow=")
    called = sockets.order[: sockets.order.index("message")].count("slow=")
    assert called < len([frame for frame in frames if frame["reply"] == frames[0]["reply"]])


async def test_the_app_never_gets_two_replies_at_once(relay: Answering, store: Store, sockets: Sockets) -> None:
    """It could not tell their texts apart."""
    show(store, "app=", BUILDEROS)
    sockets.slow_s["app="] = 0.7
    for number in (1, 2):
        store.conversations.accept("alice", Send(f"m{number}", "talk", "Hello", "claude"), number)

    await relay.continued(TALK, "worker-1", LONG)

    types = [frame["type"] for frame in sockets.frames("app=")]
    assert types == ["user", "typing", "message", "complete"] * 2
    assert sockets.invoked == [], "another worker would have begun before the app had all"


async def test_why_a_reply_failed_is_told_to_everybody_but_the_app(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    show(store, "app=", BUILDEROS)
    model.script = refuse(401)

    await relay.answer(said(), "worker-1", LONG)

    phone, app = (sockets.frames(connection)[-1] for connection in ("c1=", "app="))
    nothing = {"length": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    assert phone == {**app, **nothing, "reason": "key", "timestamp": phone["timestamp"]}


async def test_a_living_socket_that_is_said_to_be_gone_is_closed(relay: Answering, sockets: Sockets) -> None:
    """Its client hears the close, and connects again; a ping, which API Gateway answers, would tell it nothing."""
    refusals = iter([[410]])
    sockets.on_post = lambda: sockets.refusals.update({"c1=": next(refusals, [])})

    outcome = await relay.answer(said(), "worker-1", LONG)

    assert (outcome.status, outcome.readers_left) == (Status.COMPLETE, 1)
    assert sockets.closed == ["c1="]


async def test_readers_who_are_slower_than_the_function_may_be_are_given_up(
    relay: Answering, store: Store, sockets: Sockets
) -> None:
    show(store, "slow=")
    sockets.slow_s["slow="] = 2.9

    outcome = await relay.answer(said(), "worker-1", 6.0)

    assert (outcome.status, outcome.readers_left) == (Status.INTERRUPTED, 1)
    assert sockets.frames("c1=")[-1]["code"] == "interrupted"


async def test_a_worker_that_dies_while_it_tells_the_end_still_has_the_lease(
    relay: Answering, store: Store, sockets: Sockets
) -> None:
    held: list[bool] = []
    sockets.post_s = 0.3
    sockets.on_post = lambda: held.append(store.leases.get(TALK).writer is not None)
    relay.grace = Grace(readers_s=PATIENCE_S)

    await relay.answer(said(), "worker-1", LONG)

    assert len(held) == len(sockets.posts["c1="])
    assert all(held)


async def test_a_worker_that_was_called_for_it_takes_the_first_however_little_time_it_has(
    relay: Answering, store: Store, sockets: Sockets
) -> None:
    """Or functions of little time would call each other for ever."""
    for number in (1, 2):
        store.conversations.accept("alice", Send(f"m{number}", "talk", "Waits", "claude"), number)

    outcomes = await relay.continued(TALK, "w", 40.0)

    assert [outcome.status for outcome in outcomes] == [Status.COMPLETE]
    assert sockets.order.count("message") == 1, "the second is left to another worker"


async def test_a_worker_with_little_time_left_calls_a_new_one(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    store.conversations.accept("alice", Send("m0", "talk", "Waits", "claude"), 1)

    assert await relay.outcomes(said(received_ms=2), "worker-1", 200.0) == []

    assert sockets.invoked == [{"continue": {"user": "alice", "conversation": "talk"}, "attempt": 0}]
    assert model.scripted.requests == []


async def test_a_message_finds_the_dead_before_it_and_is_answered(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    dead = store.conversations.accept("alice", Send("m0", "talk", "Dead", "claude"), 1, worker="worker-0")
    store.replies.journal(dead.stream.reply, journaled(0, "So far"))
    store.time_s += EXPIRES_S + 1

    [outcome] = await relay.outcomes(said(received_ms=2), "worker-1", LONG)

    assert outcome.status is Status.COMPLETE
    told = [(frame["type"], frame["epoch"]) for frame in sockets.frames("c1=")]
    assert told[:3] == [("typing", 0), ("error", 1), ("typing", 3)]
    assert [message["role"] for message in model.scripted.requests[0].body["messages"]] == ["user", "assistant", "user"]


async def test_a_writer_that_was_fenced_off_stops_its_model_and_says_no_more(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    model.script = answer("word " * 1000, pause_s=0.02)
    writing = asyncio.create_task(relay.outcomes(said(), "worker-1", LONG))
    while len(sockets.posts["c1="]) < 3:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    assert store.leases.declare_dead(TALK, sockets.frames("c1=")[0]["reply"], "worker-1")

    with pytest.raises(Superseded):
        await writing
    assert not model.scripted.requests[0].finished
    assert {frame["type"] for frame in sockets.frames("c1=")} == {"typing", "message"}


async def test_phones_are_told_of_a_reply_that_is_complete_and_of_no_other(
    relay: Answering, store: Store, sockets: Sockets, model: Model
) -> None:
    await relay.answer(said(), "worker-1", LONG)
    where = store.conversations.latest(TALK)
    assert where is not None
    told = {"user": "alice", "conversation": "talk", "reply": where.reply, "turn": where.turn}
    assert sockets.rung == [told]

    model.script = cut_after("So far")
    await relay.answer(said(id="m2", received_ms=2), "worker-1", LONG)
    assert sockets.rung == [told]
