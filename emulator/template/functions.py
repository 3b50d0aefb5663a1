"""The functions that a deployed template declares."""

import importlib.metadata
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulator.template.conversions import as_number
from emulator.template.deployment import Deployment
from emulator.template.omissions import NotServed
from emulator.template.template import local_path

_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What a path or a .zip file may be instead of one that can be read: damaged, or locked, which is a RuntimeError.
_UNREADABLE = (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class EventSettings:
    """How events of one function and qualifier are tried. Source: AWS::Lambda::EventInvokeConfig."""

    retries: int = 2
    max_age_s: float = 21600.0
    on_success: str | None = None
    on_failure: str | None = None


@dataclass(frozen=True)
class Function:
    """A function that a template declares. `not_served`: why it cannot run here; empty if it can."""

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
    not_served: str = ""

    @property
    def refusal(self) -> str:
        """What a caller is told; empty if the function can run."""
        return f"Not served: {self.name}: {self.not_served}" if self.not_served else ""

    def watched(self) -> Iterator[Path]:
        if not self.not_served:
            yield self.code
            yield from self.layers


def functions(deployment: Deployment, rewrite: Callable[[str], str], unpacked: Path) -> Iterator[Function]:
    """Yield the functions of one stack. Code that is no folder yet is written below `unpacked`."""
    layers = dict(_layers(deployment, unpacked))
    for logical_id, properties in deployment.of_type("AWS::Lambda::Function"):
        code, not_served = deployment.directory, ""
        try:
            code = _code_path(deployment, logical_id, properties, unpacked)
        except NotServed as reason:
            not_served = str(reason)
            deployment.omit(logical_id, "AWS::Lambda::Function", not_served)
        variables = properties.get("Environment", {}).get("Variables", {})
        reserved = properties.get("ReservedConcurrentExecutions")
        name = deployment.ref(logical_id)
        if not not_served:
            _say_what_lacks(deployment, logical_id, properties, code, layers)
        yield Function(
            name=name,
            arn=deployment.attribute(logical_id, "Arn"),
            handler=properties.get("Handler", ""),
            runtime=properties.get("Runtime", "python3"),
            code=code,
            layers=tuple(layers[layer] for layer in properties.get("Layers", []) if layer in layers),
            environment={key: rewrite(value) for key, value in variables.items()},
            # Lambda's own defaults. Source: AWS::Lambda::Function Timeout, MemorySize.
            timeout_s=float(properties.get("Timeout", 3)),
            memory_mb=int(properties.get("MemorySize", 128)),
            reserved_concurrency=None if reserved is None else int(as_number(reserved, "ReservedConcurrentExecutions")),
            qualifiers=_qualifiers(deployment, name),
            snap_start=properties.get("SnapStart", {}).get("ApplyOn") == "PublishedVersions",
            json_logs=properties.get("LoggingConfig", {}).get("LogFormat") == "JSON",
            events=_event_settings(deployment, name),
            not_served=not_served,
        )


def _layers(deployment: Deployment, unpacked: Path) -> Iterator[tuple[str, Path]]:
    for logical_id, properties in deployment.of_type("AWS::Lambda::LayerVersion"):
        try:
            content = _content(deployment, logical_id, properties["Content"], unpacked)
            # AWS unpacks a layer to /opt and puts /opt/python on the path; a source folder may lack that level.
            python = content / "python"
            yield deployment.ref(logical_id), python if python.is_dir() else content
        except NotServed as reason:
            deployment.omit(logical_id, "AWS::Lambda::LayerVersion", str(reason))


def _code_path(deployment: Deployment, logical_id: str, properties: Mapping[str, Any], unpacked: Path) -> Path:
    runtime = properties.get("Runtime", "python3")
    if properties.get("PackageType") == "Image" or "ImageUri" in properties["Code"]:
        raise NotServed("container images are not run here")
    if not runtime.startswith("python"):
        raise NotServed(f"only Python functions run here, not {runtime}")
    if "Handler" not in properties:
        raise NotServed("Handler is missing (as app.handler)")
    return _content(deployment, logical_id, properties["Code"], unpacked)


def _content(deployment: Deployment, logical_id: str, code: Mapping[str, Any], unpacked: Path) -> Path:
    """Return the folder of a `Code` or `Content`. Raise NotServed."""
    folder = unpacked / f"{deployment.prefix}{logical_id}"
    if "ZipFile" in code:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.py").write_text(code["ZipFile"], encoding="utf-8")
        return folder
    path = local_path(code)
    if path is None:
        raise NotServed("its code is in S3 (name a folder beside the template)")
    try:
        content = (deployment.directory / path).resolve()
        if content.is_dir():
            return content
        with zipfile.ZipFile(content) as archive:
            archive.extractall(folder)  # which leaves `..` out of names. Source: Python's zipfile
    except _UNREADABLE as error:
        raise NotServed(f"{path} is neither a folder nor a .zip file beside the template") from error
    return folder


def _say_what_lacks(
    deployment: Deployment, logical_id: str, properties: Mapping[str, Any], code: Path, layers: Mapping[str, Path]
) -> None:
    """Omit what a function names and does not have: layers of other templates, and packages."""
    # The function runs without them: often enough it needs none of them on this machine.
    for layer in properties.get("Layers", []):
        if layer not in layers:
            reason = "only layers of this template are here (install into .venv what it holds)"
            deployment.omit(logical_id, f"layer {layer}", reason)
    for folder in (code, *(layers[layer] for layer in properties.get("Layers", []) if layer in layers)):
        if lacking := ", ".join(_not_installed(folder / "requirements.txt")):
            reason = "is not installed in .venv, and `sam build` is not run here"
            deployment.omit(logical_id, f"requirements.txt: {lacking}", reason)


def _not_installed(requirements: Path) -> Iterator[str]:
    """Yield the names of requirements that are not installed."""
    try:
        lines = requirements.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        name = _REQUIREMENT.match(line.strip())
        # Those under a condition are left out: most are for another system or an older Python.
        if name is None or ";" in line:
            continue
        try:
            importlib.metadata.distribution(name.group())
        except importlib.metadata.PackageNotFoundError:
            yield name.group()


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
