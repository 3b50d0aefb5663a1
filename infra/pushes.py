"""Pushes that could not be sent: ``python -m infra.pushes list``. They are kept for two weeks."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra import stack

BATCH = 10  # SQS gives no more at once
# How long one that was received is for nobody else. What is not deleted meanwhile is there again.
HIDDEN_S = 300


@dataclass(frozen=True)
class Unsent:
    """A push that Lambda gave up: `event` is what ``notify`` was called with. `receipt` is the queue's."""

    given_up_at: str
    event: dict[str, Any]
    function: str
    reason: str
    receipt: str

    def __str__(self) -> str:
        place = f"{self.event.get('user')}  {self.event.get('conversation')}  {self.event.get('reply')}"
        return f"{self.given_up_at}  {place}  {self.reason}"


class Queue:
    """The dead-letter queue of ``notify``."""

    def __init__(self, client: Any, url: str) -> None:
        self._client = client
        self._url = url

    def received(self) -> Iterator[Unsent]:
        """Yield everything that is there, each once."""
        # Waiting asks all of SQS's servers; without it some are asked, and a queue of few seems empty.
        while messages := self._client.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=BATCH, VisibilityTimeout=HIDDEN_S, WaitTimeSeconds=1
        ).get("Messages"):
            for message in messages:
                # Source: Lambda's guide, "Capturing records of asynchronous invocations".
                record = json.loads(message["Body"])
                context = record["requestContext"]
                raised = record.get("responsePayload") or {}
                reason = f"{context['condition']}: {raised.get('errorMessage', 'no answer')}"
                function = context["functionArn"].removesuffix(":$LATEST")
                yield Unsent(record["timestamp"], record["requestPayload"], function, reason, message["ReceiptHandle"])

    def delete(self, unsent: Unsent) -> None:
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=unsent.receipt)

    def put_back(self, unsent: Unsent) -> None:
        self._client.change_message_visibility(QueueUrl=self._url, ReceiptHandle=unsent.receipt, VisibilityTimeout=0)


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says. Return the exit status: 1 if it could not be done."""
    parser = argparse.ArgumentParser(prog="python -m infra.pushes", description=__doc__)
    stack.add_options(parser)
    commands = parser.add_subparsers(required=True, metavar="list | resend | discard")
    for name, do, words in (
        ("list", _list, "show them, with the reason for which they were given up"),
        ("resend", _resend, "have them sent now; a phone that has one already gets no second"),
        ("discard", _discard, "drop them"),
    ):
        commands.add_parser(name, help=words, description=words).set_defaults(do=do)
    options = parser.parse_args(arguments)
    try:
        deployed = stack.named(options)
        queue = Queue(deployed.session.client("sqs"), deployed.output("UnsentPushes"))
        options.do(queue, deployed)
    except stack.PROBLEMS as problem:
        print(f"infra.pushes: {stack.told(problem)}", file=sys.stderr)
        return 1
    return 0


def _list(queue: Queue, _: stack.Stack) -> None:
    shown = []
    for unsent in queue.received():
        print(unsent)
        shown.append(unsent)
    for unsent in shown:  # only now: one that was put back at once would be received again
        queue.put_back(unsent)
    print(f"{len(shown)} unsent.")


def _resend(queue: Queue, deployed: stack.Stack) -> None:
    functions = deployed.session.client("lambda")

    def send(unsent: Unsent) -> None:
        payload = json.dumps(unsent.event).encode()
        # As the relay itself does: Lambda tries again, and what fails again comes back to this queue.
        functions.invoke(FunctionName=unsent.function, InvocationType="Event", Payload=payload)

    print(f"{_each(queue, send)} sent again.")


def _discard(queue: Queue, _: stack.Stack) -> None:
    print(f"{_each(queue, lambda _: None)} discarded.")


def _each(queue: Queue, do: Callable[[Unsent], None]) -> int:
    """Do something with each push, and delete it. Return how many there were."""
    done = 0
    for unsent in queue.received():
        do(unsent)
        queue.delete(unsent)  # not before: what breaks off can be called again
        print(unsent)
        done += 1
    return done


if __name__ == "__main__":
    sys.exit(main())
