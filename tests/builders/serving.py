"""A gateway as a real process, and what tests ask it and see of it."""

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, TypeVar

import boto3
from botocore.config import Config

from emulator.services.signature import Credentials
from tests.builders import credentials
from tests.builders.patience import PATIENCE_S

REPOSITORY = Path(__file__).parents[2]
CONFORMANCE = Path(__file__).parents[1] / "emulator" / "conformance"
_READY = re.compile(r"^Ready: http://(127\.0\.0\.1:\d+)/$")

Record = dict[str, Any]
T = TypeVar("T")


@dataclass
class Serving:
    """One running gateway. `folder` is its own copy of the conformance template and functions."""

    process: subprocess.Popen[str]
    folder: Path
    records_folder: Path
    address: str
    credentials: Credentials
    printed: list[str]
    log: list[str]
    _clients: list[Any] = field(default_factory=list)
    _records: dict[Path, Record] = field(default_factory=dict)

    def websocket(self, path: str) -> str:
        return f"ws://{self.address}/{path}"

    def http(self, path: str) -> str:
        return f"http://{self.address}/{path}"

    def management(self, stage: str = "plain") -> Any:
        return self._client("apigatewaymanagementapi", self.http(stage))

    def lambda_client(self) -> Any:
        return self._client("lambda", self.http(""))

    def invoke(self, function: str, event: Any, **more: str) -> Any:
        """Invoke at once, and give the parsed payload."""
        answer = self.lambda_client().invoke(FunctionName=function, Payload=json.dumps(event), **more)
        return json.loads(answer["Payload"].read())

    def describe(self, function: str = "local-Actor") -> Any:
        return self.invoke(function, {"do": {"describe": True}})

    def services(self, service: str) -> Any:
        """Give a client for the services behind the functions."""
        return self._client(service, self.describe()["environment"]["AWS_ENDPOINT_URL"])

    def records(self) -> list[Record]:
        """Give what functions wrote down, oldest first."""
        paths = sorted(self.records_folder.glob("[0-9]*.json"))
        for path in paths:
            if path not in self._records:  # each is written once
                self._records[path] = json.loads(path.read_text())
        return [self._records[path] for path in paths]

    def recorded(
        self, wanted: Callable[[Record], bool], *, count: int = 1, timeout_s: float = PATIENCE_S
    ) -> list[Record]:
        """Wait until `count` events that are wanted were handled, and give them."""
        return eventually(lambda: _at_least(count, filter(wanted, self.records())), timeout_s)

    def event_of(self, connection_id: str, route: str) -> Any:
        """Wait for the event of a route on a connection."""

        def wanted(record: Record) -> bool:
            context = record["event"].get("requestContext", {})
            return (context.get("connectionId"), context.get("routeKey")) == (connection_id, route) and (
                record["event"].get("type") != "REQUEST"
            )

        return self.recorded(wanted)[0]["event"]

    def logged(self, text: str) -> list[str]:
        """Wait for lines of the gateway's log that hold a text."""
        return eventually(lambda: _at_least(1, (line for line in self.log if text in line)), PATIENCE_S)

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def _client(self, service: str, endpoint: str) -> Any:
        client = boto3.client(  # type: ignore[call-overload]
            service,
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.credentials.access_key,
            aws_secret_access_key=self.credentials.secret_key,
            aws_session_token=self.credentials.token,
            config=Config(retries={"total_max_attempts": 1}),
        )
        self._clients.append(client)
        return client


@contextlib.contextmanager
def serving(folder: Path, *options: str) -> Iterator[Serving]:
    """Serve a copy of the conformance template until the block ends; the gateway is asked to end with SIGTERM."""
    records = folder / "records"
    shutil.copytree(CONFORMANCE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    records.mkdir()
    process = _start(folder, records, options)
    printed: queue.Queue[str] = queue.Queue()
    log: list[str] = []
    threads = [_follow(process.stdout, printed.put), _follow(process.stderr, log.append)]
    try:
        lines = _until_ready(process, printed, log)
        started = Serving(process, folder, records, _address(lines[-1]), credentials.read(lines), lines, log)
        yield started
        started.close()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        for thread in threads:
            thread.join()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def shake_hands(client: socket.socket, gateway: Serving, path: str) -> None:
    """Open a WebSocket on a plain socket, for what no library would do."""
    host, port = gateway.address.split(":")
    client.settimeout(PATIENCE_S)
    client.connect((host, int(port)))
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {gateway.address}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    client.sendall("\r\n".join([*lines, "", ""]).encode())
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")


def eventually(probe: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
    """Ask again and again until the answer is true. Raises AssertionError after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := probe()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return answer


def _start(folder: Path, records: Path, options: tuple[str, ...]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "emulator", "--template", str(folder / "template.yaml"), "--port", "0"]
    return subprocess.Popen(  # noqa: S603
        [*command, "--parameter", f"Records={records}", *options],
        cwd=REPOSITORY,
        env={**os.environ, "NOT_FOR_FUNCTIONS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _follow(pipe: IO[str] | None, take: Callable[[str], None]) -> threading.Thread:
    def follow() -> None:
        for line in pipe or ():
            take(line.rstrip("\n"))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    return thread


def _until_ready(process: subprocess.Popen[str], printed: "queue.Queue[str]", log: list[str]) -> list[str]:
    lines: list[str] = []
    deadline = time.monotonic() + 60
    while not lines or not _READY.match(lines[-1]):
        assert process.poll() is None, "\n".join(log)
        assert time.monotonic() < deadline, "\n".join(log)
        with contextlib.suppress(queue.Empty):
            lines.append(printed.get(timeout=0.2))
    return lines


def _address(line: str) -> str:
    match = _READY.match(line)
    assert match
    return match.group(1)


def _at_least(count: int, found: Iterable[T]) -> list[T]:
    items = list(found)
    return items if len(items) >= count else []
