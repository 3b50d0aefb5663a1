"""CloudFormation's intrinsic functions, evaluated over a template's own values.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

import base64
import contextlib
import ipaddress
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{(!?)([^}]+)\}")
_LONGEST_SHOWN = 60


class TemplateError(Exception):
    """The template cannot be served as it is written. The message says what, why, and what helps.

    `where`: the resource, section or line. `file`: the template's name. `located` fills both in. One line as text.
    """

    def __init__(self, what: str, *, where: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.file = ""

    def __str__(self) -> str:
        parts = (self.file, self.where, self.what)
        return ": ".join(" ".join(part.split()) for part in parts if part)


@contextlib.contextmanager
def located(*, where: str = "", file: str = "") -> Iterator[None]:
    """Say of a TemplateError where it happened: the innermost place counts."""
    try:
        yield
    except TemplateError as error:
        if not error.file:
            error.where = error.where or where
            error.file = file
        raise


class Resources(Protocol):
    """What `Ref` and `Fn::GetAtt` ask."""

    def ref(self, logical_id: str) -> Any: ...
    def attribute(self, logical_id: str, name: str) -> Any: ...


def _not_imported(name: str) -> str:
    raise TemplateError(f"Fn::ImportValue {name}: nothing is imported here")


class Resolver:
    """An evaluator of one template's values.

    `parameters` holds the template's parameters and the pseudo parameters (`AWS::Region`, ...), by name. `imported`
    gives what another stack exports.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, Any],
        resources: Resources,
        imported: Callable[[str], str] = _not_imported,
    ) -> None:
        self._conditions: Mapping[str, Any] = template.get("Conditions") or {}
        self._mappings: Mapping[str, Any] = template.get("Mappings") or {}
        self._parameters = parameters
        self._resources = resources
        self._testing: list[str] = []
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::Join": self._join,
            "Fn::If": self._if,
            "Fn::Equals": self._equals,
            "Fn::And": lambda items: all(self._test(item) for item in _list("Fn::And", items)),
            "Fn::Or": lambda items: any(self._test(item) for item in _list("Fn::Or", items)),
            "Fn::Not": lambda items: not self._test(_list("Fn::Not", items, 1)[0]),
            "Fn::Select": self._select,
            "Fn::Split": self._split,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Base64": lambda text: base64.b64encode(self._text(text).encode()).decode(),
            "Fn::GetAZs": self._zones,
            "Fn::Cidr": self._cidr,
            "Fn::ImportValue": lambda name: imported(self._text(name)),
            "Fn::Length": lambda items: len(self._list("Fn::Length", items)),
            "Fn::ToJsonString": lambda value: json.dumps(self.resolve(value), separators=(",", ":")),
        }

    def resolve(self, value: Any) -> Any:
        """Return the value with every function evaluated. Raise TemplateError for what has no answer here."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        name = next(iter(value)) if len(value) == 1 else ""
        if name == "Ref" or name.startswith("Fn::"):
            if name not in self._functions:
                raise TemplateError(f"{name} is no function of CloudFormation's that the local gateway knows")
            return self._functions[name](value[name])
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def condition(self, name: Any) -> bool:
        if not isinstance(name, str) or name not in self._conditions:
            raise TemplateError(f"Condition {shown(name)} is not declared (write it under Conditions)")
        if name in self._testing:
            raise TemplateError(f"Circular dependency between conditions: {', '.join(self._testing)}")
        self._testing.append(name)
        try:
            return self._test(self._conditions[name])
        finally:
            self._testing.pop()

    def obey(self, rules: Mapping[str, Any]) -> None:
        """Raise TemplateError with the sentence of an assertion that does not hold.

        Source: the rules section of CloudFormation's user guide.
        """
        for rule in rules.values():
            if "RuleCondition" in rule and not self._test(rule["RuleCondition"]):
                continue
            for assertion in rule["Assertions"]:
                if not self._test(assertion["Assert"]):
                    sentence = assertion.get("AssertDescription")
                    raise TemplateError(sentence if isinstance(sentence, str) else f"A rule does not hold: {assertion}")

    def _test(self, expression: Any) -> bool:
        if isinstance(expression, dict) and expression.keys() == {"Condition"}:
            return self.condition(expression["Condition"])
        value = self.resolve(expression)
        # A parameter that says so is text.
        if isinstance(value, bool) or value in ("true", "false"):
            return value in (True, "true")
        raise TemplateError(f"A condition must be true or false, and is {shown(value)}")

    def _equals(self, pair: Any) -> bool:
        first, second = (self.resolve(item) for item in _list("Fn::Equals", pair, 2))
        if isinstance(first, list) and isinstance(second, list):
            return [*map(as_text, first)] == [*map(as_text, second)]
        return as_text(first) == as_text(second)

    def _ref(self, name: Any) -> Any:
        if not isinstance(name, str):
            raise TemplateError(f"Ref takes the name of a parameter or resource, not {shown(name)}")
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._parameters:
            return self._parameters[name]
        return self._resources.ref(name)

    def _get_att(self, argument: Any) -> Any:
        parts = argument.split(".", 1) if isinstance(argument, str) else argument
        if not isinstance(parts, list) or len(parts) < 2 or not isinstance(parts[0], str):
            raise TemplateError(f"Fn::GetAtt takes [resource, attribute], not {shown(argument)}")
        return self._resources.attribute(parts[0], ".".join(map(self._text, parts[1:])))

    def _sub(self, argument: Any) -> str:
        text, variables = _list("Fn::Sub", argument, 2) if isinstance(argument, list) else (argument, {})
        if not isinstance(text, str) or not isinstance(variables, dict):
            raise TemplateError(f"Fn::Sub takes text, or [text, variables], not {shown(argument)}")

        def written(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            name = name.strip()
            if name in variables:
                return self._text(variables[name])
            value = self._get_att(name) if "." in name else self._ref(name)
            return "" if value is NO_VALUE else as_text(value)

        return _VARIABLE.sub(written, text)

    def _join(self, argument: Any) -> str:
        delimiter, items = _list("Fn::Join", argument, 2)
        return self._text(delimiter).join(map(as_text, self._list("Fn::Join", items)))

    def _if(self, argument: Any) -> Any:
        name, then, otherwise = _list("Fn::If", argument, 3)
        is_so = self._test(name) if isinstance(name, dict) else self.condition(name)
        return self.resolve(then if is_so else otherwise)

    def _select(self, argument: Any) -> Any:
        index, items = _list("Fn::Select", argument, 2)
        place, found = self._text(index), self._list("Fn::Select", items)
        if not place.isdecimal() or int(place) >= len(found):
            raise TemplateError(f"Fn::Select asks for item {place} of a list of {len(found)} (the first is 0)")
        return found[int(place)]

    def _split(self, argument: Any) -> list[str]:
        delimiter, text = map(self._text, _list("Fn::Split", argument, 2))
        if not delimiter:
            raise TemplateError("Fn::Split takes a delimiter that is not empty")
        return text.split(delimiter)

    def _find_in_map(self, argument: Any) -> Any:
        # The fourth argument, a default, comes with AWS::LanguageExtensions.
        given = _list("Fn::FindInMap", argument, 3, 4)
        name, first, second = map(self._text, given[:3])
        found: Any = self._mappings
        for key in (name, first, second):
            found = found.get(key, NO_VALUE) if isinstance(found, dict) else NO_VALUE
        if found is not NO_VALUE:
            return self.resolve(found)
        if isinstance(given[-1], dict) and "DefaultValue" in given[-1]:
            return self.resolve(given[-1]["DefaultValue"])
        raise TemplateError(f"Fn::FindInMap: the mappings have no {name}.{first}.{second}")

    def _zones(self, region: Any) -> list[str]:
        name = self._text(region) or self._parameters["AWS::Region"]
        return [f"{name}{letter}" for letter in "abc"]

    def _cidr(self, argument: Any) -> list[str]:
        block, count, *bits = map(self._text, _list("Fn::Cidr", argument, 2, 3))
        try:
            network = ipaddress.ip_network(block)
            subnets = network.subnets(new_prefix=network.max_prefixlen - int(bits[0] if bits else "8"))
            return [str(subnet) for subnet in itertools.islice(subnets, int(count))]
        except ValueError as error:
            raise TemplateError(f"Fn::Cidr: {error}") from error

    def _text(self, value: Any) -> str:
        return as_text(self.resolve(value))

    def _list(self, name: str, value: Any) -> list[Any]:
        return _list(name, self.resolve(value))


def as_text(value: Any) -> str:
    """Return a scalar as CloudFormation writes it into text. Raise TemplateError for a list or a mapping."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    raise TemplateError(f"Text is wanted here, and not {shown(value)}")


def kind_of(value: Any) -> str:
    """Return the words for what stands where something else is wanted."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return "nothing" if value is None or value is NO_VALUE else f"{shown(value)}"


def shown(value: Any) -> str:
    """Return a value for a message, cut to what a line has room for."""
    text = "nothing" if value is None or value is NO_VALUE else json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _list(name: str, argument: Any, *lengths: int) -> list[Any]:
    """Return a function's argument as the list that it must be, of one of these lengths. Raise TemplateError."""
    if not isinstance(argument, list) or (lengths and len(argument) not in lengths):
        wanted = f"a list of {' or '.join(map(str, lengths))}" if lengths else "a list"
        raise TemplateError(f"{name} takes {wanted}, not {shown(argument)}")
    return argument
