"""The operator's command for pushes that could not be sent."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from emulator.account import REGION
from emulator.services.services import Services
from infra.pushes import main
from tests.builders.doubles import Address, Sockets
from tests.infra.conftest import Ran, Run

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
    "responsePayload": {"errorMessage": "2 pushes are pending", "errorType": "PushesPending"},
}


@pytest.fixture
def queue(deployed: Services) -> Iterator[str]:
    """The url of an empty one, that of the stack ``pushes``."""
    cloudformation = deployed.client("cloudformation")
    cloudformation.create_stack(StackName="pushes", TemplateBody=STACK)
    yield cloudformation.describe_stacks(StackName="pushes")["Stacks"][0]["Outputs"][0]["OutputValue"]
    cloudformation.delete_stack(StackName="pushes")


@pytest.fixture
def functions(management: Address) -> Sockets:
    """What is called."""
    management.app = sockets = Sockets()
    sockets.url = management.url
    return sockets


@pytest.fixture
def pushes(run: Run, functions: Sockets, monkeypatch: pytest.MonkeyPatch) -> partial[Ran]:
    """Runs the command."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", functions.url)
    return partial(run, main, "--stack", "pushes")


def keep(deployed: Services, queue: str, *records: dict[str, Any]) -> None:
    for each in records:
        deployed.client("sqs").send_message(QueueUrl=queue, MessageBody=json.dumps(each))


def left(deployed: Services, queue: str) -> int:
    """How many there are, seen or not."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    counts = deployed.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
    return sum(map(int, counts.values()))


def test_they_are_shown_as_often_as_one_likes(pushes: partial[Ran], deployed: Services, queue: str) -> None:
    keep(deployed, queue, record("r1", **FAILED), record("r2", "EventAgeExceeded"))

    for _ in range(2):
        shown = pushes("list").out.splitlines()
        assert sorted(shown[:-1]) == [
            "2026-11-14T18:16:05.568Z  alice  talk  r1  RetriesExhausted: 2 pushes are pending",
            "2026-11-14T18:16:05.568Z  alice  talk  r2  EventAgeExceeded: no answer",
        ]
        assert shown[-1] == "2 unsent."


def test_they_are_sent_again_and_gone(pushes: partial[Ran], deployed: Services, queue: str, functions: Sockets) -> None:
    keep(deployed, queue, *(record(f"r{number}", **FAILED) for number in range(23)))

    sent = pushes("resend")

    assert sent.out.endswith("23 sent again.\n")
    assert {event["reply"] for event in functions.invoked} == {f"r{number}" for number in range(23)}
    assert set(functions.order) == {ARN}
    assert functions.invoked[0].keys() == {"user", "conversation", "reply", "turn"}
    assert left(deployed, queue) == 0


def test_what_cannot_be_sent_stays(pushes: partial[Ran], deployed: Services, queue: str, functions: Sockets) -> None:
    keep(deployed, queue, record("r1", **FAILED), record("r2", **FAILED))
    functions.forbids = True

    failed = pushes("resend")

    assert (failed.code, "AccessDenied" in failed.err) == (1, True)
    assert left(deployed, queue) == 2


def test_they_are_dropped_without_being_sent(
    pushes: partial[Ran], deployed: Services, queue: str, functions: Sockets
) -> None:
    keep(deployed, queue, record("r1", **FAILED))

    assert pushes("discard").out.endswith("1 discarded.\n")
    assert (left(deployed, queue), functions.invoked) == (0, [])


def test_none_is_none(pushes: partial[Ran], queue: str) -> None:  # noqa: ARG001
    for command in ("list", "resend", "discard"):
        assert pushes(command).out.startswith("0 "), command


def test_a_stack_of_an_older_template_is_told_what_to_do(pushes: partial[Ran], deployed: Services) -> None:
    deployed.client("cloudformation").create_stack(StackName="old", TemplateBody=STACK[: STACK.index("Outputs")])

    failed = pushes("--stack", "old", "list")

    assert failed.err == (
        "infra.pushes: the stack old has no output UnsentPushes: deploy this version of the template first\n"
    )
