"""One template deployed on this machine: what its names stand for.

A data resource is created in `services` the first time anything refers to it, so no order has to be worked out.
Everything else is only named: its id and ARN look as AWS makes them.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.local import template as templates
from infra.local.intrinsics import Resolver, TemplateError
from infra.local.services import Deployed, Services
from infra.local.template import ACCOUNT, REGION

NESTED = "AWS::CloudFormation::Stack"
_LAMBDA = f"arn:aws:lambda:{REGION}:{ACCOUNT}"


class Deployment:
    """A template and, below it, the nested stacks that it declares.

    `directory` is where relative paths of the template begin, `name` the stack's, and `prefix` what tells its
    logical ids from those of the other stacks: empty for the root.
    """

    def __init__(self, path: Path, name: str, given: Mapping[str, str], services: Services, prefix: str = "") -> None:
        self.directory = path.parent.resolve()
        self.name = name
        self.prefix = prefix
        self.template = templates.read(path, given)
        self._services = services
        self._deployed: dict[str, Deployed] = {}
        self.children: dict[str, Deployment] = {}
        parameters = templates.parameter_values(self.template, given, name)
        self._resolver = Resolver(self.template, parameters, self)
        self._resolver.obey(self.template.get("Rules") or {})
        self.resources = {
            logical_id: resource
            for logical_id, resource in self.template["Resources"].items()
            if "Condition" not in resource or self._resolver.condition(resource["Condition"])
        }

    def deploy(self) -> None:
        """Create every data resource, nested stacks included."""
        for logical_id, resource in self.resources.items():
            if resource["Type"] == NESTED or self._services.holds(resource["Type"]):
                self._resource(logical_id)
        for child in self.children.values():
            child.deploy()

    def of_type(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give the logical id and the resolved properties of every resource of a type."""
        for logical_id, resource in self.resources.items():
            if resource["Type"] == kind:
                yield logical_id, self._properties(logical_id)

    def everywhere(self) -> Iterator["Deployment"]:
        yield self
        for child in self.children.values():
            yield from child.everywhere()

    def ref(self, logical_id: str) -> Any:
        return self._resource(logical_id).ref

    def attribute(self, logical_id: str, name: str) -> Any:
        resource = self._resource(logical_id)
        if name not in resource.attributes and logical_id in self.children:
            raise TemplateError(f"{logical_id}: the nested template has no {name}.")
        return resource.attributes.get(name, f"local-{logical_id}-{name}".lower())

    def _resource(self, logical_id: str) -> Deployed:
        if logical_id not in self.resources:
            raise TemplateError(f"{logical_id!r} is neither a parameter nor a resource of {self.name}.")
        if logical_id not in self._deployed:
            self._deployed[logical_id] = self._create(logical_id, self.resources[logical_id]["Type"])
        return self._deployed[logical_id]

    def _create(self, logical_id: str, kind: str) -> Deployed:
        if kind == NESTED:
            return self._nest(logical_id)
        if self._services.holds(kind):
            return self._services.create(kind, f"{self.name}-{logical_id}", self._properties(logical_id))
        return _NAMED.get(kind, _named_by_default)(self, logical_id)

    def _nest(self, logical_id: str) -> Deployed:
        properties = self._properties(logical_id)
        path = self.directory / properties["TemplateURL"]
        name, given = f"{self.name}-{logical_id}", properties.get("Parameters", {})
        child = Deployment(path, name, given, self._services, f"{self.prefix}{logical_id}.")
        self.children[logical_id] = child
        return Deployed(child.name, {f"Outputs.{name}": value for name, value in child.outputs()})

    def outputs(self) -> Iterator[tuple[str, Any]]:
        for name, output in (self.template.get("Outputs") or {}).items():
            if "Condition" not in output or self._resolver.condition(output["Condition"]):
                yield name, self._resolver.resolve(output["Value"])

    def _properties(self, logical_id: str) -> dict[str, Any]:
        properties: dict[str, Any] = self._resolver.resolve(self.resources[logical_id].get("Properties") or {})
        return properties

    def property(self, logical_id: str, name: str) -> Any:
        """Resolve one property only: resolving all of them could ask for the resource itself."""
        return self._resolver.resolve((self.resources[logical_id].get("Properties") or {}).get(name))


def api_id(stack: str, logical_id: str) -> str:
    """Ten characters as AWS gives, but the same ones every time."""
    return hashlib.sha256(f"{stack}/{logical_id}".encode()).hexdigest()[:10]


def _function(deployment: Deployment, logical_id: str) -> Deployed:
    name = deployment.property(logical_id, "FunctionName") or f"{deployment.name}-{logical_id}"
    return Deployed(name, {"Arn": f"{_LAMBDA}:function:{name}"})


def _version(deployment: Deployment, logical_id: str) -> Deployed:
    function = _function_arn(deployment.property(logical_id, "FunctionName"))
    return Deployed(f"{function}:1", {"Version": "1", "FunctionArn": f"{function}:1"})


def _alias(deployment: Deployment, logical_id: str) -> Deployed:
    function = _function_arn(deployment.property(logical_id, "FunctionName"))
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
    return Deployed(deployment.property(logical_id, "StageName"))


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
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::ApiGatewayV2::Stage": _stage,
    "AWS::IAM::Role": _role,
    # A route names its integration and its authorizer by `Ref`, an integration its API: the logical id will do.
    "AWS::ApiGatewayV2::Integration": lambda _, logical_id: Deployed(logical_id),
    "AWS::ApiGatewayV2::Authorizer": lambda _, logical_id: Deployed(logical_id, {"AuthorizerId": logical_id}),
    "AWS::ApiGatewayV2::Route": lambda _, logical_id: Deployed(logical_id, {"RouteId": logical_id}),
}
