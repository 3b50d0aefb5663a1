"""The APIs that a deployed template declares: written out as resources, or as an OpenAPI document."""

import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.template.conversions import Fitted, input_of, missing
from emulator.template.deployment import Deployment, api_id
from emulator.template.intrinsics import TemplateError, located, shown
from emulator.template.omissions import NotServed

PATH_VARIABLE = re.compile(r"\{([^{}/+]+)(\+?)\}")
_INVOCATION = re.compile(r"/functions/(.+)/invocations$")
_FUNCTION = re.compile(r"arn:aws[\w-]*:lambda:[\w-]*:\d*:function:[\w-]+(:[\w$-]+)?")
_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH")
_ANY = "x-amazon-apigateway-any-method"


@dataclass(frozen=True)
class Authorizer:
    """A Lambda authorizer. `function`: an ARN. `identity_sources`: what must be there, or it is 401 without a call.

    `payload`: the version of an HTTP API's payload format.
    """

    function: str
    identity_sources: tuple[str, ...]
    simple_answers: bool
    payload: str = "2.0"


@dataclass(frozen=True)
class ResponseTemplates:
    """An IntegrationResponse. `key`: `$default`, or a pattern of statuses between slashes."""

    key: str
    template_selection: str
    templates: Mapping[str, str]


@dataclass(frozen=True)
class Integration:
    """What a route calls. `function`: an ARN, or empty for a MOCK, which API Gateway answers with one of `answers`.

    `templates`: mapping templates by key, for an integration that is no proxy. `payload`: as an authorizer's.
    `not_served`: why nothing can be called here; empty if it can.
    """

    function: str
    proxy: bool
    event: bool = False
    template_selection: str = ""
    templates: Mapping[str, str] = field(default_factory=dict)
    passthrough: str = "WHEN_NO_MATCH"
    timeout_s: float | None = None
    answers: tuple[ResponseTemplates, ...] = ()
    payload: str = "2.0"
    not_served: str = ""


@dataclass(frozen=True)
class Route:
    """A route. `key`: `$connect`, `send`, `GET /items/{id}`, ... `replies`: it has a RouteResponse."""

    key: str
    integration: Integration
    authorizer: Authorizer | None = None
    replies: bool = False


@dataclass(frozen=True)
class Cors:
    """`Access-Control-*` of an HTTP API. Source: AWS::ApiGatewayV2::Api Cors."""

    origins: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    max_age_s: int | None = None


@dataclass(frozen=True)
class Api:
    """An API. `name`: the logical id, with those of the stacks it is in. `stages`: stage variables by stage name."""

    id: str
    name: str
    stages: Mapping[str, Mapping[str, str]]
    routes: Mapping[str, Route]


@dataclass(frozen=True)
class WebSocketApi(Api):
    selection: str


@dataclass(frozen=True)
class HttpApi(Api):
    cors: Cors | None


Called = tuple[Integration, Authorizer | None]
"""What a route calls, and what it asks first."""


def apis(deployment: Deployment) -> Iterator[Api]:
    """Yield the APIs of one stack. A route that cannot be served says so itself, and in the stack's omissions."""
    for logical_id, properties in deployment.of_type("AWS::ApiGatewayV2::Api"):
        with located(where=logical_id, file=deployment.path.name):
            yield _api(deployment, logical_id, properties)
    yield from _urls(deployment)


def _api(deployment: Deployment, logical_id: str, properties: Mapping[str, Any]) -> Api:
    identifier, name = deployment.ref(logical_id), deployment.prefix + logical_id
    stages = {
        stage["StageName"]: stage.get("StageVariables", {})
        for _, stage in deployment.of_type("AWS::ApiGatewayV2::Stage")
        if stage["ApiId"] == identifier
    }
    if "Target" in properties:  # quick create, whose stage and route nobody writes down
        stages = {"$default": {}, **stages}
    if not stages:
        deployment.omit(logical_id, "AWS::ApiGatewayV2::Api", "it has no stage")
    routes = {route.key: route for route in _routes(deployment, logical_id, identifier, properties)}
    if properties.get("ProtocolType") == "WEBSOCKET":
        missing(properties, ["RouteSelectionExpression"])
        return WebSocketApi(identifier, name, stages, routes, properties["RouteSelectionExpression"])
    return HttpApi(identifier, name, stages, routes, _cors(properties))


