"""Readable pages of this project's contract: frames by `asyncapi.yaml`, HTTP calls by `openapi.yaml`."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import yaml  # type: ignore[import-untyped]
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

PROTOCOL = Path(__file__).parents[1] / "protocol"
METHODS = ("get", "post", "put", "delete")
Document = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of a frame or a body, named by its path."""

    name: str
    type: str
    is_required: bool
    description: str


@dataclass(frozen=True)
class Entry:
    """What a page says of one frame, or of one call."""

    anchor: str
    title: str
    summary: str
    description: str
    tables: list[tuple[str, list[Field]]]
    examples: list[tuple[str, str]]


def routes(protocol: Path = PROTOCOL) -> list[BaseRoute]:
    """Return the routes of the pages, and of the documents that they are made of."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True)
    environment.filters["prose"] = _prose

    def page(_: Request) -> Response:
        template = environment.get_template("protocol_pages.html")
        socket, http = (_read(protocol / name) for name in ("asyncapi.yaml", "openapi.yaml"))
        told = template.render(socket=socket["info"], http=http["info"], parts=[*frames(socket), calls(http)])
        return HTMLResponse(told, headers={"content-security-policy": "script-src 'none'"})

    return [Route("/protocol", page), Mount("/protocol", StaticFiles(directory=protocol))]


def frames(document: Document) -> Iterator[tuple[str, list[Entry]]]:
    """Yield who says what over the socket."""
    for operation in document["operations"].values():
        entries = []
        for each in operation["messages"]:
            name = each["$ref"].rpartition("/")[2]
            message = document["components"]["messages"][name]
            fields = list(_fields(document, message["payload"]))
            examples = [("", _json(example["payload"])) for example in message["examples"]]
            described = message["summary"], message.get("description", "")
            entries.append(Entry(name, name, *described, [("", fields)], examples))
        yield operation["title"], entries


def calls(document: Document) -> tuple[str, list[Entry]]:
    """Return the HTTP calls."""
    operations = (
        (f"{method.upper()} {path}", each)
        for path, methods in document["paths"].items()
        for method, each in methods.items()
        if method in METHODS
    )
    entries = []
    for call, operation in operations:
        tables, examples = [], []
        bodies = [("Body", operation["requestBody"])] if "requestBody" in operation else []
        bodies += [
            (f"{status}: {_resolved(document, answer)['description']}", answer)
            for status, answer in operation["responses"].items()
            if status != "default"
        ]
        for title, body in bodies:
            for kind, content in _resolved(document, body).get("content", {}).items():
                tables.append((f"{title} ({kind})", list(_fields(document, content["schema"]))))
                if "example" in content:
                    examples.append((title, _json(content["example"])))
        described = operation["summary"], operation.get("description", "")
        entries.append(Entry(operation["operationId"], call, *described, tables, examples))
    return "HTTP calls", entries


def _fields(document: Document, schema: Document, before: str = "") -> Iterator[Field]:
    """Yield the fields of an object, and below each object or list those of its own."""
    properties, required = _properties(document, schema)
    for name, given in properties.items():
        field = _resolved(document, given)
        description = given.get("description") or field.get("description", "")
        yield Field(before + name, _type(field), name in required, str(description))
        items = _resolved(document, field.get("items", {}))
        for inner, end in ((field, "."), (items, "[].")):
            if "properties" in inner:
                yield from _fields(document, inner, f"{before}{name}{end}")


def _properties(document: Document, schema: Document) -> tuple[dict[str, Document], set[str]]:
    schema = _resolved(document, schema)
    found: dict[str, Document] = {}
    required = set(schema.get("required", ()))
    for part in schema.get("allOf", ()):
        properties, more = _properties(document, part)
        # A later part says more of a field that an earlier one has.
        found |= {name: {**found.get(name, {}), **field} for name, field in properties.items()}
        required |= more
    return found | schema.get("properties", {}), required


def _resolved(document: Document, schema: Document) -> Document:
    while "$ref" in schema:
        found: Any = document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    return schema


def _type(schema: Document) -> str:
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return ", ".join(json.dumps(each) for each in schema["enum"])
    kinds = schema.get("type", "object" if "properties" in schema else "any")
    return " or ".join([kinds] if isinstance(kinds, str) else kinds)


def _prose(text: str) -> Markup:
    """Return a description as HTML: what stands between backticks is code."""
    said = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(each) if at % 2 else each for at, each in enumerate(said))


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _read(path: Path) -> Document:
    found: Document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found
