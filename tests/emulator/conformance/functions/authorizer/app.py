"""Answers as the caller asks in the query: `?as=deny`, `unauthorized`, `broken`, `nested`, `elsewhere`, `nothing`."""

import json
import os
import time
import uuid
from pathlib import Path
from typing import Any


def handler(event: dict[str, Any], context: Any) -> Any:
    record = {"event": event, "function": context.function_name}
    (Path(os.environ["RECORDS"]) / f"{time.time_ns()}-{uuid.uuid4().hex}.json").write_text(json.dumps(record))
    wish = (event.get("queryStringParameters") or {}).get("as", "allow")
    if wish == "unauthorized":
        raise Exception("Unauthorized")
    if wish == "broken":
        raise RuntimeError("out of order")
    if wish == "nothing":
        return None
    if event.get("version") == "2.0":
        return {"isAuthorized": wish != "deny", "context": {"user": "ada", "number": 7}}
    resource = event["methodArn"] if wish != "elsewhere" else "arn:aws:execute-api:us-east-1:1:api/other/*"
    return _policy("Deny" if wish == "deny" else "Allow", resource, nested=wish == "nested")


def _policy(effect: str, resource: str, *, nested: bool) -> dict[str, Any]:
    statement = {"Action": "execute-api:Invoke", "Effect": effect, "Resource": resource}
    context: dict[str, Any] = {"number": 7, "truth": True, "text": 'Ada "O\'Hara"'}
    return {
        "principalId": "user|ada's",
        "policyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        "context": {"list": [1]} if nested else context,
    }
