"""Mapping templates: API Gateway's dialect of the Velocity Template Language.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
"""

import base64
import json
import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

from airspeed.operators import Template, TemplateError  # type: ignore[import-untyped]

_SHORT_ESCAPES = {"\b": "\\b", "\n": "\\n", "\t": "\\t", "\f": "\\f", "\r": "\\r"}
_STEP = re.compile(r"\.(\w+)|\['([^']+)'\]|\[(\d+)\]")


class MappingError(Exception):
    """The template cannot be evaluated, or what it gives is not JSON."""


def render(template: str, body: str, context: Mapping[str, Any], stage_variables: Mapping[str, str]) -> bytes:
    """Return the integration's request for one message. `context` is `$context`. Raise MappingError."""
    namespace = {
        "input": _Input(body),
        "util": _Util(),
        "context": dict(context),
        "stageVariables": dict(stage_variables),
    }
    try:
        text: str = Template(template).merge(namespace)
        json.loads(text)  # Lambda takes nothing else as an event
    except TemplateError as error:
        raise MappingError(str(error)) from error
    except ValueError as error:
        raise MappingError(f"The mapping template gave no JSON: {error}") from error
    return text.encode()


class _Input:
    """`$input`"""

    def __init__(self, body: str) -> None:
        self.body = body

    def path(self, expression: str) -> Any:
        """Follow `$.a.b[0]`; what is not there is None."""
        value = _parsed(self.body)
        for name, quoted, index in _STEP.findall(expression.removeprefix("$")):
            key: Any = int(index) if index else name or quoted
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def json(self, expression: str) -> str:
        return json.dumps(self.path(expression), separators=(",", ":"))


class _Util:
    """`$util`"""

    def escapeJavaScript(self, text: Any) -> str:  # noqa: N802
        """Escape as Apache Commons Lang does, single quotes and slashes too."""
        # Java's strings are UTF-16, so an emoji is escaped as two units.
        units = str(text).encode("utf-16-be", "surrogatepass")
        return "".join(_escaped(int.from_bytes(units[at : at + 2], "big")) for at in range(0, len(units), 2))

    def parseJson(self, text: str) -> Any:  # noqa: N802
        return _parsed(text)

    def urlEncode(self, text: str) -> str:  # noqa: N802
        return urllib.parse.quote_plus(text)

    def urlDecode(self, text: str) -> str:  # noqa: N802
        return urllib.parse.unquote_plus(text)

    def base64Encode(self, text: str) -> str:  # noqa: N802
        return base64.b64encode(text.encode()).decode()

    def base64Decode(self, text: str) -> str:  # noqa: N802
        return base64.b64decode(text).decode()


def _escaped(unit: int) -> str:
    character = chr(unit)
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if character in "\"'\\/":  # `\'` is no JSON: a template has to mend it with `replaceAll`
        return "\\" + character
    return character if 0x20 <= unit <= 0x7F else f"\\u{unit:04X}"


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {}