def _urls(deployment: Deployment) -> Iterator[Api]:
    """Yield an HTTP API with one route for each function's URL."""
    for logical_id, properties in deployment.of_type("AWS::Lambda::Url"):
        made = functools.partial(_behind_url, deployment.ref(logical_id), properties)
        route = Route("$default", *_or_not_served(deployment, logical_id, "AWS::Lambda::Url", made))
        identifier, name = api_id(deployment.name, logical_id), deployment.prefix + logical_id
        yield HttpApi(identifier, name, {"$default": {}}, {route.key: route}, _cors_of(properties.get("Cors")))


def _behind_url(function: str, properties: Mapping[str, Any]) -> Called:
    if properties["AuthType"] != "NONE":
        raise NotServed(f"AuthType {properties['AuthType']} is not checked here, so nobody is let in")
    if properties.get("InvokeMode") == "RESPONSE_STREAM":
        raise NotServed("no function streams its response here")
    qualifier = f":{properties['Qualifier']}" if "Qualifier" in properties else ""
    return Integration(function + qualifier, proxy=True), None


def _or_not_served(deployment: Deployment, logical_id: str, what: str, make: Callable[[], Called]) -> Called:
    try:
        return make()
    except NotServed as reason:
        deployment.omit(logical_id, what, str(reason))
        return Integration("", proxy=False, not_served=str(reason)), None


def _route_or_not_served(deployment: Deployment, logical_id: str, key: str, make: Callable[[], Called]) -> Called:
    def made() -> Called:
        names = [name for name, _ in PATH_VARIABLE.findall(key)]
        if twice := {name for name in names if names.count(name) > 1}:
            raise NotServed(f"its path has {', '.join(sorted(twice))} twice, and a variable has one value")
        return make()

    return _or_not_served(deployment, logical_id, f"route {key}", made)


def _routes(deployment: Deployment, logical_id: str, api: str, properties: Mapping[str, Any]) -> Iterator[Route]:
    document = _Document(properties.get("Body") or {})
    for path, operations in document.paths.items():
        for method, operation in _mapping(operations, path).items():
            if method.upper() not in _METHODS and method != _ANY:  # as `parameters` and `summary`, which call nothing
                continue
            key = path if path == "$default" else f"{'ANY' if method == _ANY else method.upper()} {path}"
            made = functools.partial(document.called, _mapping(operation or {}, key))
            yield Route(key, *_route_or_not_served(deployment, logical_id, key, made))
    if "Target" in properties:  # quick create. Source: AWS::ApiGatewayV2::Api Target
        key = properties.get("RouteKey", "$default")

        def quickly_made() -> Called:
            return Integration(_called(properties["Target"]), proxy=True), None

        yield Route(key, *_route_or_not_served(deployment, logical_id, key, quickly_made))
    responses = [answer for _, answer in deployment.of_type("AWS::ApiGatewayV2::IntegrationResponse")]
    answered = {answer["RouteId"] for _, answer in deployment.of_type("AWS::ApiGatewayV2::RouteResponse")}
    is_http = properties.get("ProtocolType") != "WEBSOCKET"
    for route_id, route in deployment.of_type("AWS::ApiGatewayV2::Route"):
        if route["ApiId"] == api:
            yield _route(deployment, route_id, route, responses, is_http=is_http, replies=route_id in answered)


