"""The run's credentials, as whoever uses the AWS command line here is told of them."""

import json

import boto3
import pytest

from tests.builders.credentials import file_of
from tests.builders.deployments import REPOSITORY, Relay


@pytest.fixture
def told(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets what the gateway prints, in a shell that knows of no other account."""
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file_of(relay.log)))


@pytest.mark.usefixtures("told")
def test_a_function_is_invoked_with_the_file_that_is_named(relay: Relay) -> None:
    client = boto3.Session().client("lambda", endpoint_url=f"http://{relay.address}")
    event = (REPOSITORY / "tests/events/health.json").read_bytes()
    answer = client.invoke(FunctionName="local-ApiFunction", Payload=event)
    assert json.loads(answer["Payload"].read())["statusCode"] == 200
