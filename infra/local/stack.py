"""A deployed template as what the gateway serves: functions, APIs, routes."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.deployment import Deployment
from infra.local.intrinsics import TemplateError
from infra.local.template import REGION

_INVOCATION = re.compile(r"/functions/(.+)/invocations$")
_API_HOST = re.compile(rf"\b(https|wss)://(\w+)\.execute-api\.{REGION}\.amazonaws\.com")
_METHODS = ("GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH")
# What AWS would do with these is not done here, and is said when the gateway starts.
_NOT_SERVED = (
    "AWS::ApiGateway::RestApi",
    "AWS::Events::Rule",
    "AWS::Lambda::EventSourceMapping",
    "AWS::Scheduler::Schedule",
    "AWS::StepFunctions::StateMachine",
)


@dataclass(frozen=True)
class EventSettings:
    """How events of one function and qualifier are tried. Source: AWS::Lambda::EventInvokeConfig."""

    retries: int = 2
    max_age_s: float = 21600.0
    on_success: str | None = None
    on_failure: str | None = None


@dataclass(frozen=True)
class Function:
    name: str
    arn: str
    handler: str
    runtime: str
    code: Path
    layers: tuple[Path, ...]
    environment: Mapping[str, str]
    timeout_s: float
    memory_mb: int
    reserved_concurrency: int | None
    # Qualifiers by which it may be called, and the version each runs; `$LATEST` is always there.
    qualifiers: Mapping[str, str]
    snap_start: bool
    json_logs: bool
    events: Mapping[str, EventSettings]

    def watched(self) -> Iterator[Path]:
        yield self.code
        yield from self.layers


@dataclass(frozen=True)
class Authorizer:
    """`function`: an ARN. `identity_sources`: what must be there, or it is 401 without a call."""

    function: str
    identity_sources: tuple[str, ...]
    simple_answers: bool


@dataclass(frozen=True)
class Integration:
    """`function`: an ARN. `templates`: mapping templates by key, for an integration that is no proxy."""

    function: str
    proxy: bool
    event: bool = False
    template_selection: str = ""
    templates: Mapping[str, str] = field(default_factory=dict)
    passthrough: str = "WHEN_NO_MATCH"
    timeout_s: float | None = None


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


@dataclass(frozen=True)
class Stack:
    """What one template declares, nested stacks included. `outputs` are the root template's.

    `functions` by name. `resources`: what `Ref` gives, by logical id; a nested stack's are found as `Nested.Id`.
    """

    name: str
    functions: Mapping[str, Function]
    websocket_apis: tuple[WebSocketApi, ...]
    http_apis: tuple[HttpApi, ...]
    resources: Mapping[str, str]
    outputs: Mapping[str, str]
    not_served: tuple[str, ...]


def build(deployment: Deployment, address: str) -> Stack:
    """Read the stack off a deployment.

    `address` is the gateway's `host:port`, put wherever a value names the host of an API of this stack.
    Raises TemplateError for what cannot be served at all.
    """
    everywhere = list(deployment.everywhere())
    rewrite = _rewriter(everywhere, address)
    functions = [function for each in everywhere for function in _functions(each, rewrite)]
    apis = [api for each in everywhere for api in _apis(each)]
    return Stack(
        name=deployment.name,
        functions={function.name: function for function in functions},
        websocket_apis=tuple(api for api in apis if isinstance(api, WebSocketApi)),
        http_apis=tuple(api for api in apis if isinstance(api, HttpApi)),
        resources={each.prefix + name: str(each.ref(name)) for each in everywhere for name in each.resources},
        outputs={name: rewrite(str(value)) for name, value in deployment.outputs()},
        not_served=tuple(_not_served(everywhere)),
    )


def _rewriter(deployments: Iterable[Deployment], address: str) -> Callable[[str], str]:
    """Production code differs from local code by endpoint addresses only, and this is where they change."""
    apis = {each.ref(logical_id) for each in deployments for logical_id, _ in each.of_type("AWS::ApiGatewayV2::Api")}

    def local(match: re.Match[str]) -> str:
        scheme, api = match.groups()
        return f"{'ws' if scheme == 'wss' else 'http'}://{address}" if api in apis else match.group()

    return lambda text: _API_HOST.sub(local, text)


def _functions(deployment: Deployment, rewrite: Callable[[str], str]) -> Iterator[Function]:
    layers = {
        deployment.ref(logical_id): _layer_path(deployment.directory / properties["Content"]["S3Key"])
        for logical_id, properties in deployment.of_type("AWS::Lambda::LayerVersion")
    }
    for logical_id, properties in deployment.of_type("AWS::Lambda::Function"):
        variables = properties.get("Environment", {}).get("Variables", {})
        name = deployment.ref(logical_id)
        yield Function(
            name=name,
            arn=deployment.attribute(logical_id, "Arn"),
            handler=properties["Handler"],
            runtime=properties.get("Runtime", "python3"),
            code=_code_path(deployment, logical_id, properties),
            layers=tuple(layers[layer] for layer in properties.get("Layers", []) if layer in layers),
            environment={key: rewrite(_variable(value)) for key, value in variables.items()},
            timeout_s=float(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
            reserved_concurrency=_whole(properties.get("ReservedConcurrentExecutions")),
            qualifiers=_qualifiers(deployment, name),
            snap_start=properties.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions",
            json_logs=properties.get("LoggingConfig", {}).get("LogFormat") == "JSON",
            events=_event_settings(deployment, name),
        )


def _code_path(deployment: Deployment, logical_id: str, properties: Mapping[str, Any]) -> Path:
    if not properties.get("Runtime", "python3").startswith("python"):
        raise TemplateError(f"{logical_id}: only Python functions are served, not {properties['Runtime']}.")
    path = deployment.directory / str(properties["Code"].get("S3Key", ""))
    if "S3Key" not in properties["Code"] or not path.is_dir():
        raise TemplateError(f"{logical_id}: CodeUri must be a folder, and {path} is none.")
    return path


def _layer_path(content: Path) -> Path:
    """AWS unpacks a layer to /opt and puts /opt/python on the path; a source folder may lack that level."""
    return content / "python" if (content / "python").is_dir() else content


def _variable(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _qualifiers(deployment: Deployment, function: str) -> dict[str, str]:
    qualifiers = {"$LATEST": "$LATEST"}
    for logical_id, _ in deployment.of_type("AWS::Lambda::Version"):
        if deployment.ref(logical_id).split(":")[6] == function:
            qualifiers["1"] = "1"
    for _, properties in deployment.of_type("AWS::Lambda::Alias"):
        if properties["FunctionName"] == function:
            qualifiers[properties["Name"]] = properties["FunctionVersion"]
    return qualifiers


def _event_settings(deployment: Deployment, function: str) -> dict[str, EventSettings]:
    return {
        properties["Qualifier"]: EventSettings(
            retries=int(properties.get("MaximumRetryAttempts", EventSettings.retries)),
            max_age_s=float(properties.get("MaximumEventAgeInSeconds", EventSettings.max_age_s)),
            on_success=_destination(properties, "OnSuccess"),
            on_failure=_destination(properties, "OnFailure"),
        )
        for _, properties in deployment.of_type("AWS::Lambda::EventInvokeConfig")
        if properties["FunctionName"] == function
    }


def _destination(properties: Mapping[str, Any], outcome: str) -> str | None:
    arn: str | None = properties.get("DestinationConfig", {}).get(outcome, {}).get("Destination")
    return arn


def _apis(deployment: Deployment) -> Iterator[Api]:
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
    authorizers = dict(deployment.of_type("AWS::ApiGatewayV2::Authorizer"))
    answered = {answer["RouteId"] for _, answer in deployment.of_type("AWS::ApiGatewayV2::RouteResponse")}
    for logical_id, route in deployment.of_type("AWS::ApiGatewayV2::Route"):
        if route["ApiId"] == api:
            authorizer = authorizers.get(route.get("AuthorizerId", ""))
            yield Route(
                key=route["RouteKey"],
                integration=_integration(logical_id, integrations[route["Target"].removeprefix("integrations/")]),
                authorizer=_authorizer(logical_id, authorizer) if authorizer else None,
                replies=logical_id in answered,
            )


def _integration(logical_id: str, properties: Mapping[str, Any]) -> Integration:
    kind = properties["IntegrationType"]
    if kind not in ("AWS", "AWS_PROXY"):
        raise TemplateError(f"{logical_id}: an integration of type {kind} is not served.")
    if properties.get("PayloadFormatVersion") == "1.0" and "/" in properties.get("RouteKey", ""):
        raise TemplateError(f"{logical_id}: payload format 1.0 is not served.")
    timeout_ms = properties.get("TimeoutInMillis")
    headers = properties.get("RequestParameters", {})
    return Integration(
        function=_called(logical_id, properties["IntegrationUri"]),
        proxy=kind == "AWS_PROXY",
        event=headers.get("integration.request.header.X-Amz-Invocation-Type") == "'Event'",
        template_selection=properties.get("TemplateSelectionExpression", ""),
        templates=properties.get("RequestTemplates", {}),
        passthrough=properties.get("PassthroughBehavior", Integration.passthrough),
        timeout_s=None if timeout_ms is None else float(timeout_ms) / 1000,
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
        max_age_s=_whole(cors.get("maxAge")),
    )


def _not_served(deployments: Iterable[Deployment]) -> Iterator[str]:
    for deployment in deployments:
        for logical_id, resource in deployment.resources.items():
            if resource["Type"] in _NOT_SERVED:
                yield f"{logical_id} ({resource['Type']})"
