"""Writes down every event, then does what the event tells it to.

A script is `{"sleep"?: seconds, "calls"?: [[service, method, arguments, silence?], ...], "raise"?: message,
"exit"?: status, "post"?: text, "return"?: anything, "describe"?: true}`. It is in the query's `do`, in `do` of a JSON
body, or in the event itself.
`calls` of boto3 clients wait through a silence of so many seconds, and are answered with
`[{"s": seconds, "error"?: code, "answer"?: as text}, ...]`.
"""

import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import boto3
import snapshot_restore_py  # type: ignore[import-untyped,unused-ignore]
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from shared_by_layer import WORKER  # type: ignore[import-not-found]

_HANDLED: list[str] = []
_HOOKS: list[str] = []
snapshot_restore_py.register_before_snapshot(_HOOKS.append, "before snapshot")
snapshot_restore_py.register_after_restore(_HOOKS.append, "after restore")


class Told(Exception):
    """What the script wanted to be raised."""


def handler(event: dict[str, Any], context: Any) -> Any:
    _HANDLED.append(context.aws_request_id)
    facts = {
        "event": event,
        "arn": context.invoked_function_arn,
        "function": context.function_name,
        "handled": len(_HANDLED),
        "hooks": _HOOKS,
        "remaining_ms": context.get_remaining_time_in_millis(),
        "request_id": context.aws_request_id,
        "version": context.function_version,
        "worker": WORKER,
    }
    _write_down(facts)
    return _act(_script(event), facts)


def _script(event: dict[str, Any]) -> Any:
    query = event.get("queryStringParameters") or {}
    if "do" in query:
        return json.loads(query["do"])
    try:
        body = json.loads(event.get("body") or "{}")
    except ValueError:
        return {}
    return event.get("do") or (body.get("do") if isinstance(body, dict) else None) or {}


def _act(script: dict[str, Any], facts: dict[str, Any]) -> Any:
    time.sleep(script.get("sleep", 0))
    if "print" in script:
        sys.stdout.write(f"{script['print']}\n")
    if "exit" in script:
        os._exit(script["exit"])
    if "raise" in script:
        raise Told(script["raise"])
    if "calls" in script:
        return [_call(*call) for call in script["calls"]]
    if "post" in script:
        _post(facts["event"]["requestContext"], script["post"])
    if script.get("describe"):
        return facts | {"environment": dict(os.environ), "directory": str(Path.cwd()), "pid": os.getpid()}
    return script.get("return", {"statusCode": 200, "body": "done"})


def _post(context: dict[str, Any], text: str) -> None:
    """As AWS's own samples do: they know where to from the event."""
    url = f"https://{context['domainName']}/{context['stage']}"
    client = boto3.client("apigatewaymanagementapi", endpoint_url=url)
    client.post_to_connection(ConnectionId=context["connectionId"], Data=text.encode())


def _call(service: str, method: str, arguments: dict[str, Any], silence_s: float = 60) -> dict[str, Any]:
    config = Config(retries={"total_max_attempts": 1}, read_timeout=silence_s, proxies={})
    client = boto3.client(service, config=config)  # type: ignore[call-overload]
    began = time.monotonic()
    try:
        facts = {"answer": json.dumps(getattr(client, method)(**arguments), default=_readable)}
    except ClientError as error:
        facts = {"error": error.response["Error"]["Code"], "answer": json.dumps(error.response)}
    except ReadTimeoutError:
        facts = {"error": "ReadTimeoutError"}
    return {**facts, "s": time.monotonic() - began}


def _readable(value: Any) -> str:
    return value.read().decode() if hasattr(value, "read") else str(value)


def _write_down(facts: dict[str, Any]) -> None:
    """In one step, so that nobody reads half of it."""
    folder = Path(os.environ["RECORDS"])
    name = f"{time.time_ns()}-{uuid.uuid4().hex}.json"
    (folder / f".{name}").write_text(json.dumps(facts))
    (folder / f".{name}").rename(folder / name)
