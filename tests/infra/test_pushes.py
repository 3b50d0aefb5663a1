"""The operator's command for pushes that could not be sent, as a process of its own against a deployed stack."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.model import serving_in_thread
from infra.local.services import CREDENTIALS, Services, running
from infra.local.template import REGION
from tests.layers.relay.chatrelay.doubles import Address, Sockets

REPOSITORY = Path(__file__).parents[2]
Pushes = Callable[..., subprocess.CompletedProcess[str]]
STACK = """
Resources:
  UnsentPushes: {Type: AWS::SQS::Queue}
Outputs:
  UnsentPushes: {Value: !Ref UnsentPushes}
"""
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:chat-relay-notify"


def record(reply: str, condition: str = "RetriesExhausted", **response: Any) -> dict[str, Any]:
    """As Lambda's guide shows it, with the event that ``notify`` was given."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-14T18:16:05.568Z",
        "requestContext": {
            "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
            "functionArn": f"{ARN}:$LATEST",
            "condition": condition,
            "approximateInvokeCount": 3,
        },
        "requestPayload": {"user": "alice", "conversation": "talk", "reply": reply, "turn": "1#1"},
        **response,
    }


FAILED: dict[str, Any] = {
    "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
    "responsePayload": {"errorMessage": "2 pushes are owed", "errorType": "PushesOwed"},
}


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with running() as services:
        yield services


@pytest.fixture
def queue(services: Services) -> Iterator[str]:
    """The url of an empty one, that of the stack ``chat-relay``."""
    cloudformation = services.client("cloudformation")
    cloudformation.create_stack(StackName="chat-relay", TemplateBody=STACK)
    yield cloudformation.describe_stacks(StackName="chat-relay")["Stacks"][0]["Outputs"][0]["OutputValue"]
    cloudformation.delete_stack(StackName="chat-relay")


@pytest.fixture
def functions() -> Iterator[Sockets]:
    """What is called."""
    address, sockets = Address(), Sockets()
    address.app = sockets
    with serving_in_thread(address) as sockets.url:
        yield sockets


@pytest.fixture
def pushes(services: Services, functions: Sockets) -> Pushes:
    """Runs the command."""
    here = {"AWS_ENDPOINT_URL": services.endpoint, "AWS_ENDPOINT_URL_LAMBDA": functions.url}
    shell = {**os.environ, **CREDENTIALS, **here, "AWS_DEFAULT_REGION": REGION, "AWS_MAX_ATTEMPTS": "1"}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "infra.pushes", *arguments]
        return subprocess.run(command, cwd=REPOSITORY, env=shell, capture_output=True, text=True, check=False)  # noqa: S603

    return run


def keep(services: Services, queue: str, *records: dict[str, Any]) -> None:
    for each in records:
        services.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(each))


def left(services: Services, queue: str) -> int:
    """How many there are, seen or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = services.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(map(int, counts.values()))


def test_they_are_shown_as_often_as_one_likes(pushes: Pushes, services: Services, queue: str) -> None:
    keep(services, queue, record("r1", **FAILED), record("r2", "EventAgeExceeded"))

    for _ in range(2):
        shown = pushes("list").stdout.splitlines()
        assert sorted(shown[:-1]) == [
            "2026-11-14T18:16:05.568Z  alice  talk  r1  RetriesExhausted: 2 pushes are owed",
            "2026-11-14T18:16:05.568Z  alice  talk  r2  EventAgeExceeded: no answer",
        ]
        assert shown[-1] == "2 unsent."


def test_they_are_sent_again_and_gone(pushes: Pushes, services: Services, queue: str, functions: Sockets) -> None:
    keep(services, queue, *(record(f"r{number}", **FAILED) for number in range(23)))

    sent = pushes("resend")

    assert sent.stdout.endswith("23 sent again.\n")
    assert {event["reply"] for event in functions.invoked} == {f"r{number}" for number in range(23)}
    assert set(functions.order) == {ARN}
    assert functions.invoked[0].keys() == {"user", "conversation", "reply", "turn"}
    assert left(services, queue) == 0


def test_what_cannot_be_sent_stays(pushes: Pushes, services: Services, queue: str, functions: Sockets) -> None:
    keep(services, queue, record("r1", **FAILED), record("r2", **FAILED))
    functions.forbids = True

    failed = pushes("resend")

    assert (failed.returncode, "AccessDenied" in failed.stderr) == (1, True)
    assert left(services, queue) == 2


def test_they_are_dropped_without_being_sent(
    pushes: Pushes, services: Services, queue: str, functions: Sockets
) -> None:
    keep(services, queue, record("r1", **FAILED))

    assert pushes("discard").stdout.endswith("1 discarded.\n")
    assert (left(services, queue), functions.invoked) == (0, [])


@pytest.mark.parametrize("command", ["list", "resend", "discard"])
def test_none_is_none(pushes: Pushes, queue: str, command: str) -> None:  # noqa: ARG001
    assert pushes(command).stdout.startswith("0 ")


def test_a_stack_of_an_older_template_is_told_what_to_do(pushes: Pushes, services: Services) -> None:
    services.client("cloudformation").create_stack(StackName="old", TemplateBody=STACK[: STACK.index("Outputs")])

    failed = pushes("--stack", "old", "list")

    assert failed.stderr == (
        "infra.pushes: the stack old has no output UnsentPushes: deploy this version of the template first\n"
    )
