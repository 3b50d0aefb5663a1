"""Invocations: at once, or as events with retries, an age and destinations. And Lambda's Invoke API.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async.html
"""

import asyncio
import datetime
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from emulator import log
from emulator.account import ACCOUNT
from emulator.lambda_.environments import Outcome, Pool, Throttled
from emulator.limits import Limits
from emulator.services.services import Services
from emulator.services.signature import Credentials, Refused, check
from emulator.template.functions import EventSettings

_LONGEST_THROTTLE_DELAY_S = 300.0  # between two attempts Lambda waits for five minutes at most
_NAME = re.compile(r"^(?:arn:aws:lambda:[\w-]+:)?(?:(?:\d{12}:)?function:)?([\w-]+)(?::([\w$-]+))?$")


class FunctionMissing(Exception):
    """No function, version or alias of that name."""


@dataclass(frozen=True)
class Target:
    """A function as a caller named it."""

    pool: Pool
    arn: str
    qualifier: str
    version: str


@dataclass
class Event:
    """One event in the queue. `attempts` counts the times that it was handled."""

    target: Target
    payload: bytes
    request_id: str
    accepted_s: float = field(default_factory=time.monotonic)
    attempts: int = 0


Passage = Callable[[Event, Callable[[Event], Awaitable[None]]], Awaitable[None]]
"""Has a queued event delivered, by the callable that it is given."""


async def at_once(event: Event, deliver: Callable[[Event], Awaitable[None]]) -> None:
    """Deliver an event now, once."""
    await deliver(event)


class Invoker:
    """The way to functions, by name or ARN. Queued events go through `passage`."""

    def __init__(
        self, pools: Mapping[str, Pool], services: Services, limits: Limits, passage: Passage = at_once
    ) -> None:
        self._pools = pools
        self._services = services
        self._limits = limits
        self._passage = passage
        self._tasks: set[asyncio.Future[Any]] = set()

    def find(self, name: str, qualifier: str | None = None) -> Target:
        """Return what a name, a partial or a full ARN means, with or without a qualifier. Raise FunctionMissing."""
        match = _NAME.match(name)
        pool = self._pools.get(match.group(1)) if match else None
        if match is None or pool is None:
            raise FunctionMissing(name)
        qualifier = qualifier or match.group(2)
        version = pool.function.qualifiers.get(qualifier or "$LATEST")
        if version is None:
            raise FunctionMissing(f"{name}:{qualifier}")
        arn = f"{pool.function.arn}:{qualifier}" if qualifier else pool.function.arn
        return Target(pool, arn, qualifier or "$LATEST", version)

    async def call(self, target: Target, payload: bytes, request_id: str | None = None) -> Outcome:
        """Have an event handled now. Raise Throttled."""
        request_id = request_id or str(uuid.uuid4())
        run = target.pool.run(target.version, request_id, target.arn, payload)
        # A caller that stops waiting, as API Gateway does after 29 s, does not stop the function.
        return await asyncio.shield(self._begin(run))

    def send(self, target: Target, payload: bytes) -> str:
        """Queue an event. Return its request id."""
        event = Event(target, payload, str(uuid.uuid4()))
        self._begin(self._passage(event, self._deliver))
        return event.request_id

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, work: Awaitable[Any]) -> asyncio.Future[Any]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # the loop itself has only a weak reference
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deliver(self, event: Event) -> None:
        settings = event.target.pool.function.events.get(event.target.qualifier, EventSettings())
        outcome = await self._handle_within_age(event, settings)
        while outcome is not None and outcome.error and event.attempts <= settings.retries:
            await asyncio.sleep(self._limits.retry_delay_s * event.attempts)
            # If it grew too old in the queue, the record tells of the attempt before.
            outcome = await self._handle_within_age(event, settings) or outcome
            if _expired(event, settings):
                break
        await self._report(event, settings, outcome)

    async def _handle_within_age(self, event: Event, settings: EventSettings) -> Outcome | None:
        """Handle an event, waiting while the function is throttled. Return None when the event grew too old."""
        delay_s = self._limits.throttle_delay_s
        while not _expired(event, settings):
            try:
                outcome = await self.call(event.target, event.payload, event.request_id)
            except Throttled:
                await asyncio.sleep(min(delay_s, _LONGEST_THROTTLE_DELAY_S, _left_s(event, settings)))
                delay_s *= 2
            else:
                event.attempts += 1
                return outcome
        return None

    async def _report(self, event: Event, settings: EventSettings, outcome: Outcome | None) -> None:
        failed = outcome is None or outcome.error is not None
        destination = settings.on_failure if failed else settings.on_success
        if destination is None:
            return
        aged = outcome is None or (failed and event.attempts <= settings.retries)
        condition = "Success" if not failed else "EventAgeExceeded" if aged else "RetriesExhausted"
        record = json.dumps(destination_record(event, condition, outcome))
        service, name = destination.split(":")[2], destination.split(":")[-1]
        log.notice(f"{event.target.pool.function.name}: {condition}, record to {name}")
        if service == "lambda":
            try:
                self.send(self.find(destination), record.encode())
            except FunctionMissing:
                log.notice(f"no such function: the destination {destination}")
        elif service == "sqs":
            url = f"{self._services.endpoint}/{ACCOUNT}/{name}"
            client = self._services.client("sqs")
            await asyncio.to_thread(client.send_message, QueueUrl=url, MessageBody=record)  # boto3 blocks
        else:
            log.notice(f"not served: a destination in {service}")


