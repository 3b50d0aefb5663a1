"""A template as CloudFormation: its loops unrolled, and its SAM translated by AWS's own translator."""

import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from samtranslator.model.exceptions import InvalidDocumentException  # type: ignore[import-untyped]
from samtranslator.translator.transform import transform  # type: ignore[import-untyped]

from emulator.account import ACCOUNT, REGION
from emulator.template import language_extensions, parsing
from emulator.template.intrinsics import Resolver, TemplateError, as_text, kind_of, located
from emulator.template.omissions import Omission

_LOCAL = "local"
_LONGEST = 4096  # of a parameter's value. Source: CloudFormation's quotas, which count bytes
_INFINITE = {"MinValue": float("-inf"), "MaxValue": float("inf")}
_SAM = "AWS::Serverless-2016-10-31"
_INCLUDE = "AWS::Include"
_SECTIONS = ("Parameters", "Mappings", "Conditions", "Rules", "Globals", "Metadata", "Outputs", "Resources")
_REMOTE = re.compile(r"(s3|https?)://")
# CloudFormation's own rules: an id becomes the name of a folder here, and both are shown.
_LOGICAL_ID = re.compile(r"[A-Za-z0-9]+")
_TYPE = re.compile(r"\w+(::[\w@-]+)+", re.ASCII)
# Where SAM's types, and CloudFormation's as `aws cloudformation package` reads them, say what lies beside the template.
_PATHS = {
    "AWS::Serverless::Function": "CodeUri",
    "AWS::Serverless::LayerVersion": "ContentUri",
    "AWS::Serverless::Api": "DefinitionUri",
    "AWS::Serverless::HttpApi": "DefinitionUri",
    "AWS::Serverless::StateMachine": "DefinitionUri",
    "AWS::Serverless::GraphQLApi": "SchemaUri",
    "AWS::Lambda::Function": "Code",
    "AWS::Lambda::LayerVersion": "Content",
}
# What the translator raises for a template that it does not expect, beside its own exceptions.
_BROKEN = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
Omit = Callable[[Omission], None]
# The translator warns of its own affairs.
logging.getLogger("samtranslator").addHandler(logging.NullHandler())


class _NoManagedPolicies:
    """The translator's policy loader, without policies: no permission is checked here, so their names stay."""

    def load(self) -> dict[str, str]:
        return {}


class _NoResources:
    """What loops may ask while they are unrolled: parameters and mappings, and no resource."""

    def ref(self, logical_id: str) -> Any:
        raise TemplateError(f"{logical_id!r} is no parameter (a loop's collection can be made of nothing else)")

    def attribute(self, logical_id: str, _: str) -> Any:
        return self.ref(logical_id)


def read(path: Path, parameters: Mapping[str, str], omit: Omit = lambda _: None) -> dict[str, Any]:
    """Return the CloudFormation template that the template at `path` stands for. `omit` hears what is left out.

    Code that lies on this machine becomes an S3 address that `local_path` understands.
    Raise TemplateError, with the translator's own words where it refuses, and OSError if there is no such file.
    """
    with located(file=path.name):
        template = _sections(parsing.parse(path, omit))
        transforms = _transforms(template, omit)
        template = _included(template, path.parent, omit)
        if language_extensions.NAME in transforms:
            resolver = Resolver(template, parameter_values(template, parameters, "loops"), _NoResources())
            template = language_extensions.unroll(template, resolver.resolve)
        _check_resources(template)
        _point_at_local_code(template, path.parent, omit)
        if _SAM in transforms:
            _say_silent_events(template["Resources"], omit)
            template = _translated(template, parameters, omit)
            _check_resources(template)  # again: the translator has made new ones
        return template


def local_path(code: Mapping[str, Any]) -> str | None:
    """Return the path beside the template that a `Code` or `Content` stands for; None for one that is elsewhere."""
    return unquote(str(code.get("S3Key"))) if code.get("S3Bucket") == _LOCAL else None


def _sections(template: Any) -> dict[str, Any]:
    if template is None:
        raise TemplateError("is empty (a template has at least Resources)")
    if not isinstance(template, dict):
        raise TemplateError(f"is no template, but {kind_of(template)} (a template is a mapping with Resources)")
    # A section with nothing below it is null to YAML, and empty to CloudFormation.
    given = {name: value for name, value in template.items() if value is not None or name not in _SECTIONS}
    if "Resources" not in given:
        raise TemplateError("has no Resources (CloudFormation wants one at least)")
    for section in _SECTIONS:
        _expect_mapping(given.get(section, {}), section)
    for section in ("Parameters", "Outputs", "Rules"):
        for name, declaration in given.get(section, {}).items():
            if not name.startswith(language_extensions.LOOP):
                _expect_mapping(declaration, f"{section}.{name}")
    for name, parameter in given.get("Parameters", {}).items():
        if "Default" in parameter:
            with located(where=f"Parameters.{name}.Default"):
                parameter["Default"] = as_text(parameter["Default"])
    _check_rules(given.get("Rules", {}))
    return given


