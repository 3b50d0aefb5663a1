import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cache
from io import StringIO
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from aws_lambda_powertools import Logger
from botocore.config import Config

from chatrelay.aws.files import Files
from chatrelay.aws.invoke import PushInvoker, WorkerInvoker
from chatrelay.aws.management_api import CONCURRENT_POSTS, ManagementApi
from chatrelay.domain.identity import KEY, Identity
from chatrelay.domain.limits import UNLIMITED, Limits
from chatrelay.relay.recovery import Recovery
from chatrelay.relay.replay import Replay
from chatrelay.relay.resume import ResumeService
from chatrelay.relay.telemetry import Telemetry
from chatrelay.store import store as whole_store
from chatrelay.store.attribute_values import Item, decode_item
from chatrelay.store.table import Table
from emulator.services import services
from emulator.services.services import Services
from emulator.stand_ins.fake_anthropic import serving_in_thread
from emulator.template import template
from tests.builders.deployments import CREDENTIALS
from tests.builders.doubles import Address, Sockets

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3.client import S3Client

REPOSITORY = Path(__file__).resolve().parents[2]
NUMBERS = count(1)
CONTEXT = SimpleNamespace(
    function_name="function",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:000000000000:function:function",
    aws_request_id="r1",
    get_remaining_time_in_millis=lambda: 60_000,
)
"""What Lambda tells a function of the call."""
NO_CHOICE = {"LIMITS": "", "SESSION_MINUTES": "0", "OIDC_ISSUER": "", "OIDC_AUDIENCE": "", "OIDC_USER_CLAIM": ""}
NO_CHOICE |= {"OIDC_REQUIRE": "", "OIDC_JWKS_URL": ""}
"""A deployment without issuers of tokens and without limits."""


@pytest.fixture(scope="session")
def aws() -> Iterator[Services]:
    with services.running(CREDENTIALS) as running:
        yield running


@pytest.fixture(scope="session")
def new_table() -> Callable[[Services], Table]:
    """Makes tables as infra/storage.yaml describes them."""
    properties = template.read(REPOSITORY / "infra" / "storage.yaml", {})["Resources"]["Table"]["Properties"]

    @cache  # making a client takes as long as several calls of it
    def client(services: Services) -> "DynamoDBClient":
        made: DynamoDBClient = services.client("dynamodb")
        return made

    def make(services: Services) -> Table:
        name = services.create("AWS::DynamoDB::Table", f"table-{next(NUMBERS)}", properties).ref
        return Table(client(services), name)

    return make


def scanned(table: Table) -> list[Item]:
    """All that is in the table: less than a page."""
    return list(map(decode_item, table.client.scan(TableName=table.name, ConsistentRead=True)["Items"]))


@pytest.fixture
def table(aws: Services, new_table: Callable[[Services], Table]) -> Table:
    return new_table(aws)


@pytest.fixture(scope="session")
def management() -> Iterator[Address]:
    address = Address()
    with serving_in_thread(address) as address.url:
        yield address


@pytest.fixture
def sockets(management: Address, monkeypatch: pytest.MonkeyPatch) -> Sockets:
    """With what Lambda gives a function to sign with, and nothing of this machine's own."""
    for name, value in {**CREDENTIALS.variables, "AWS_DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(name, value)
    management.app = sockets = Sockets()
    sockets.url = management.url
    return sockets


@pytest.fixture
def api(sockets: Sockets) -> ManagementApi:
    return ManagementApi.connect(sockets.url)


def by_key(user: str) -> Identity:
    """Return a user who came by an API key."""
    return Identity(user, f"{KEY}{user}", 1_700_000_000)


class Store(whole_store.Store):
    """A store over one `table`, by a clock that stands still."""

    def __init__(self, table: Table, limits: Limits = UNLIMITED) -> None:
        super().__init__(lambda: table, lambda: table, lambda: limits, lambda: self.time_s)
        self.table = table
        self.time_s = 2_000_000_000.5


@pytest.fixture
def store(table: Table) -> Store:
    return Store(table)


@pytest.fixture(scope="session")
def s3(aws: Services) -> "S3Client":
    client: S3Client = aws.client("s3", Config(signature_version="s3v4"))
    return client


@pytest.fixture
def files(aws: Services, s3: "S3Client") -> Files:
    """An empty bucket's."""
    return Files(s3, aws.create("AWS::S3::Bucket", f"files-{next(NUMBERS)}", {}).ref)


@pytest.fixture
def log() -> StringIO:
    """What the operator hears: a line of JSON each."""
    return StringIO()


@pytest.fixture
def telemetry(log: StringIO, monkeypatch: pytest.MonkeyPatch) -> Telemetry:
    monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", "stack")
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ChatRelay")
    return Telemetry(Logger(service=f"test-{next(NUMBERS)}", stream=log))


@pytest.fixture
def pauses() -> list[float]:
    """What would have been slept."""
    return []


@pytest.fixture(scope="session")
def functions(management: Address) -> "LambdaClient":
    client: LambdaClient = Services(management.url, CREDENTIALS).client("lambda")
    return client


@pytest.fixture
def workers(sockets: Sockets, functions: "LambdaClient") -> WorkerInvoker:  # noqa: ARG001 - they are what answers
    return WorkerInvoker(functions, "message")


@pytest.fixture
def push_invoker(sockets: Sockets, functions: "LambdaClient") -> PushInvoker:  # noqa: ARG001 - they are what answers
    return PushInvoker(functions, "notify")


@pytest.fixture(scope="session")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(CONCURRENT_POSTS, "post") as threads:
        yield threads


@pytest.fixture
def replay(store: Store, api: ManagementApi, threads: Executor) -> Replay:
    return Replay(store, api, threads)


@pytest.fixture
def recovery(
    store: Store,
    replay: Replay,
    workers: WorkerInvoker,
    push_invoker: PushInvoker,
    telemetry: Telemetry,
    pauses: list[float],
) -> Recovery:
    return Recovery(store, replay, workers, push_invoker, telemetry, pauses.append)


@pytest.fixture
def resume(store: Store, replay: Replay, recovery: Recovery) -> ResumeService:
    return ResumeService(store, replay, recovery)


@pytest.fixture
def load_function(table: Table, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Imports a function, as in an execution environment of its own with these variables; `table` is its table."""

    def load(name: str, **variables: str) -> ModuleType:
        common = {"TABLE_NAME": table.name, "AWS_ENDPOINT_URL": table.client.meta.endpoint_url, **NO_CHOICE}
        powertools = {"POWERTOOLS_SERVICE_NAME": "chat-relay", "POWERTOOLS_METRICS_NAMESPACE": "ChatRelay"}
        everything = {**CREDENTIALS.variables, "AWS_DEFAULT_REGION": "us-east-1", **common, **powertools, **variables}
        for variable, value in everything.items():
            monkeypatch.setenv(variable, value)
        found = importlib.util.spec_from_file_location(name, REPOSITORY / "functions" / name / "app.py")
        assert found is not None
        assert found.loader is not None
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module

    return load
