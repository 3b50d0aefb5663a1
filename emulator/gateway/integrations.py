"""Calls of the function behind a route, and how they went in API Gateway's terms."""

import asyncio
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emulator import log
from emulator.gateway import mapping
from emulator.lambda_.environments import Throttled
from emulator.lambda_.invoke import FunctionMissing, Invoker, Target
from emulator.template.apis import Integration


class IntegrationFailed(Exception):
    """The function raised, is throttled, is missing, or answers what API Gateway cannot read."""

    def __init__(self, reason: str, error_message: str = "") -> None:
        super().__init__(reason)
        self.error_message = error_message


class NotServed(IntegrationFailed):
    """The function cannot run here, or the route calls something else than a function."""


class IntegrationTimedOut(Exception):
    """No answer in time. The function goes on all the same."""


@dataclass(frozen=True)
class Answered:
    """A function's answer. `latency_ms` is what `integrationLatency` says."""

    value: Any
    latency_ms: int


async def call(invoker: Invoker, function: str, payload: bytes, timeout_s: float) -> Answered:
    """Have `function` (an ARN) answer. Raise IntegrationFailed, IntegrationTimedOut."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s):
            outcome = await invoker.call(_runnable(invoker, function), payload)
    except TimeoutError as error:
        log.notice(f"{function.split(':')[6]}: no answer after {timeout_s:g} s, API Gateway stops waiting")
        raise IntegrationTimedOut(function) from error
    except (Throttled, FunctionMissing) as error:
        log.notice(f"{type(error).__name__}: {error}")
        raise IntegrationFailed(type(error).__name__) from error
    if outcome.error:
        message = str(outcome.error_document().get("errorMessage", ""))
        raise IntegrationFailed("function error", message)
    return Answered(json.loads(outcome.payload or b"null"), int((time.monotonic() - began) * 1000))


def send(invoker: Invoker, function: str, payload: bytes) -> None:
    """Have `function` handle an event some time. Raise IntegrationFailed."""
    try:
        invoker.send(_runnable(invoker, function), payload)
    except FunctionMissing as error:
        log.notice(f"FunctionMissing: {error}")
        raise IntegrationFailed("FunctionMissing") from error


def serve(integration: Integration) -> None:
    """Raise NotServed for an integration that calls nothing here."""
    if integration.not_served:
        raise NotServed(f"Not served: {integration.not_served}")


def _runnable(invoker: Invoker, function: str) -> Target:
    """Return a function that can run here. Raise NotServed, FunctionMissing."""
    target = invoker.find(function)
    if refusal := target.pool.function.refusal:
        raise NotServed(refusal)
    return target


def mocked(integration: Integration, event: Mapping[str, Any], stage_variables: Mapping[str, str]) -> str:
    """Return what API Gateway answers by itself; empty if nothing fits. Raise IntegrationFailed.

    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/websocket-api-integration-responses.html
    """
    asked = json.loads(request_of(integration, event, stage_variables))
    status = asked.get("statusCode") if isinstance(asked, dict) else None
    if not isinstance(status, int):
        log.notice("statusCode should be an integer which defined in request template")  # its own words
        raise IntegrationFailed("mock integration")
    fitting = [
        answer
        for answer in integration.answers
        if answer.key == "$default" or re.fullmatch(answer.key.strip("/"), str(status))
    ]
    # A key that names the status goes before the one for any.
    found = sorted(fitting, key=lambda answer: answer.key == "$default")
    if not found:
        raise IntegrationFailed("no integration response for this status")
    selected = found[0].template_selection.replace("${integration.response.statuscode}", str(status)).replace("\\", "")
    template = found[0].templates.get(selected)
    return "" if template is None else _rendered(template, "{}", event, stage_variables).decode()


def request_of(integration: Integration, event: Mapping[str, Any], stage_variables: Mapping[str, str]) -> bytes:
    """Return what the integration sends for an event. Raise IntegrationFailed if it cannot be made."""
    if integration.proxy:
        return json.dumps(event).encode()
    body = str(event.get("body", ""))
    # Templates write the key with a backslash, as `\$default`: without it, it would be a variable.
    template = integration.templates.get(integration.template_selection.replace("\\", "") or "$default")
    if template is None:
        # Source: AWS::ApiGatewayV2::Integration PassthroughBehavior.
        passes = integration.passthrough == "WHEN_NO_MATCH" or (
            integration.passthrough == "WHEN_NO_TEMPLATES" and not integration.templates
        )
        if not passes:
            raise IntegrationFailed("no mapping template for this message, and no passthrough")
        return body.encode()
    return _rendered(template, body, event, stage_variables)


def _rendered(template: str, body: str, event: Mapping[str, Any], stage_variables: Mapping[str, str]) -> bytes:
    try:
        return mapping.render(template, body, event["requestContext"], stage_variables)
    except mapping.MappingError as error:
        log.notice(f"mapping template: {error}")
        raise IntegrationFailed("mapping template") from error