def _check_rules(rules: Mapping[str, Any]) -> None:
    for name, rule in rules.items():
        match rule.get("Assertions"):
            case [*assertions] if all(isinstance(each, dict) and "Assert" in each for each in assertions):
                continue
            case _:
                raise TemplateError("Assertions must be a list of mappings that have Assert", where=f"Rules.{name}")


def _transforms(template: Mapping[str, Any], omit: Omit) -> list[str]:
    declared = template.get("Transform", [])
    names = declared if isinstance(declared, list) else [declared]
    if not all(isinstance(name, str) for name in names):
        raise TemplateError(f"must be a name or a list of names, and is {kind_of(declared)}", where="Transform")
    for name in names:
        if name not in (_SAM, language_extensions.NAME):
            omit(Omission("Transform", name, "no macro runs here; the template is read as it is written"))
    if names.count(_SAM) and names[-1] != _SAM:
        names.sort(key=_SAM.__eq__)
    return names


def _included(value: Any, folder: Path, omit: Omit) -> Any:
    """Put the content of a file in the place of an AWS::Include that names one; leave out any other macro."""
    if isinstance(value, list):
        return [_included(item, folder, omit) for item in value]
    if not isinstance(value, dict):
        return value
    rest = {key: _included(item, folder, omit) for key, item in value.items() if key != "Fn::Transform"}
    if "Fn::Transform" not in value:
        return rest
    match value["Fn::Transform"]:
        case {"Name": "AWS::Include", "Parameters": {"Location": str(location)}} if not _REMOTE.match(location):
            with located(where=f"Fn::Transform {location}"):
                content = _beside(folder, location, omit)
                return {**content, **rest} if isinstance(content, dict) else content
        case macro:
            name = macro.get("Name") if isinstance(macro, dict) else None
            reason = "only a file beside the template is included" if name == _INCLUDE else "no macro runs here"
            omit(Omission("Fn::Transform", str(name), reason))
            return rest


def _beside(folder: Path, location: str, omit: Omit) -> Any:
    try:
        return parsing.parse(folder / location, omit)
    except OSError as error:
        raise TemplateError(f"{location} cannot be read: {error.strerror}") from error


def _check_resources(template: Mapping[str, Any]) -> None:
    for logical_id, resource in template["Resources"].items():
        if logical_id.startswith(language_extensions.LOOP):
            raise TemplateError(f"is a loop (say so: Transform: {language_extensions.NAME})", where=logical_id)
        if not _LOGICAL_ID.fullmatch(logical_id):
            what = "is no logical id (which has letters from A to Z and digits only)"
            raise TemplateError(what, where=f"Resources.{logical_id}")
        _expect_mapping(resource, f"Resources.{logical_id}")
        if not isinstance(resource.get("Type"), str) or not _TYPE.fullmatch(resource["Type"]):
            what = "has no Type (every resource says its type, as AWS::S3::Bucket)"
            raise TemplateError(what, where=f"Resources.{logical_id}")
        if resource.get("Properties", {}) is None:
            del resource["Properties"]
        _expect_mapping(resource.get("Properties", {}), f"Resources.{logical_id}.Properties")
    for name, output in template.get("Outputs", {}).items():
        _expect_mapping(output, f"Outputs.{name}")
        if "Value" not in output:
            raise TemplateError("has no Value", where=f"Outputs.{name}")


def _expect_mapping(value: Any, where: str) -> None:
    if not isinstance(value, dict):
        raise TemplateError(f"must be a mapping, and is {kind_of(value)}", where=where)


def _translated(template: dict[str, Any], parameters: Mapping[str, str], omit: Omit) -> dict[str, Any]:
    """Have the translator translate all but applications of the repository, for which it would ask AWS."""
    resources, remote = template["Resources"], []
    for name, resource in list(resources.items()):
        location = (resource.get("Properties") or {}).get("Location")
        if resource["Type"] == "AWS::Serverless::Application" and isinstance(location, dict):
            remote.append(name)
            del resources[name]
            omit(Omission(name, "AWS::Serverless::Application", "applications of AWS's repository are not fetched"))
    if not resources:  # The translator refuses a template without any.
        return template
    try:
        translated: dict[str, Any] = transform(template, dict(parameters), _NoManagedPolicies())
    except InvalidDocumentException as error:
        raise TemplateError("; ".join(str(cause.message) for cause in error.causes)) from error
    except _BROKEN as error:
        raise TemplateError(f"AWS's SAM translator cannot read it: {type(error).__name__}: {error}") from error
    for name in remote:
        translated["Resources"][name] = {"Type": "AWS::CloudFormation::Stack", "Properties": {}}
    return translated


def _say_silent_events(resources: Mapping[str, Any], omit: Omit) -> None:
    """Omit the events of which the translator leaves nothing to see."""
    # Any other source becomes a resource or a property, which is said where it is found.
    for logical_id, resource in resources.items():
        events = resource["Properties"].get("Events")
        for event in events.values() if isinstance(events, dict) else ():
            if isinstance(event, dict) and event.get("Type") == "AlexaSkill":
                omit(Omission(logical_id, "event AlexaSkill", "Alexa does not reach this machine"))


