"""How long a function takes from a new runtime process to its first answer.

The layers are packed as the SAM command line packs them and unpacked as Lambda does, dated 1980 and read-only; beside
them the same code as SAM's own builder leaves it, without byte code, and a bare interpreter that asks DynamoDB once
through boto3. Services answer at once and empty.
"""

import json
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from tests.bench import profiles
from tests.builders.deployments import REPOSITORY

CONNECTION = {"connectionId": "c=", "messageId": "m", "requestTimeEpoch": 1, "connectedAt": 1, "routeKey": "hello"}
ARN = "arn:aws:execute-api:us-east-1:123456789012:api/v1/$connect"
AUTHORIZED = {"user": "u", "credential": "key:k", "issued_at": 1}
EVENTS: dict[str, Any] = {
    "authorizer": {"methodArn": ARN, "headers": {}, "requestContext": CONNECTION},
    "connect": {
        "requestContext": CONNECTION | {"authorizer": {"user": "u", "credential": "key:k", "issued_at": 1}},
        "headers": {},
    },
    "disconnect": {"requestContext": CONNECTION},
    "control": {"requestContext": CONNECTION, "body": '{"action": "hello"}'},
    "failed": {"requestPayload": {"warm": True}, "requestContext": {"requestId": "r", "condition": "RetriesExhausted"}},
    "notify": {"user": "u", "conversation": "c", "reply": "r", "turn": "t"},
    "api": {
        "version": "2.0",
        "routeKey": "GET /api/health",
        "rawPath": "/api/health",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/api/health"}, "stage": "$default"},
    },
    "message": {"warm": True},
}
"""The smallest event that each function answers. Where a token comes, what checks it is imported."""
LIGHT = ("authorizer", "connect", "disconnect", "control", "failed")
TEMPLATE = yaml_parse((REPOSITORY / "template.yaml").read_text(encoding="utf-8"))
BARE = "import boto3; boto3.client('dynamodb').get_item(TableName='t', Key={'pk': {'S': 'p'}})"
INVOKE = """
import json, sys
from app import handler

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "x"
    @staticmethod
    def get_remaining_time_in_millis():
        return 900_000

try:
    handler(json.loads(sys.argv[1]), Context)
except Exception as refusal:
    if str(refusal) != "Unauthorized":
        raise
"""
VARIABLES = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "TABLE_NAME": "table",
    "MANAGEMENT_ENDPOINT": "https://api.example/v1",
    "MESSAGE_FUNCTION": "message",
    "NOTIFY_FUNCTION": "notify",
    "FILES_BUCKET": "files",
    "FIRST_FRAME_AUTH": "false",
    "LIMITS": "",
    "SESSION_MINUTES": "0",
    "MODEL_PRICES": "",
    "OIDC_ISSUER": "app=https://id.example/",
    "OIDC_AUDIENCE": "app=chat",
    **dict.fromkeys(("OIDC_USER_CLAIM", "OIDC_REQUIRE", "OIDC_JWKS_URL"), ""),
    "ALLOWED_ORIGINS": "",
    "CODEX_BACKEND": "none",
    "POWERTOOLS_SERVICE_NAME": "x",
    "POWERTOOLS_METRICS_NAMESPACE": "x",
    "POWERTOOLS_LOG_LEVEL": "CRITICAL",
    "PYTHONDONTWRITEBYTECODE": "1",  # as a folder that cannot be written
}


class _Empty(BaseHTTPRequestHandler):
    """Services that know nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"" if "/functions/" in self.path else b'{"Items": [], "Count": 0}'
        self.send_response(202 if "/functions/" in self.path else 200)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@contextmanager
def services() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Empty)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@dataclass(frozen=True)
class Start:
    """Seconds of a processor until a process has answered: the least of several, which others have disturbed least."""

    processor_s: float


def _shell(path: Sequence[Path], url: str) -> dict[str, str]:
    return VARIABLES | {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": url, "PYTHONPATH": ":".join(map(str, path))}


def started(python: str, path: Sequence[Path], code: str, *arguments: str, url: str, times: int) -> Start:
    """Return what a new process takes that runs `code`, which must succeed."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        command, shell = [python, "-c", code, *arguments], _shell(path, url)
        subprocess.run(command, env=shell, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    once()  # the files are in the machine's memory
    return Start(min(once() for _ in range(times)))


def plain(python: str, folder: Path) -> list[Path]:
    """Return the layers as SAM's own builder would leave them, made in `folder`: installed by pip, nothing compiled."""
    requirements = REPOSITORY / "layers" / "dependencies" / "requirements.txt"
    target = folder / "dependencies" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--no-compile", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--target", str(target), "--requirement", str(requirements)], check=True)  # noqa: S603
    relay = folder / "relay" / "python"
    without = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "layers" / "relay" / "chatrelay", relay / "chatrelay", ignore=without)
    return [target, relay]


def starts(python: str, layers: Sequence[Path], plain: Sequence[Path], times: int = 5) -> dict[str, tuple[Start, ...]]:
    """Return for each function its start with our `layers` and with the `plain` ones; ``bare`` has ours alone."""
    with services() as url:
        found: dict[str, tuple[Start, ...]] = {"bare": (started(python, layers, BARE, url=url, times=times),)}
        for function, event in EVENTS.items():
            code = REPOSITORY / "functions" / function.partition(" ")[0]
            found[function] = tuple(
                started(python, [code, *each], INVOKE, json.dumps(event), url=url, times=times)
                for each in (layers, plain)
            )
    return found


def imports(python: str, layers: Sequence[Path], function: str) -> dict[str, float]:
    """Return each package's share of what `function` imports until its first answer, the largest first."""
    with services() as url:
        command = [python, "-X", "importtime", "-c", INVOKE, json.dumps(EVENTS[function])]
        shell = _shell([REPOSITORY / "functions" / function, *layers], url)
        ran = subprocess.run(command, env=shell, check=True, capture_output=True, text=True)  # noqa: S603
    return profiles.of_imports(ran.stderr)


def memory_mb(function: str) -> int:
    """Return the memory that the template gives to `function`."""
    resources = (resource.get("Properties", {}) for resource in TEMPLATE["Resources"].values())
    properties = next(each for each in resources if each.get("CodeUri") == f"functions/{function.partition(' ')[0]}")
    return int(properties.get("MemorySize", TEMPLATE["Globals"]["Function"]["MemorySize"]))