def destination_record(event: Any, condition: str, outcome: Outcome | None) -> dict[str, Any]:
    """Return what a destination is told of an event.

    Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    now = datetime.datetime.now(datetime.UTC)
    record = {
        "version": "1.0",
        "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "requestContext": {
            "requestId": event.request_id,
            "functionArn": f"{event.target.pool.function.arn}:{event.target.qualifier}",
            "condition": condition,
            "approximateInvokeCount": event.attempts,
        },
        "requestPayload": json.loads(event.payload),
    }
    if outcome is None:
        return record
    context = {"statusCode": 200, "executedVersion": outcome.version}
    if outcome.error:
        context["functionError"] = outcome.error
    return record | {"responseContext": context, "responsePayload": json.loads(outcome.payload)}


class InvokeApi:
    """`POST /2015-03-31/functions/{name}/invocations`, for boto3's `lambda` client."""

    def __init__(self, invoker: Invoker, limits: Limits, credentials: Credentials) -> None:
        self._invoker = invoker
        self._limits = limits
        self._credentials = credentials

    async def answer(self, request: Request) -> Response:
        try:
            await check(request, "lambda", self._credentials)
        except Refused as refused:
            return _error(403, f"{refused.code}Exception", str(refused))
        try:
            target = self._invoker.find(request.path_params["name"], request.query_params.get("Qualifier"))
        except FunctionMissing as missing:
            return _error(404, "ResourceNotFoundException", f"Function not found: {missing}")
        payload = await request.body() or b"{}"
        kind = request.headers.get("X-Amz-Invocation-Type", "RequestResponse")
        limit = self._limits.event_payload_bytes if kind == "Event" else self._limits.invoke_payload_bytes
        if len(payload) > limit:
            return _error(413, "RequestTooLargeException", f"Request must be smaller than {limit} bytes")
        try:
            json.loads(payload)
        except (ValueError, RecursionError):
            return _error(400, "InvalidRequestContentException", "Could not parse request body into json")
        if kind == "Event":
            return Response(status_code=202, headers={"x-amzn-RequestId": self._invoker.send(target, payload)})
        try:
            outcome = await self._invoker.call(target, payload)
        except Throttled:
            reason = "ReservedFunctionConcurrentInvocationLimitExceeded"
            return _error(429, "TooManyRequestsException", "Rate Exceeded.", {"Reason": reason})
        headers = {"X-Amz-Executed-Version": outcome.version}
        if outcome.error:
            headers["X-Amz-Function-Error"] = outcome.error
        return Response(outcome.payload, media_type="application/json", headers=headers)


def _error(status: int, kind: str, message: str, more: Mapping[str, str] | None = None) -> Response:
    body = {"Type": "User", "message": message, **(more or {})}
    return JSONResponse(body, status_code=status, headers={"x-amzn-ErrorType": kind})


def _left_s(event: Event, settings: EventSettings) -> float:
    return event.accepted_s + settings.max_age_s - time.monotonic()


def _expired(event: Event, settings: EventSettings) -> bool:
    return _left_s(event, settings) <= 0
