"""The whole deployment on this machine: template.yaml in the emulator, and a model that plays scripts."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import pytest

from emulator.services.services import Services
from emulator.services.signature import Credentials
from emulator.stand_ins.fake_anthropic import ScriptedModel, serving_in_thread
from emulator.stand_ins.script import Script, answer
from tests.builders.patience import PATIENCE_S
from tests.builders.started import until_ready
from tests.infra.bridgehub.sidecars import BRIDGEHUB, TOKEN, starting

REPOSITORY = Path(__file__).parents[2]
KEY = "crk_the-key-of-the-tests"
READY = re.compile(r"^Ready: http://(.*?)/?\s*$")
READY_S = 2 * PATIENCE_S
SILENCE_S = 10
"""After so long without a word from the model a reply breaks off. A busy machine is silent for seconds."""
CREDENTIALS = Credentials("ASIATHETESTS00000000", "a secret", "a token")
"""What services are started with that a test has to itself."""


@dataclass
class Playbook:
    """What the model does, by the text of the user's last message."""

    scripts: dict[str, Script | Callable[[dict[str, Any]], Script]] = field(default_factory=dict)

    def choose(self, body: dict[str, Any]) -> Script:
        script = self.scripts.get(asked(body), answer("Yes."))
        return script if isinstance(script, Script) else script(body)


def asked(body: dict[str, Any]) -> str:
    """The last text of the last user's turn in a request."""
    content = [message for message in body["messages"] if message["role"] == "user"][-1]["content"]
    return str(content if isinstance(content, str) else content[-1]["text"])


@dataclass(frozen=True)
class Relay:
    """The running deployment. `address` is ``host:port``, `model_url` where its model is."""

    address: str
    model_url: str
    process: subprocess.Popen[str]
    model: ScriptedModel
    playbook: Playbook
    log: list[str]
    key: str = KEY

    @property
    def websocket(self) -> str:
        return f"ws://{self.address}/v1"

    def plays(self, prompt: str, script: Script | Callable[[dict[str, Any]], Script]) -> None:
        """From now on a message `prompt` is answered by `script`."""
        self.playbook.scripts[prompt] = script

    def requests_for(self, prompt: str) -> list[Any]:
        """What the model was asked when the last message was `prompt`."""
        return [request for request in self.model.requests if asked(request.body) == prompt]

    def turns(self, conversation: str, query: str = "") -> list[Any]:
        """What HTTP tells of a conversation."""
        url = f"http://{self.address}/api/conversations/{quote(conversation, safe='')}/messages{query}"
        found: list[Any] = httpx.get(url, headers={"X-API-Key": self.key}, timeout=PATIENCE_S).json()["turns"]
        return found

    @property
    def services(self) -> Services:
        """The services that it has started, from outside."""
        children = psutil.Process(self.process.pid).children()
        server = next(child for child in children if "emulator.services.moto_server" in child.cmdline())
        return Services(f"http://127.0.0.1:{server.cmdline()[-1]}", Credentials.of(server.environ()))

    def workers(self, function: str) -> list[psutil.Process]:
        """The processes that run one of our functions."""
        code = str(REPOSITORY / "functions" / function)
        return [child for child in psutil.Process(self.process.pid).children(recursive=True) if child.cwd() == code]


@contextmanager
def deployments() -> Iterator[Callable[..., Relay]]:
    """Starts deployments of what is `at` a folder, with arguments of the gateway and variables of the shell.

    All end with the block.
    """
    running: list[Relay] = []
    playbook = Playbook()
    model = ScriptedModel(playbook.choose)

    with serving_in_thread(model) as base_url:

        def start(*arguments: str, at: Path = REPOSITORY, **variables: str) -> Relay:
            shell = {"ANTHROPIC_API_KEY": "sk-test\n", "ANTHROPIC_BASE_URL": base_url, "CHATRELAY_DEV_KEY": f"{KEY}\n"}
            process, address, log = _start(at, arguments, {**os.environ, **shell, **variables})
            running.append(Relay(address, base_url, process, model, playbook, log))
            return running[-1]

        try:
            yield start
        finally:
            for relay in running:
                relay.process.terminate()
            ends = [relay.process.wait(PATIENCE_S) for relay in running]
        assert not any(ends), "the gateway ends in order"


@pytest.fixture(scope="session")
def start_relay() -> Iterator[Callable[..., Relay]]:
    """Starts further deployments: see ``deployments``."""
    with deployments() as start:
        yield start


@pytest.fixture(scope="session")
def relay(start_relay: Callable[..., Relay]) -> Relay:
    """The deployment that most tests share."""
    return start_relay(
        "--verbose",
        "--parameter",
        f"ClaudeReadTimeout={SILENCE_S}",
        "--parameter",
        "AllowedOrigins=https://chat.example,https://second.example",
        "--limit",
        "max_environments=3",
    )


def _start(
    at: Path, arguments: tuple[str, ...], variables: dict[str, str]
) -> tuple[subprocess.Popen[str], str, list[str]]:
    # Who connects here may be a test that is kept from going on for as long as other programs hold the cores.
    patient = ("--limit", f"headers_s={PATIENCE_S}")
    command = [sys.executable, "-m", "emulator", "--port", "0", *patient, *arguments]
    process = subprocess.Popen(  # noqa: S603
        command, cwd=at, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    return process, *until_ready(process, process.stdout, READY, READY_S)


@pytest.fixture
def conversation(request: pytest.FixtureRequest) -> str:
    """A conversation of the test's own."""
    return str(request.node.name)[:100]


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
        yield start_relay(*options, "--limit", "max_environments=2", BRIDGEHUB_TOKEN=f"{TOKEN}\r\n")