def _route(
    deployment: Deployment,
    logical_id: str,
    properties: Mapping[str, Any],
    responses: Sequence[Mapping[str, Any]],
    *,
    is_http: bool,
    replies: bool,
) -> Route:
    key = properties["RouteKey"]
    target = properties.get("Target", "").removeprefix("integrations/")
    answers = tuple(
        ResponseTemplates(
            key=response["IntegrationResponseKey"],
            template_selection=response.get("TemplateSelectionExpression", ""),
            templates=response.get("ResponseTemplates", {}),
        )
        for response in responses
        if response["IntegrationId"] == target
    )

    def made() -> Called:
        authorizer = _authorizer_of(deployment, properties, is_http=is_http)
        found = dict(deployment.of_type("AWS::ApiGatewayV2::Integration")).get(target)
        if found is None:
            raise NotServed("it has no Target that is an integration of this template")
        return _integration(found, answers, is_http=is_http), authorizer

    return Route(key, *_route_or_not_served(deployment, logical_id, key, made), replies)


def _integration(
    properties: Mapping[str, Any], answers: tuple[ResponseTemplates, ...], *, is_http: bool
) -> Integration:
    kind = properties["IntegrationType"]
    # AWS and MOCK are for WebSocket APIs only. Source: AWS::ApiGatewayV2::Integration IntegrationType.
    if kind not in (("AWS_PROXY",) if is_http else ("AWS", "AWS_PROXY", "MOCK")):
        raise NotServed(f"an integration of type {kind} is not served (AWS_PROXY to a function is)")
    if "IntegrationSubtype" in properties:
        raise NotServed(f"{properties['IntegrationSubtype']} is not called from here (a function is)")
    timeout_ms = properties.get("TimeoutInMillis")
    headers = properties.get("RequestParameters", {})
    return Integration(
        function="" if kind == "MOCK" else _called(properties.get("IntegrationUri", "")),
        proxy=kind == "AWS_PROXY",
        event=headers.get("integration.request.header.X-Amz-Invocation-Type") == "'Event'",
        template_selection=properties.get("TemplateSelectionExpression", ""),
        templates=properties.get("RequestTemplates", {}),
        passthrough=properties.get("PassthroughBehavior", Integration.passthrough),
        timeout_s=None if timeout_ms is None else float(timeout_ms) / 1000,
        answers=answers,
        payload=properties.get("PayloadFormatVersion", "1.0") if is_http else "",
    )


def _authorizer_of(deployment: Deployment, route: Mapping[str, Any], *, is_http: bool) -> Authorizer | None:
    """Return the authorizer of a route; None if it is open. Raise NotServed for a check that is not made here."""
    # What AWS protects is not open on a laptop either: a test against an open route proves nothing.
    kind = route.get("AuthorizationType", "NONE")
    if kind == "NONE":
        return None
    if kind != "CUSTOM":
        raise NotServed(f"authorization of type {kind} is not checked here, so nobody is let in")
    found = dict(deployment.of_type("AWS::ApiGatewayV2::Authorizer")).get(route.get("AuthorizerId", ""))
    if found is None:
        raise NotServed("its authorizer is not in this template, so nobody is let in")
    if found["AuthorizerType"] != "REQUEST":
        raise NotServed(f"a {found['AuthorizerType']} authorizer is not checked here, so nobody is let in")
    return Authorizer(
        function=_called(found.get("AuthorizerUri", "")),
        identity_sources=tuple(found.get("IdentitySource") or ()),
        simple_answers=bool(found.get("EnableSimpleResponses")),
        payload=found.get("AuthorizerPayloadFormatVersion", "1.0") if is_http else "",
    )


def _called(uri: str) -> str:
    """Return the ARN of the function in an integration's URI, which for an HTTP API may be the ARN itself."""
    match = _INVOCATION.search(uri)
    arn = match.group(1) if match else uri
    if not _FUNCTION.fullmatch(arn):
        raise NotServed(f"{uri or 'nothing'} is no function")
    return arn