def parameter_values(template: Mapping[str, Any], given: Mapping[str, str], stack: str) -> dict[str, Any]:
    """Return every parameter's value by name, with CloudFormation's pseudo parameters.

    Raise TemplateError that names a parameter without a value, or a value without a parameter.
    """
    declared: Mapping[str, Any] = template.get("Parameters") or {}
    if unknown := given.keys() - declared.keys():
        raise TemplateError(f"No such parameter: {', '.join(sorted(unknown))}")
    if lacking := [name for name, each in declared.items() if given.get(name, each.get("Default")) is None]:
        options = " ".join(f"--parameter {name}=..." for name in lacking)
        raise TemplateError(f"Parameters without a default: {', '.join(lacking)} (give {options})")
    return {
        "AWS::AccountId": ACCOUNT,
        "AWS::NotificationARNs": [],
        "AWS::Partition": "aws",
        "AWS::Region": REGION,
        "AWS::StackId": f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{stack}/local",
        "AWS::StackName": stack,
        "AWS::URLSuffix": "amazonaws.com",
        **{name: _parameter(name, parameter, given) for name, parameter in declared.items()},
    }


def _parameter(name: str, declaration: Mapping[str, Any], given: Mapping[str, str]) -> Any:
    value = given.get(name, declaration.get("Default"))
    is_list = re.fullmatch(r"CommaDelimitedList|List<.*>", str(declaration.get("Type", "String")))
    items = [item.strip() for item in str(value).split(",")] if is_list else [str(value)]
    if not all(_satisfies(name, declaration, item) for item in items):
        wanted = declaration.get("ConstraintDescription", "must satisfy what the template says of it.")
        raise TemplateError(f"Parameter {name} {wanted} It is {str(value)!r}.")
    return items if is_list else items[0]


def _satisfies(name: str, declaration: Mapping[str, Any], value: str) -> bool:
    """Whether CloudFormation takes the value. Source: the parameters section of its user guide."""
    allowed = declaration.get("AllowedValues")
    if isinstance(allowed, list) and value not in map(as_text, allowed):
        return False
    if not _matches(declaration.get("AllowedPattern"), value):
        return False
    if not _limit(name, declaration, "MinLength", 0) <= len(value) <= _limit(name, declaration, "MaxLength", _LONGEST):
        return False
    if declaration.get("Type") != "Number":
        return True
    try:
        number = float(value)
    except ValueError:
        return False
    least, most = (_limit(name, declaration, limit, infinite) for limit, infinite in _INFINITE.items())
    return least <= number <= most


def _matches(pattern: Any, value: str) -> bool:
    """Whether a value as a whole fits a parameter's pattern, if there is one."""
    try:
        return not isinstance(pattern, str) or bool(re.fullmatch(pattern, value))
    except (re.error, RecursionError, OverflowError):  # Java's expressions know more than Python's.
        return True


def _limit(name: str, declaration: Mapping[str, Any], limit: str, otherwise: float) -> float:
    try:
        return float(as_text(declaration.get(limit, otherwise)))
    except (TemplateError, ValueError):
        raise TemplateError(f"Parameter {name}: {limit} must be a number") from None


def _point_at_local_code(template: dict[str, Any], folder: Path, omit: Omit) -> None:
    """Do what `sam package` does, to an S3 bucket that is this machine: the translator takes code in no other way."""
    default = (template.get("Globals") or {}).get("Function")
    if isinstance(default, dict) and isinstance(default.get("CodeUri"), str):
        default["CodeUri"] = _address(default["CodeUri"])
    for resource in template["Resources"].values():
        key, properties = _PATHS.get(resource["Type"]), resource.setdefault("Properties", {})
        if resource["Type"] == "AWS::Serverless::Function":
            _default_code(properties, default if isinstance(default, dict) else {})
        if not key or not isinstance(properties.get(key), str):
            continue
        # Written into the template, from which the routes are read.
        if resource["Type"] == "AWS::Serverless::HttpApi" and not _REMOTE.match(properties[key]):
            properties["DefinitionBody"] = _included(_beside(folder, properties.pop(key), omit), folder, omit)
        elif resource["Type"].startswith("AWS::Lambda::"):
            bucket, _, name = _address(properties[key]).partition("://")[2].partition("/")
            properties[key] = {"S3Bucket": bucket, "S3Key": name}
        else:
            properties[key] = _address(properties[key])


def _default_code(function: dict[str, Any], common: Mapping[str, Any]) -> None:
    """Give a function the code that SAM takes by default: the template's own folder."""
    if "Image" in (function.get("PackageType"), common.get("PackageType")):
        if "ImageUri" not in common:
            function.setdefault("ImageUri", _LOCAL)  # `sam build` would name it, which is not run here
    elif not {"CodeUri", "InlineCode", "ImageUri"} & function.keys() and "CodeUri" not in common:
        function["CodeUri"] = "."


def _address(path: str) -> str:
    return path if _REMOTE.match(path) else f"s3://{_LOCAL}/{quote(path, safe='')}"
