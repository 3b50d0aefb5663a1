"""The APIs that a deployed template declares: written out as resources, or as an OpenAPI document."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.local.deployment import Deployment
from infra.local.intrinsics import TemplateError

_INVOCATION = re.compile(r"/functions/(.+)/invocations$")
_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH")


@dataclass(frozen=True)
class Authorizer:
    """`function`: an ARN. `identity_sources`: what must be there, or it is 401 without a call."""

    function: str
    identity_sources: tuple[str, ...]
    simple_answers: bool


@dataclass(frozen=True)
class ResponseTemplates:
    """An IntegrationResponse. `key`: `$default`, or a pattern of statuses between slashes."""

    key: str
    template_selection: str
    templates: Mapping[str, str]


@dataclass(frozen=True)
class Integration:
    """`function`: an ARN, or empty for a MOCK, which API Gateway answers by itself with one of `answers`.

    `templates`: mapping templates by key, for an integration that is no proxy.
    """

    function: str
    proxy: bool
    event: bool = False
    template_selection: str = ""
    templates: Mapping[str, str] = field(default_factory=dict)
    passthrough: str = "WHEN_NO_MATCH"
    timeout_s: float | None = None
    answers: tuple[ResponseTemplates, ...] = ()


@dataclass(frozen=True)
class Route:
    """`key`: `$connect`, `send`, `GET /items/{id}`, ... `replies`: it has a RouteResponse."""

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
    """`stages`: stage variables by stage name."""

    id: str
    stages: Mapping[str, Mapping[str, str]]
    routes: Mapping[str, Route]


@dataclass(frozen=True)
class WebSocketApi(Api):
    selection: str


@dataclass(frozen=True)
class HttpApi(Api):
    cors: Cors | None


def apis(deployment: Deployment) -> Iterator[Api]:
    for logical_id, properties in deployment.of_type("AWS::ApiGatewayV2::Api"):
        identifier = deployment.ref(logical_id)
        stages = {
            stage["StageName"]: stage.get("StageVariables", {})
            for _, stage in deployment.of_type("AWS::ApiGatewayV2::Stage")
            if stage["ApiId"] == identifier
        }
        routes = {route.key: route for route in _routes(deployment, identifier, properties)}
        if properties.get("ProtocolType") == "WEBSOCKET":
            yield WebSocketApi(identifier, stages, routes, properties["RouteSelectionExpression"])
        else:
            yield HttpApi(identifier, stages, routes, _cors(properties))


def _routes(deployment: Deployment, api: str, properties: Mapping[str, Any]) -> Iterator[Route]:
    yield from _openapi_routes(properties.get("Body") or {})
    integrations = dict(deployment.of_type("AWS::ApiGatewayV2::Integration"))
    responses = list(deployment.of_type("AWS::ApiGatewayV2::IntegrationResponse"))
    authorizers = dict(deployment.of_type("AWS::ApiGatewayV2::Authorizer"))
    answered = {answer["RouteId"] for _, answer in deployment.of_type("AWS::ApiGatewayV2::RouteResponse")}
    for logical_id, route in deployment.of_type("AWS::ApiGatewayV2::Route"):
        if route["ApiId"] == api:
            authorizer = authorizers.get(route.get("AuthorizerId", ""))
            target = route["Target"].removeprefix("integrations/")
            answers = tuple(_answer(response) for _, response in responses if response["IntegrationId"] == target)
            yield Route(
                key=route["RouteKey"],
                integration=_integration(logical_id, integrations[target], answers),
                authorizer=_authorizer(logical_id, authorizer) if authorizer else None,
                replies=logical_id in answered,
            )


def _answer(properties: Mapping[str, Any]) -> ResponseTemplates:
    return ResponseTemplates(
        key=properties["IntegrationResponseKey"],
        template_selection=properties.get("TemplateSelectionExpression", ""),
        templates=properties.get("ResponseTemplates", {}),
    )


def _integration(logical_id: str, properties: Mapping[str, Any], answers: tuple[ResponseTemplates, ...]) -> Integration:
    kind = properties["IntegrationType"]
    if kind not in ("AWS", "AWS_PROXY", "MOCK"):
        raise TemplateError(f"{logical_id}: an integration of type {kind} is not served.")
    if properties.get("PayloadFormatVersion") == "1.0" and "/" in properties.get("RouteKey", ""):
        raise TemplateError(f"{logical_id}: payload format 1.0 is not served.")
    timeout_ms = properties.get("TimeoutInMillis")
    headers = properties.get("RequestParameters", {})
    return Integration(
        function="" if kind == "MOCK" else _called(logical_id, properties["IntegrationUri"]),
        proxy=kind == "AWS_PROXY",
        event=headers.get("integration.request.header.X-Amz-Invocation-Type") == "'Event'",
        template_selection=properties.get("TemplateSelectionExpression", ""),
        templates=properties.get("RequestTemplates", {}),
        passthrough=properties.get("PassthroughBehavior", Integration.passthrough),
        timeout_s=None if timeout_ms is None else float(timeout_ms) / 1000,
        answers=answers,
    )


def _authorizer(logical_id: str, properties: Mapping[str, Any]) -> Authorizer:
    if properties["AuthorizerType"] != "REQUEST":
        raise TemplateError(f"{logical_id}: a {properties['AuthorizerType']} authorizer is not served.")
    return Authorizer(
        function=_called(logical_id, properties["AuthorizerUri"]),
        identity_sources=tuple(properties.get("IdentitySource") or ()),
        simple_answers=bool(properties.get("EnableSimpleResponses")),
    )


def _called(logical_id: str, uri: str) -> str:
    match = _INVOCATION.search(uri)
    if not match:
        raise TemplateError(f"{logical_id}: {uri} calls no Lambda function.")
    return match.group(1)


def _openapi_routes(body: Mapping[str, Any]) -> Iterator[Route]:
    schemes = body.get("components", {}).get("securitySchemes", {})
    for path, operations in body.get("paths", {}).items():
        for method, operation in operations.items():
            integration = operation["x-amazon-apigateway-integration"]
            timeout_ms = integration.get("timeoutInMillis")
            if integration.get("payloadFormatVersion") != "2.0":
                raise TemplateError(f"{path}: only payload format 2.0 is served.")
            yield Route(
                key=path if path == "$default" else f"{_method(method)} {path}",
                integration=Integration(
                    function=_called(path, integration["uri"]),
                    proxy=True,
                    timeout_s=None if timeout_ms is None else float(timeout_ms) / 1000,
                ),
                authorizer=_openapi_authorizer(operation, schemes),
            )


def _method(name: str) -> str:
    return name.upper() if name.upper() in _METHODS else "ANY"


def _openapi_authorizer(operation: Mapping[str, Any], schemes: Mapping[str, Any]) -> Authorizer | None:
    names = [name for requirement in operation.get("security", []) for name in requirement if name in schemes]
    if not names:
        return None
    properties = schemes[names[0]]["x-amazon-apigateway-authorizer"]
    if properties["type"] != "request" or properties.get("authorizerPayloadFormatVersion") != "2.0":
        raise TemplateError(f"{names[0]}: only REQUEST authorizers of payload format 2.0 are served.")
    return Authorizer(
        function=_called(names[0], properties["authorizerUri"]),
        identity_sources=tuple(properties.get("identitySource") or ()),
        simple_answers=bool(properties.get("enableSimpleResponses")),
    )


def _cors(properties: Mapping[str, Any]) -> Cors | None:
    """OpenAPI and CloudFormation spell the same fields with different first letters."""
    written = properties.get("CorsConfiguration") or (properties.get("Body") or {}).get("x-amazon-apigateway-cors")
    if not written:
        return None
    cors = {key[0].lower() + key[1:]: value for key, value in written.items()}
    return Cors(
        origins=tuple(cors.get("allowOrigins", ())),
        methods=tuple(cors.get("allowMethods", ())),
        headers=tuple(cors.get("allowHeaders", ())),
        exposed=tuple(cors.get("exposeHeaders", ())),
        credentials=bool(cors.get("allowCredentials")),
        max_age_s=None if cors.get("maxAge") is None else int(cors["maxAge"]),
    )
