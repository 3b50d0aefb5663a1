"""The functions that a deployed template declares."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.deployment import Deployment
from infra.local.intrinsics import TemplateError


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


def functions(deployment: Deployment, rewrite: Callable[[str], str]) -> Iterator[Function]:
    layers = {
        deployment.ref(logical_id): _layer_path(deployment.directory / properties["Content"]["S3Key"])
        for logical_id, properties in deployment.of_type("AWS::Lambda::LayerVersion")
    }
    for logical_id, properties in deployment.of_type("AWS::Lambda::Function"):
        code = _code_path(deployment, logical_id, properties)
        variables = properties.get("Environment", {}).get("Variables", {})
        reserved = properties.get("ReservedConcurrentExecutions")
        name = deployment.ref(logical_id)
        yield Function(
            name=name,
            arn=deployment.attribute(logical_id, "Arn"),
            handler=properties["Handler"],
            runtime=properties.get("Runtime", "python3"),
            code=code,
            layers=tuple(layers[layer] for layer in properties.get("Layers", []) if layer in layers),
            environment={key: rewrite(_variable(value)) for key, value in variables.items()},
            timeout_s=float(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
            reserved_concurrency=None if reserved is None else int(reserved),
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
