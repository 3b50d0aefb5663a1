"""One template deployed on this machine: what its names stand for.

A data resource is created in `services` the first time anything refers to it, so no order has to be worked out.
Everything else is only named: its id and ARN look as AWS makes them.
"""

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from emulator.account import ACCOUNT, REGION
from emulator.template import resource_types
from emulator.template import template as templates
from emulator.template.conversions import Fitted, as_json_text, input_of, missing
from emulator.template.data_services import DataServices, Deployed
from emulator.template.intrinsics import NO_VALUE, Resolver, TemplateError, as_text, kind_of, located
from emulator.template.omissions import Omission
from emulator.template.resource_types import SERVED, Class

NESTED = "AWS::CloudFormation::Stack"
_LAMBDA = f"arn:aws:lambda:{REGION}:{ACCOUNT}"
_DYNAMIC = re.compile(r"\{\{resolve:(ssm|ssm-secure|secretsmanager):([^}]+)\}\}")


class Deployment:
    """A template and, below it, the nested stacks that it declares.

    `directory` is where relative paths of the template begin, `name` the stack's, and `prefix` what tells its
    logical ids from those of the other stacks: empty for the root. `omissions`: what is not served, so far.
    Everything may raise TemplateError, which says where.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        given: Mapping[str, str],
        services: DataServices,
        prefix: str = "",
        parent: "Deployment | None" = None,
    ) -> None:
        self.path = path.resolve()
        self.directory = self.path.parent
        self.name = name
        self.prefix = prefix
        self.children: dict[str, Deployment] = {}
        self.omissions: list[Omission] = []
        self._parent = parent
        self._services = services
        self._deployed: dict[str, Deployed] = {}
        self._creating: list[str] = []
        self._importing: list[str] = []
        self._resolved: dict[str, dict[str, Any]] = {}
        self.resources: dict[str, Any] = {}  # conditions and rules, which come first, may refer to none
        self.template = templates.read(path, given, self.omissions.append)
        with located(file=path.name):
            parameters = templates.parameter_values(self.template, given, name) | dict(self._of_systems_manager(given))
            self._resolver = Resolver(self.template, parameters, self, self._imported)
            self._resolver.obey(self.template.get("Rules") or {})
            self.resources = {
                logical_id: resource
                for logical_id, resource in self.template["Resources"].items()
                if self._is_wanted(resource)
            }
        for logical_id, resource in self.resources.items():
            kind, reason = resource_types.classify(resource["Type"])
            if kind is Class.NOT_SERVED:
                self.omit(logical_id, resource["Type"], reason)

    def _of_systems_manager(self, given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """Yield the values of Systems Manager's parameters that the template's parameters name, by the latter."""
        for name, parameter in (self.template.get("Parameters") or {}).items():
            if str(parameter.get("Type", "")).startswith("AWS::SSM::Parameter::Value<"):
                named = given.get(name, parameter.get("Default", ""))
                found = self._services.parameter(named)
                if found is None:
                    self.omit(name, f"parameter {named}", "Systems Manager has none here; its name stands for it")
                else:
                    yield name, found

    def deploy(self) -> None:
        """Create every data resource, nested stacks included."""
        for logical_id, resource in self.resources.items():
            if resource["Type"] == NESTED or self._services.holds(resource["Type"]):
                self._resource(logical_id)
        for child in list(self.children.values()):  # a copy: what refers to a nested stack adds it
            child.deploy()

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the logical id and the resolved properties of every resource of a type."""
        for logical_id, resource in self.resources.items():
            if resource["Type"] == kind:
                yield logical_id, self._properties(logical_id)

    def everywhere(self) -> Iterator["Deployment"]:
        yield self
        for child in list(self.children.values()):
            yield from child.everywhere()

    def omit(self, logical_id: str, what: str, reason: str) -> None:
        """Note what is not served."""
        self.omissions.append(Omission(self.prefix + logical_id, what, reason))

    def ref(self, logical_id: str) -> Any:
        return self._resource(logical_id).ref

    def attribute(self, logical_id: str, name: str) -> Any:
        resource = self._resource(logical_id)
        if name not in resource.attributes and logical_id in self.children:
            raise TemplateError(f"{logical_id}: the nested template has no {name}")
        # A made-up text where nothing here has the attribute: the rest of the template is served all the same.
        return resource.attributes.get(name, f"local-{logical_id}-{name}".lower())

    def _imported(self, name: str) -> str:
        """Return what another stack of this deployment exports; the name itself if none does."""
        if name in self._importing:
            raise TemplateError(f"Circular dependency between exports: {', '.join(self._importing)}")
        self._importing.append(name)
        try:
            exported = [value for stack in self._root().everywhere() for value in stack.exported(name)]
        finally:
            self._importing.pop()
        if not exported:
            self.omit("Fn::ImportValue", name, "no stack here exports it; its name stands for it")
        return exported[0] if exported else name

    def exported(self, name: str) -> Iterator[str]:
        """Yield the value of the output that is exported by a name."""
        for output in (self.template.get("Outputs") or {}).values():
            export = output.get("Export")
            if isinstance(export, dict) and self.text(export.get("Name")) == name:
                yield as_text(self._resolver.resolve(output["Value"]))

    def _root(self) -> "Deployment":
        return self if self._parent is None else self._parent._root()  # noqa: SLF001

    def _is_wanted(self, declaration: Mapping[str, Any]) -> bool:
        return "Condition" not in declaration or self._resolver.condition(declaration["Condition"])

    def _resource(self, logical_id: str) -> Deployed:
        if logical_id not in self.resources:
            raise TemplateError(f"{logical_id!r} is neither a parameter nor a resource of {self.name}")
        if logical_id in self._creating:
            raise TemplateError(f"Circular dependency between resources: {', '.join(self._creating)}")
        if logical_id not in self._deployed:
            self._creating.append(logical_id)
            try:
                with located(where=logical_id, file=self.path.name):
                    self._deployed[logical_id] = self._create(logical_id, self.resources[logical_id]["Type"])
            finally:
                self._creating.pop()
        return self._deployed[logical_id]

    def _create(self, logical_id: str, kind: str) -> Deployed:
        if kind == NESTED:
            return self._nest(logical_id)
        if self._services.holds(kind):
            made = self._services.create(kind, f"{self.name}-{logical_id}", self._properties(logical_id))
            for path in made.ignored:
                self.omit(logical_id, f"{kind} {path}", "moto does not take it")
            return made
        return _NAMED.get(kind, _named_by_default)(self, logical_id)

    def _nest(self, logical_id: str) -> Deployed:
        properties = self._properties(logical_id)
        location, given = properties.get("TemplateURL", ""), properties.get("Parameters", {})
        path = self._beside(location)
        if path is None:
            if self.resources[logical_id].get("Properties"):
                self.omit(logical_id, NESTED, "its template is no file beside this one")
            return Deployed(f"{self.name}-{logical_id}")
        if path.resolve() in self._lineage():  # which would have no end
            raise TemplateError("the nested template is one that this one is nested in")
        if not isinstance(given, dict):
            raise TemplateError(f"Parameters must be a mapping, and is {kind_of(given)}")
        texts = {
            name: ",".join(map(as_text, value)) if isinstance(value, list) else as_text(value)
            for name, value in given.items()
        }
        child = Deployment(
            path, f"{self.name}-{logical_id}", texts, self._services, f"{self.prefix}{logical_id}.", self
        )
        self.children[logical_id] = child
        return Deployed(child.name, {f"Outputs.{name}": value for name, value in child.outputs()})

    def _beside(self, location: Any) -> Path | None:
        """Return the file that a nested stack's address names; None if it is elsewhere."""
        # What is no path at all is elsewhere, too: it may be too long for a name, or have a null in it.
        with contextlib.suppress(OSError, ValueError):
            path = self.directory / as_json_text(location)
            return path if path.is_file() else None
        return None

    def _lineage(self) -> list[Path]:
        return [self.path, *(self._parent._lineage() if self._parent else ())]  # noqa: SLF001

    def outputs(self) -> Iterator[tuple[str, Any]]:
        for name, output in (self.template.get("Outputs") or {}).items():
            with located(where=f"Outputs.{name}", file=self.path.name):
                if self._is_wanted(output):
                    yield name, self._with_references(self._resolver.resolve(output["Value"]))

    def _properties(self, logical_id: str) -> dict[str, Any]:
        """Return a resource's properties, each with its type's type. What is not served of them is noted, once."""
        if logical_id not in self._resolved:
            with located(where=logical_id, file=self.path.name):
                properties = self._resolver.resolve(self.resources[logical_id].get("Properties") or {})
                if not isinstance(properties, dict):
                    raise TemplateError(f"Properties must be a mapping, and is {kind_of(properties)}")
                self._resolved[logical_id] = self._fitted(logical_id, self._with_references(properties))
        return self._resolved[logical_id]

    def _fitted(self, logical_id: str, properties: dict[str, Any]) -> dict[str, Any]:
        kind = self.resources[logical_id]["Type"]
        if kind not in SERVED:
            return properties
        missing(properties, SERVED[kind].required)
        for name in properties:
            if reason := resource_types.property_reason(kind, name):
                self.omit(logical_id, f"{kind} {name}", reason)
        obeyed = {name: value for name, value in properties.items() if name in SERVED[kind].obeyed}
        if not SERVED[kind].call:  # The service that holds it checks the types when it is created.
            return obeyed
        shape = input_of(SERVED[kind].call)
        known = {name: value for name, value in obeyed.items() if name in shape.members}
        fitted = Fitted(known, shape)
        for path in fitted.ignored:
            self.omit(logical_id, f"{kind} {path}", "it has no effect on this machine")
        return obeyed | fitted.properties

    def _with_references(self, value: Any) -> Any:
        """Evaluate dynamic references, which stand in the middle of texts.

        Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/dynamic-references.html
        """
        if isinstance(value, dict):
            return {key: self._with_references(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._with_references(item) for item in value]
        return _DYNAMIC.sub(self._referred, value) if isinstance(value, str) else value

    def _referred(self, reference: re.Match[str]) -> str:
        service, name = reference.groups()
        found = self._services.secret_value(name) if service == "secretsmanager" else self._services.parameter(name)
        if found is None:
            self.omit("{{resolve}}", reference.group(), "nothing of that name is here; the reference stands for it")
        return reference.group() if found is None else found

    def text(self, value: Any) -> str | None:
        """Resolve a value that names something; None if there is none."""
        resolved = self._resolver.resolve(value)
        return None if resolved is None or resolved is NO_VALUE else as_text(resolved)

    def property(self, logical_id: str, name: str) -> str | None:
        """Resolve one property only: resolving all of them could ask for the resource itself."""
        return self.text((self.resources[logical_id].get("Properties") or {}).get(name))


def api_id(stack: str, logical_id: str) -> str:
    """Return an API's id: ten characters as AWS gives, but the same ones in every run."""
    return hashlib.sha256(f"{stack}/{logical_id}".encode()).hexdigest()[:10]


def _function(deployment: Deployment, logical_id: str) -> Deployed:
    name = deployment.property(logical_id, "FunctionName") or f"{deployment.name}-{logical_id}"
    return Deployed(name, {"Arn": f"{_LAMBDA}:function:{name}"})


def _version(deployment: Deployment, logical_id: str) -> Deployed:
    # Nothing outlives the run, so whatever is published is the first.
    function = _function_arn(deployment.property(logical_id, "FunctionName") or "")
    return Deployed(f"{function}:1", {"Version": "1", "FunctionArn": f"{function}:1"})


def _alias(deployment: Deployment, logical_id: str) -> Deployed:
    function = _function_arn(deployment.property(logical_id, "FunctionName") or "")
    return Deployed(f"{function}:{deployment.property(logical_id, 'Name')}")


def _layer(deployment: Deployment, logical_id: str) -> Deployed:
    name = deployment.property(logical_id, "LayerName") or logical_id
    return Deployed(f"{_LAMBDA}:layer:{name}:1", {"LayerVersionArn": f"{_LAMBDA}:layer:{name}:1"})


def _api(deployment: Deployment, logical_id: str) -> Deployed:
    identifier = api_id(deployment.name, logical_id)
    scheme = "wss" if deployment.property(logical_id, "ProtocolType") == "WEBSOCKET" else "https"
    endpoint = f"{scheme}://{identifier}.execute-api.{REGION}.amazonaws.com"
    return Deployed(identifier, {"ApiId": identifier, "ApiEndpoint": endpoint})


def _stage(deployment: Deployment, logical_id: str) -> Deployed:
    return Deployed(deployment.property(logical_id, "StageName") or logical_id)


def _url(deployment: Deployment, logical_id: str) -> Deployed:
    function = _function_arn(deployment.property(logical_id, "TargetFunctionArn") or "")
    address = f"https://{api_id(deployment.name, logical_id)}.lambda-url.{REGION}.on.aws/"
    return Deployed(function, {"FunctionArn": function, "FunctionUrl": address})


def _role(deployment: Deployment, logical_id: str) -> Deployed:
    name = f"{deployment.name}-{logical_id}"
    return Deployed(name, {"Arn": f"arn:aws:iam::{ACCOUNT}:role/{name}"})


def _named_by_default(deployment: Deployment, logical_id: str) -> Deployed:
    service = deployment.resources[logical_id]["Type"].split("::")[1].lower()
    name = f"{deployment.name}-{logical_id}"
    return Deployed(name, {"Arn": f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"})


def _function_arn(name_or_arn: str) -> str:
    return name_or_arn if name_or_arn.startswith("arn:") else f"{_LAMBDA}:function:{name_or_arn}"


_NAMED: Mapping[str, Callable[[Deployment, str], Deployed]] = {
    "AWS::Lambda::Function": _function,
    "AWS::Lambda::Version": _version,
    "AWS::Lambda::Alias": _alias,
    "AWS::Lambda::LayerVersion": _layer,
    "AWS::Lambda::Url": _url,
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::ApiGatewayV2::Stage": _stage,
    "AWS::IAM::Role": _role,
    # A route names its integration and its authorizer by `Ref`, an integration its API: the logical id will do.
    "AWS::ApiGatewayV2::Integration": lambda _, logical_id: Deployed(logical_id),
    "AWS::ApiGatewayV2::Authorizer": lambda _, logical_id: Deployed(logical_id, {"AuthorizerId": logical_id}),
    "AWS::ApiGatewayV2::Route": lambda _, logical_id: Deployed(logical_id, {"RouteId": logical_id}),
}
