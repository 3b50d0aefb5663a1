"""CloudFormation's intrinsic functions, evaluated over a template's own values.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference.html
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol

NO_VALUE = object()
_VARIABLE = re.compile(r"\$\{(!?)([^}]+)\}")


class TemplateError(Exception):
    """The template cannot be served as it is written; the message says where and why."""


class Resources(Protocol):
    """What `Ref` and `Fn::GetAtt` ask."""

    def ref(self, logical_id: str) -> Any: ...
    def attribute(self, logical_id: str, name: str) -> Any: ...


class Resolver:
    """Evaluates the values of one template.

    `parameters` holds the template's parameters and the pseudo parameters (`AWS::Region`, ...), by name.
    """

    def __init__(self, template: Mapping[str, Any], parameters: Mapping[str, Any], resources: Resources) -> None:
        self._conditions: Mapping[str, Any] = template.get("Conditions") or {}
        self._mappings: Mapping[str, Any] = template.get("Mappings") or {}
        self._parameters = parameters
        self._resources = resources
        self._functions: dict[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._get_att,
            "Fn::Sub": self._sub,
            "Fn::Join": self._join,
            "Fn::If": self._if,
            "Fn::Equals": lambda pair: self.resolve(pair[0]) == self.resolve(pair[1]),
            "Fn::And": lambda items: all(self._test(item) for item in items),
            "Fn::Or": lambda items: any(self._test(item) for item in items),
            "Fn::Not": lambda items: not self._test(items[0]),
            "Fn::Select": lambda pair: self.resolve(pair[1])[int(self.resolve(pair[0]))],
            "Fn::Split": lambda pair: self.resolve(pair[1]).split(pair[0]),
            "Fn::FindInMap": self._find_in_map,
            "Fn::Base64": lambda text: base64.b64encode(self.resolve(text).encode()).decode(),
        }

    def resolve(self, value: Any) -> Any:
        """Give the value with every function evaluated. Raises TemplateError for what has no answer here."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        name = next(iter(value)) if len(value) == 1 else ""
        if name == "Ref" or name.startswith("Fn::"):
            return self._call(name, value[name])
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not NO_VALUE}

    def condition(self, name: str) -> bool:
        if name not in self._conditions:
            raise TemplateError(f"Condition {name!r} is not declared.")
        return self._test(self._conditions[name])

    def obey(self, rules: Mapping[str, Any]) -> None:
        """Raises TemplateError with the sentence of an assertion that does not hold.

        Source: the rules section of CloudFormation's user guide.
        """
        for rule in rules.values():
            if "RuleCondition" in rule and not self._test(rule["RuleCondition"]):
                continue
            for assertion in rule["Assertions"]:
                if not self._test(assertion["Assert"]):
                    raise TemplateError(assertion.get("AssertDescription", f"A rule does not hold: {assertion}"))

    def _call(self, name: str, argument: Any) -> Any:
        if name not in self._functions:
            raise TemplateError(f"{name} is not supported by the local gateway.")
        return self._functions[name](argument)

    def _test(self, expression: Any) -> bool:
        if isinstance(expression, dict) and "Condition" in expression:
            return self.condition(expression["Condition"])
        return bool(self.resolve(expression))

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name in self._parameters:
            return self._parameters[name]
        return self._resources.ref(name)

    def _get_att(self, argument: str | list[Any]) -> Any:
        logical_id, name = argument.split(".", 1) if isinstance(argument, str) else argument
        return self._resources.attribute(logical_id, self.resolve(name))

    def _sub(self, argument: str | list[Any]) -> str:
        text, variables = (argument, {}) if isinstance(argument, str) else argument

        def value(match: re.Match[str]) -> str:
            literal, name = match.groups()
            return f"${{{name}}}" if literal else str(self._variable(name.strip(), variables))

        return _VARIABLE.sub(value, text)

    def _variable(self, name: str, variables: Mapping[str, Any]) -> Any:
        if name in variables:
            return self.resolve(variables[name])
        return self._get_att(name) if "." in name else self._ref(name)

    def _join(self, argument: list[Any]) -> str:
        delimiter, items = argument
        return str(delimiter).join(str(item) for item in self.resolve(items))

    def _if(self, argument: list[Any]) -> Any:
        name, then, otherwise = argument
        return self.resolve(then if self.condition(name) else otherwise)

    def _find_in_map(self, argument: list[Any]) -> Any:
        name, first, second = (self.resolve(item) for item in argument[:3])
        try:
            return self.resolve(self._mappings[name][first][second])
        except KeyError as missing:
            raise TemplateError(f"Fn::FindInMap {name}.{first}.{second}: no {missing}.") from missing
