"""What a Lambda authorizer's answer allows.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-lambda-authorizer-output.html
"""

import fnmatch
from collections.abc import Iterable
from typing import Any


class Denied(Exception):
    """The answer is no: 403."""


class Malformed(Exception):
    """The answer is not one that API Gateway understands: 500."""


def allowed_by_policy(answer: Any, arn: str) -> dict[str, Any]:
    """Return `principalId` and the context's values as strings. Raise Denied, Malformed."""
    if not isinstance(answer, dict) or not isinstance(answer.get("policyDocument"), dict):
        raise Malformed("an authorizer answers with a policyDocument")
    effects = set()
    for statement in _several(answer["policyDocument"].get("Statement", [])):
        actions, resources = _several(statement.get("Action", [])), _several(statement.get("Resource", []))
        if _any_match("execute-api:Invoke", actions) and _any_match(arn, resources):
            effects.add(statement.get("Effect"))
    # One Deny outweighs every Allow. Source: the policy evaluation logic in IAM's user guide.
    if "Deny" in effects or "Allow" not in effects:
        raise Denied
    values = {name: as_string(value) for name, value in (answer.get("context") or {}).items()}
    return {"principalId": str(answer.get("principalId", "")), **values}


def as_string(value: Any) -> str:
    """Return a context value as API Gateway hands it on. Raise Malformed for a list or an object."""
    if isinstance(value, dict | list):
        raise Malformed("an authorizer's context holds strings, numbers and booleans only")
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _any_match(text: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
