"""Small templates, one feature each, and what the emulator says to them.

`python -m tests.emulator.template.corpus` writes the tables of docs/emulator.md.
"""

import functools
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from emulator.services.services import Services
from emulator.template.apis import HttpApi, Route
from emulator.template.deployment import Deployment
from emulator.template.functions import Function
from emulator.template.intrinsics import TemplateError
from emulator.template.resource_types import NEEDS_NOTHING, NOT_SERVED, SERVED
from emulator.template.stack import Stack, build

FOLDER = Path(__file__).parent / "templates"
DOCUMENT = Path(__file__).parents[3] / "docs" / "emulator.md"
_TABLES = re.compile(r"(?<=<!-- tables -->\n).*(?=<!-- end of tables -->)", re.DOTALL)
_SAID = "said.yaml"
_PARTS = ("openapi.yaml", _SAID)
ADDRESS = "127.0.0.1:8080"


def templates() -> list[Path]:
    return sorted(path for path in FOLDER.glob("*.yaml") if path.name not in _PARTS)


@functools.cache
def said() -> dict[str, list[str]]:
    """Return what the emulator is expected to say, by the template's name."""
    expected: dict[str, list[str]] = yaml.safe_load((FOLDER / _SAID).read_text(encoding="utf-8"))
    return expected


def deploy(path: Path, stack: str, services: Services) -> tuple[Deployment, Stack]:
    """Deploy a template within this process. Raise TemplateError."""
    with tempfile.TemporaryDirectory() as unpacked:
        deployment = Deployment(path, stack, {}, services)
        deployment.deploy()
        return deployment, build(deployment, ADDRESS, Path(unpacked))


def say(path: Path, services: Services) -> list[str]:
    """Return the error, or what is not served, then what is: data, routes, functions with their settings, outputs."""
    try:
        deployment, stack = deploy(path, path.stem, services)
    except TemplateError as error:
        return [f"error: {error}"]
    made = [
        each.prefix + logical_id
        for each in deployment.everywhere()
        for logical_id, resource in each.resources.items()
        if services.holds(resource["Type"])
    ]
    lines = [*stack.notices, *made, *_routes(stack), *_functions(stack)]
    lines += [f"{name} = {value}" for name, value in stack.outputs.items()]
    return [line.replace(f"{path.stem}-", "") for line in lines]


def _routes(stack: Stack) -> Iterator[str]:
    for api in (*stack.websocket_apis, *stack.http_apis):
        for stage in api.stages:
            protocol = "http" if isinstance(api, HttpApi) else "ws"
            yield from sorted(f"{protocol} /{stage}: {key} -> {_target(route)}" for key, route in api.routes.items())


def _target(route: Route) -> str:
    if route.integration.not_served:
        return "501"
    name = route.integration.function.split(":")[6]
    asked = f", asking {route.authorizer.function.split(':')[6]}" if route.authorizer else ""
    return f"{name}{asked}{', payload 1.0' if route.integration.payload == '1.0' else ''}"


def _functions(stack: Stack) -> Iterator[str]:
    for function in sorted(stack.functions.values(), key=lambda function: function.name):
        yield " ".join([f"{function.name}:", "not served" if function.not_served else "runs", *_settings(function)])


def _settings(function: Function) -> Iterator[str]:
    if function.timeout_s != 3:
        yield f"{function.timeout_s:g} s"
    if len(function.qualifiers) > 1:
        yield f"qualifiers {','.join(function.qualifiers)}"
    if function.layers:
        yield f"{len(function.layers)} layer"
    yield from (f"{name}={value}" for name, value in function.environment.items())


def tables() -> str:
    return "\n".join(
        [
            "## Types of resources\n",
            "Served, with the properties that have an effect:\n",
            *_table(
                ("type", "properties"), ((kind, ", ".join(sorted(SERVED[kind].obeyed))) for kind in sorted(SERVED))
            ),
            "\nNeeds nothing on a laptop, so nothing is said of it:\n",
            *_table(("type", "why"), sorted(NEEDS_NOTHING.items())),
            "\nNot served, and said when the gateway starts; so is every type that is in none of these tables:\n",
            *_table(("type", "what is said"), sorted(NOT_SERVED.items())),
            "\n## What it says to which template\n",
            "Each row is a template in `tests/emulator/templates`, and a test.\n",
            *_table(("template", "feature", "what is said, and what is served"), map(_row, templates())),
            "",
        ]
    )


def _row(path: Path) -> tuple[str, str, str]:
    lines = "<br>".join(f"`{line}`" for line in said()[path.stem])
    return path.stem, feature(path), lines


def feature(path: Path) -> str:
    """Return what a template is about, and the document that says so."""
    first = next(line for line in path.read_text(encoding="utf-8").splitlines() if "Source: " in line)
    return first.strip().removeprefix("# ").removeprefix('"Description": "').removesuffix('",')


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def with_tables(document: str) -> str:
    return _TABLES.sub(lambda _: tables(), document)


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
