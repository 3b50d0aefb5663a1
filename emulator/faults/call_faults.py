"""What workers ask of AWS while there is a fault plan, and what the plan does to it.

Each worker signs with an access key of its own: that tells who calls, whatever it calls.
"""

import itertools
import json
import re
import signal
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from emulator import log
from emulator.faults import plan as faults
from emulator.faults.decisions import Fate
from emulator.faults.schedule import RunningPlan, RunningPlans
from emulator.lambda_.environments import Environment
from emulator.services.signature import Credentials

PassOn = Callable[[], Awaitable[Response]]
"""Has a call answered as if there were no plan."""

_ACCESS_KEY = re.compile(r"Credential=(\w+)/")
_DYNAMODB = "com.amazonaws.dynamodb.v20120810#"


class Calls:
    """The calls of all workers, each of which passes here. One of somebody else is no plan's business."""

    def __init__(self, plans: RunningPlans, credentials: Credentials) -> None:
        self._plans = plans
        self._credentials = credentials
        self._workers: dict[str, Environment] = {}
        self._numbers = itertools.count(1)

    def enter(self, worker: Environment) -> None:
        """Assign the worker an access key that is its own until it leaves."""
        access_key = self._credentials.access_key_of_worker(next(self._numbers))
        worker.variables["AWS_ACCESS_KEY_ID"] = access_key
        self._workers[access_key] = worker

    def leave(self, worker: Environment) -> None:
        self._workers.pop(worker.variables["AWS_ACCESS_KEY_ID"], None)

    async def answer(self, request: Request, operation: str, pass_on: PassOn) -> Response:
        """Have `operation` done, or what the plan says instead."""
        # Not verified here: the services' proxy has done that, and the gateway's own endpoints do it themselves.
        signed = _ACCESS_KEY.search(request.headers.get("Authorization", ""))
        worker = self._workers.get(signed.group(1)) if signed else None
        if worker is None:
            return await pass_on()
        began_s = time.monotonic()
        try:
            return await self._answer(worker, request, operation, pass_on)
        finally:
            log.call(worker.function.name, operation, began_s, time.monotonic())

    async def _answer(self, worker: Environment, request: Request, operation: str, pass_on: PassOn) -> Response:
        plan = self._plans.running
        body = await request.body()
        fate = plan.decisions.call(worker.function.name, operation, body.decode(errors="replace"))
        await plan.passed(fate.delay_s)
        match fate.fault:
            case faults.AtCall():
                return await _stop(worker, plan, fate, pass_on)
            case faults.Silence(takes_effect=takes_effect):
                if takes_effect:
                    await pass_on()
                await plan.passed(fate.seconds)
                return _unavailable()
            case faults.Throttle():
                return _throttled(request.headers["X-Amz-Target"])
            case faults.Conflict():
                return _conflict(body)
            case _:
                return await pass_on()


async def _stop(worker: Environment, plan: RunningPlan, fate: Fate, pass_on: PassOn) -> Response:
    """Stop a worker for ever or for a while, before or after its call takes effect."""
    match fate.fault:
        case faults.KillAtCall(moment="before"):
            worker.kill()
            return _unavailable()
        case faults.KillAtCall():
            response = await pass_on()
            worker.kill()
            return response
        case faults.PauseAtCall(moment="before"):
            await _pause(worker, plan, fate.seconds)
            return await pass_on()
        case _:
            response = await pass_on()
            await _pause(worker, plan, fate.seconds)
            return response


async def _pause(worker: Environment, plan: RunningPlan, seconds: float) -> None:
    worker.send_signal(signal.SIGSTOP)
    await plan.passed(seconds)
    worker.send_signal(signal.SIGCONT)


def _throttled(target: str) -> Response:
    """Return a service's refusal of a call that is one too many.

    Source: the errors of DynamoDB's API reference, and those that AWS services have in common.
    """
    if not target.startswith("DynamoDB"):
        return _error(400, {"__type": "ThrottlingException", "message": "Rate exceeded"})
    message = (
        "The level of configured provisioned throughput for the table was exceeded. "
        "Consider increasing your provisioning level with the UpdateTable API."
    )
    return _error(400, {"__type": f"{_DYNAMODB}ProvisionedThroughputExceededException", "message": message})


def _conflict(body: bytes) -> Response:
    """Return DynamoDB's refusal of a transaction whose first item is in another one.

    Source: DynamoDB's TransactWriteItems, TransactionCanceledException.
    """
    others = len(json.loads(body).get("TransactItems", [])) - 1
    conflict = {"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"}
    codes = ", ".join(["TransactionConflict", *["None"] * others])
    return _error(
        400,
        {
            "__type": f"{_DYNAMODB}TransactionCanceledException",
            "CancellationReasons": [conflict, *[{"Code": "None"}] * others],
            "Message": f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]",
        },
    )


def _unavailable() -> Response:
    """Return an answer for a caller that has given up or is dead."""
    return _error(503, {"__type": "ServiceUnavailable", "message": "Service is unavailable"})


def _error(status: int, body: Mapping[str, Any]) -> Response:
    headers = {"x-amzn-RequestId": str(uuid.uuid4())}
    return Response(json.dumps(body), status, headers, media_type="application/x-amz-json-1.0")