class _Document:
    """An OpenAPI document as API Gateway imports it, which AWS calls a `Body`.

    Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-open-api.html
    """

    def __init__(self, body: Any) -> None:
        self.paths = _mapping(_mapping(body, "Body").get("paths", {}), "Body.paths")
        components = _mapping(body.get("components") or {}, "Body.components")
        self._schemes = _mapping(components.get("securitySchemes") or {}, "Body.components.securitySchemes")
        self._security = body.get("security", [])

    def called(self, operation: Mapping[str, Any]) -> Called:
        """Return what an operation calls, and what it asks first. Raise NotServed, TemplateError."""
        # The authorizer first: that nobody is let in is said before what would be called.
        authorizer = self._authorizer(operation)
        return self._integration(operation), authorizer

    def _integration(self, operation: Mapping[str, Any]) -> Integration:
        found = operation.get("x-amazon-apigateway-integration")
        if not isinstance(found, dict):
            raise NotServed("it has no x-amazon-apigateway-integration")
        if isinstance(found.get("$ref"), str):
            raise NotServed(f"its integration is {found['$ref']} (write it out)")
        names = {_upper(key): value for key, value in found.items()}
        names |= {"IntegrationType": str(found.get("type", "")).upper(), "IntegrationUri": found.get("uri", "")}
        shape = input_of("apigatewayv2.CreateIntegration")
        known = {name: value for name, value in names.items() if name in shape.members}
        return _integration(Fitted(known, shape).properties, (), is_http=True)

    def _authorizer(self, operation: Mapping[str, Any]) -> Authorizer | None:
        """Return the authorizer that an operation asks first; None if it is open."""
        requirements = operation.get("security", self._security)
        if not isinstance(requirements, list) or not all(isinstance(each, dict) for each in requirements):
            raise TemplateError(f"security must be a list of mappings, and is {shown(requirements)}")
        names = [name for requirement in requirements for name in requirement]
        if not names or names == ["NONE"]:  # SAM's name for no authorizer
            return None
        name = names[0]
        scheme = _mapping(self._schemes.get(name) or {}, name)
        found = _mapping(scheme.get("x-amazon-apigateway-authorizer") or {}, name)
        if found.get("type") != "request":
            kind = found.get("type") or scheme.get("x-amazon-apigateway-authtype") or "unknown"
            raise NotServed(f"{name} is an authorizer of type {kind}, which is not checked here, so nobody is let in")
        sources = found.get("identitySource", [])
        return Authorizer(
            function=_called(str(found.get("authorizerUri", ""))),
            identity_sources=tuple(map(str, sources if isinstance(sources, list) else str(sources).split(","))),
            simple_answers=str(found.get("enableSimpleResponses", "")).lower() == "true",
            payload=str(found.get("authorizerPayloadFormatVersion", "1.0")),
        )


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TemplateError(f"{where} must be a mapping, and is {shown(value)}")
    return value


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]


def _cors(properties: Mapping[str, Any]) -> Cors | None:
    """Return the CORS rules of an HTTP API, written in its properties or in its document."""
    written = (properties.get("Body") or {}).get("x-amazon-apigateway-cors")
    if written:
        # OpenAPI and CloudFormation spell the same fields with different first letters.
        shape = input_of("apigatewayv2.CreateApi").members["CorsConfiguration"]
        fields = {_upper(key): value for key, value in _mapping(written, "x-amazon-apigateway-cors").items()}
        written = Fitted(fields, shape).properties
    return _cors_of(properties.get("CorsConfiguration") or written)


def _cors_of(cors: Mapping[str, Any] | None) -> Cors | None:
    if not cors:
        return None
    return Cors(
        origins=tuple(cors.get("AllowOrigins", ())),
        methods=tuple(cors.get("AllowMethods", ())),
        headers=tuple(cors.get("AllowHeaders", ())),
        exposed=tuple(cors.get("ExposeHeaders", ())),
        credentials=bool(cors.get("AllowCredentials")),
        max_age_s=cors.get("MaxAge"),
    )
