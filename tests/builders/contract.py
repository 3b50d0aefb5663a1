"""The published contract, read strictly: what it does not name is not there, though clients are told to ignore it."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml  # type: ignore[import-untyped]
from jsonschema_rs import Draft202012, Draft202012Validator, Registry

from tests.builders.deployments import REPOSITORY

PROTOCOL = REPOSITORY / "protocol"
SOCKET, HTTP = (
    yaml.load((PROTOCOL / name).read_bytes(), yaml.CSafeLoader) for name in ("asyncapi.yaml", "openapi.yaml")
)
JSON = "application/json"


def faults_of_frame(frame: Any) -> list[str]:
    """What of a frame is not as the contract says: a client's if it has an action, else the relay's."""
    name = frame.get("action", frame.get("type", "gateway"))
    if name not in SOCKET["components"]["messages"]:
        return [f"{name}: no such frame"]
    return _faults("asyncapi", f"#/components/schemas/{name}", frame)


def faults_of_answer(method: str, target: str, status: int, body: Any) -> list[str]:
    """What of an HTTP answer is not as the contract says."""
    path = _path(target.partition("?")[0])
    operation = {} if path is None else HTTP["paths"][path].get(method.lower(), {})
    if not operation:  # API Gateway answers, or below a route the function
        return _faults("openapi", f"#/components/responses/Error/content/{_pointer(JSON)}/schema", body)
    answers = operation["responses"]
    where = (
        f"#/paths/{_pointer(str(path))}/{method.lower()}/responses/{status if str(status) in answers else 'default'}"
    )
    answer = answers.get(str(status), answers["default"])
    if "$ref" in answer:
        where = answer["$ref"]
    elif JSON not in answer.get("content", {}):
        return []
    return _faults("openapi", f"{where}/content/{_pointer(JSON)}/schema", body)


def _path(target: str) -> str | None:
    """Return the path of the contract that a target is of. One without variables goes first, as in API Gateway."""
    patterns = {path: re.sub(r"\{\w+\}", "[^/]+", path) for path in HTTP["paths"]}
    found = [path for path, pattern in patterns.items() if re.fullmatch(pattern, target)]
    return min(found, key=lambda path: path.count("{"), default=None)


def _faults(document: str, pointer: str, value: Any) -> list[str]:
    errors = _validator(document, pointer).iter_errors(value)
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in errors]


@cache
def _validator(document: str, pointer: str) -> Draft202012Validator:
    schema = {"$ref": f"urn:{document}{pointer}", "unevaluatedProperties": False}
    return Draft202012Validator(schema, registry=_registry())


@cache
def _registry() -> Registry:
    return Registry([("urn:asyncapi", _closed(SOCKET)), ("urn:openapi", _closed(HTTP))], draft=Draft202012)


def _closed(schema: Any) -> Any:
    """Return a document whose objects within objects have no fields but those that are named."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items()}
    for inner in _values_of(closed):
        if ("properties" in inner or "$ref" in inner) and "additionalProperties" not in inner:
            inner["unevaluatedProperties"] = False
    return closed


def _values_of(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the schemas of an object's fields and of an array's items."""
    fields = schema.get("properties")
    candidates = [*(fields.values() if isinstance(fields, dict) else ()), schema.get("items")]
    yield from (each for each in candidates if isinstance(each, dict))


def _pointer(name: str) -> str:
    """Return a name as a part of a JSON pointer in a URI's fragment."""
    return name.replace("~", "~0").replace("/", "~1").replace("{", "%7B").replace("}", "%7D")
