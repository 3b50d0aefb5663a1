"""CloudFormation's conversions between types: text for every scalar, and what a property's type makes of it.

The types of properties are those of the API call behind the resource, as botocore knows them.
"""

import functools
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import botocore.session
from botocore.model import ListShape, MapShape, Shape, StructureShape

from emulator.template.intrinsics import TemplateError, as_text, kind_of

_INTEGER = re.compile(r"[-+]?\d+(\.0+)?")
_NUMBERS = ("integer", "long", "float", "double")


class Fitted:
    """Properties with the types that an API call wants. `ignored`: paths of what the call does not have."""

    def __init__(self, properties: Mapping[str, Any], shape: Shape) -> None:
        self.ignored: list[str] = []
        self.properties: dict[str, Any] = self._fit(properties, shape, "")

    def _fit(self, value: Any, shape: Shape, path: str) -> Any:
        """Return the value as `shape` wants it. Raise TemplateError that names the path."""
        match shape:
            case StructureShape():
                items = _expect(value, dict, path).items()
                self.ignored += [_below(path, name) for name, _ in items if name not in shape.members]
                return {
                    name: self._fit(item, shape.members[name], _below(path, name))
                    for name, item in items
                    if name in shape.members
                }
            case ListShape():
                return [self._fit(item, shape.member, path) for item in _expect(value, list, path)]
            case MapShape():
                items = _expect(value, dict, path).items()
                return {key: self._fit(item, shape.value, _below(path, key)) for key, item in items}
            case _:
                return _scalar(value, shape.type_name, path)


@functools.cache
def input_of(call: str) -> StructureShape:
    """Return the input of an API call, as `lambda.CreateFunction`."""
    service, operation = call.split(".")
    shape = _session().get_service_model(service).operation_model(operation).input_shape
    assert shape is not None  # noqa: S101
    return shape


def as_number(value: Any, path: str) -> float:
    """Return the number that a property has. Raise TemplateError that names the path."""
    return float(_scalar(value, "double", path))


def as_json_text(value: Any) -> str:
    """Return text as it is, other scalars as CloudFormation writes them, and the rest as JSON."""
    return json.dumps(value) if isinstance(value, dict | list) else as_text(value)


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


def _scalar(value: Any, wanted: str, path: str) -> Any:
    if value is None or isinstance(value, dict | list):
        raise _unfit(
            value, "a number" if wanted in _NUMBERS else "true or false" if wanted == "boolean" else "text", path
        )
    if wanted == "boolean":
        text = as_text(value).lower()
        if text not in ("true", "false"):
            raise _unfit(value, "true or false", path)
        return text == "true"
    if wanted not in _NUMBERS:
        return as_text(value)
    text = as_text(value).strip()
    try:
        number = float(text)
    except ValueError:
        raise _unfit(value, "a number", path) from None
    if not math.isfinite(number):  # `nan` and `1e999` are numbers to Python.
        raise _unfit(value, "a number", path)
    # Not by way of the float, which would round a long one.
    return int(text.partition(".")[0]) if _INTEGER.fullmatch(text) else number


def _expect(value: Any, kind: type, path: str) -> Any:
    if not isinstance(value, kind):
        raise _unfit(value, "a list" if kind is list else "a mapping", path)
    return value


def _unfit(value: Any, wanted: str, path: str) -> TemplateError:
    return TemplateError(f"{path or 'Properties'} must be {wanted}, and is {kind_of(value)}")


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def missing(properties: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise TemplateError for the first name that has no value."""
    for name in names:
        if name not in properties:
            raise TemplateError(f"{name} is missing (every resource of this type must have it)")
