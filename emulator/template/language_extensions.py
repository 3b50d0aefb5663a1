"""`Fn::ForEach` of AWS::LanguageExtensions: loops that are unrolled before anything else reads the template.

The other functions of that transform are the resolver's. The libraries that unroll it are cfn-lint and the SAM command
line, each of which would bring more packages than the local gateway has.
Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-foreach.html
"""

import re
from collections.abc import Callable
from typing import Any

from emulator.template.intrinsics import TemplateError, as_text, located, shown

LOOP = "Fn::ForEach::"
NAME = "AWS::LanguageExtensions"
_NOT_ALPHANUMERIC = re.compile(r"[^A-Za-z0-9]")


def unroll(value: Any, resolve: Callable[[Any], Any]) -> Any:
    """Return the value with every loop unrolled. `resolve` evaluates collections. Raise TemplateError."""
    if isinstance(value, list):
        return [unroll(item, resolve) for item in value]
    if not isinstance(value, dict):
        return value
    unrolled: dict[str, Any] = {}
    for key, item in value.items():
        made = _rounds(key, item, resolve) if key.startswith(LOOP) else {key: unroll(item, resolve)}
        if twice := unrolled.keys() & made.keys():
            raise TemplateError(f"{key} makes {', '.join(sorted(twice))} a second time")
        unrolled |= made
    return unrolled


def _rounds(key: str, loop: Any, resolve: Callable[[Any], Any]) -> dict[str, Any]:
    match loop:
        case [str(identifier), collection, dict(fragment)]:
            made: dict[str, Any] = {}
            with located(where=key):
                items = resolve(collection)
                if not isinstance(items, list):
                    raise TemplateError(f"the collection must be a list, and is {shown(items)}")
                for item in [as_text(each) for each in items]:
                    made |= unroll(_substituted(fragment, identifier, item), resolve)
            return made
        case _:
            raise TemplateError(f"{key} takes [identifier, collection, {{key: value}}], not {shown(loop)}")


def _substituted(value: Any, identifier: str, item: str) -> Any:
    """Return a fragment of a loop with an item in the place of the identifier."""
    if isinstance(value, str):
        # `&{}` is for logical ids, which have nothing but letters and digits. Source: the page above.
        plain = _NOT_ALPHANUMERIC.sub("", item)
        return value.replace(f"${{{identifier}}}", item).replace(f"&{{{identifier}}}", plain)
    if isinstance(value, list):
        return [_substituted(each, identifier, item) for each in value]
    if not isinstance(value, dict):
        return value
    if value == {"Ref": identifier}:
        return item
    made = {_substituted(key, identifier, item): _substituted(each, identifier, item) for key, each in value.items()}
    match made:
        # With nothing left to put in it is text: SAM takes no function for a path.
        case {"Fn::Sub": str(text)} if "${" not in text:
            return text
        case _:
            return made
