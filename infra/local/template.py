"""Reads a SAM template and has AWS's own translator turn it into CloudFormation."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samtranslator.model.exceptions import InvalidDocumentException  # type: ignore[import-untyped]
from samtranslator.translator.transform import transform  # type: ignore[import-untyped]
from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

from infra.local.intrinsics import TemplateError

ACCOUNT = "123456789012"
REGION = "us-east-1"
_LOCAL = "s3://local/"
_LONGEST = 4096
_CODE = {"AWS::Serverless::Function": "CodeUri", "AWS::Serverless::LayerVersion": "ContentUri"}


class _NoManagedPolicies:
    """The translator's policy loader. No permission is checked here, so names of policies stay as they are."""

    def load(self) -> dict[str, str]:
        return {}


def read(path: Path, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Give the CloudFormation template that the SAM template at `path` stands for.

    The place of a function's code or a layer's content stays a path relative to the template, in `S3Key`.
    Raises TemplateError with the translator's own words, OSError if there is no such file.
    """
    template: dict[str, Any] = yaml_parse(path.read_text(encoding="utf-8"))
    if "Transform" not in template:
        return template
    _point_at_local_code(template)
    try:
        translated: dict[str, Any] = transform(template, dict(parameters), _NoManagedPolicies())
    except InvalidDocumentException as error:
        reasons = "; ".join(str(cause.message) for cause in error.causes)
        raise TemplateError(f"{path.name}: {reasons}") from error
    _nothing_left(path, translated)
    return translated


def _nothing_left(path: Path, translated: Mapping[str, Any]) -> None:
    """The translator passes over a type that is newer than itself, without a word."""
    for logical_id, resource in translated["Resources"].items():
        if resource["Type"].startswith("AWS::Serverless::"):
            raise TemplateError(f"{path.name}: {logical_id}: this SAM translator does not know {resource['Type']}")


def parameter_values(template: Mapping[str, Any], given: Mapping[str, str], stack: str) -> dict[str, Any]:
    """Give every parameter's value by name, with CloudFormation's pseudo parameters.

    Raises TemplateError that names a parameter without a value, or a value without a parameter.
    """
    declared: Mapping[str, Any] = template.get("Parameters") or {}
    if unknown := given.keys() - declared.keys():
        raise TemplateError(f"No such parameter: {', '.join(sorted(unknown))}")
    return _pseudo_parameters(stack) | {
        name: _parameter(name, parameter, given) for name, parameter in declared.items()
    }


def _parameter(name: str, declaration: Mapping[str, Any], given: Mapping[str, str]) -> Any:
    value = given.get(name, declaration.get("Default"))
    if value is None:
        raise TemplateError(f"Parameter {name} has no default: give --parameter {name}=...")
    is_list = re.fullmatch(r"CommaDelimitedList|List<.*>", declaration.get("Type", "String"))
    items = [item.strip() for item in str(value).split(",")] if is_list else [str(value)]
    if not all(_satisfies(declaration, item) for item in items):
        wanted = declaration.get("ConstraintDescription", "must satisfy what the template says of it.")
        raise TemplateError(f"Parameter {name} {wanted} It is {str(value)!r}.")
    return items if is_list else items[0]


def _satisfies(declaration: Mapping[str, Any], value: str) -> bool:
    """Whether CloudFormation takes the value. Source: the parameters section of its user guide."""
    if "AllowedValues" in declaration and value not in map(str, declaration["AllowedValues"]):
        return False
    if "AllowedPattern" in declaration and not re.fullmatch(declaration["AllowedPattern"], value):
        return False
    if not int(declaration.get("MinLength", 0)) <= len(value) <= int(declaration.get("MaxLength", _LONGEST)):
        return False
    return declaration.get("Type") != "Number" or _is_between(declaration, value)


def _is_between(declaration: Mapping[str, Any], value: str) -> bool:
    try:
        number = float(value)
    except ValueError:
        return False
    return float(declaration.get("MinValue", "-inf")) <= number <= float(declaration.get("MaxValue", "inf"))


def _pseudo_parameters(stack: str) -> dict[str, Any]:
    return {
        "AWS::AccountId": ACCOUNT,
        "AWS::NotificationARNs": [],
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
        "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/local",
        "AWS::StackName": stack,
        "AWS::URLSuffix": "amazonaws.com",
    }


def _point_at_local_code(template: dict[str, Any]) -> None:
    """The translator takes code only as an S3 address, as `sam package` leaves it."""
    holders = [(_CODE.get(r["Type"]), r.get("Properties")) for r in template.get("Resources", {}).values()]
    holders.append(("CodeUri", (template.get("Globals") or {}).get("Function")))
    for key, properties in holders:
        if key and properties and isinstance(properties.get(key), str):
            properties[key] = _LOCAL + properties[key]
