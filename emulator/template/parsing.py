"""The text of a template as values: JSON, or YAML as CloudFormation and the SAM command line read it.

Source: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/template-formats.html
"""

import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from emulator.template.intrinsics import TemplateError, as_text, located
from emulator.template.omissions import Omission

# Deeper than AWS's own examples by far; a YAML alias can stand inside what it names, which has no end.
_DEEPEST = 60
# CloudFormation takes a template of 1 MB, and its 500 resources have a tenth of this.
_MOST = 100_000
_SHOWN = 3
_HALVES = re.compile("[\ud800-\udfff]")
_TAG = "tag:yaml.org,2002:"
_AS_TEXT = (f"{_TAG}timestamp", f"{_TAG}value")


def parse(path: Path, omit: Callable[[Omission], None]) -> Any:
    """Return the file's value: mappings with text for keys, lists and scalars. Raise TemplateError, OSError."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a byte order mark
        return _plain(_json(text) if text.lstrip().startswith("{") else _yaml(text, omit), (), itertools.count())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = f"is no YAML: {error.problem or error.context} (mend this line)"
        raise TemplateError(what, where=where) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TemplateError(f"is no text that YAML can hold: {error}") from error
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"is no YAML that can be read: {error}") from error


def _json(text: str) -> Any:
    """Return the value of a text that begins with a brace."""
    # As JSON first: YAML takes nearly all of it, but no tabs before a line.
    try:
        return json.loads(text)
    except ValueError:  # A mapping of YAML may begin with a brace, too.
        return _yaml(text, lambda _: None)


def _yaml(text: str, omit: Callable[[Omission], None]) -> Any:
    loader = _Loader(text)
    loader.omit = omit
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    """A loader for which dates and keys are text, and `!Name` is a function of CloudFormation's."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _AS_TEXT]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    omit: Callable[[Omission], None]

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        written: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value != "<<":  # one mapping may merge several
                if key.value in written:
                    reason = "it is written twice in one mapping, and the last is read, as by the SAM command line"
                    self.omit(Omission(key.value, f"line {key.start_mark.line + 1}", reason))
                written.add(key.value)
        return node

    def flatten_mapping(self, node: Any) -> None:
        super().flatten_mapping(node)
        # Merges of merges multiply here, long before `_plain` counts what they stand for.
        if len(node.value) > _MOST:
            raise _too_many()

    def function(self, suffix: str, node: Any) -> dict[str, Any]:
        name = suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}"
        if isinstance(node, yaml.ScalarNode):
            text = self.construct_scalar(node)
            return {name: text.split(".", 1) if name == "Fn::GetAtt" else text}
        if isinstance(node, yaml.SequenceNode):
            return {name: self.construct_sequence(node, deep=True)}
        return {name: self.construct_mapping(node, deep=True)}


_Loader.add_constructor(f"{_TAG}timestamp", _Loader.construct_yaml_str)
_Loader.add_multi_constructor("!", _Loader.function)


def _too_many() -> TemplateError:
    return TemplateError(f"stands for more than {_MOST:,} values (do its aliases name what has aliases in it?)")


def _plain(value: Any, path: tuple[str, ...], copied: Iterator[int]) -> Any:
    """Copy a value, so that what YAML's aliases share is nobody's twice. Raise TemplateError for what JSON lacks.

    `copied` counts the values.
    """
    if next(copied) > _MOST:
        raise _too_many()
    with located(where=".".join(path[:_SHOWN])):
        if len(path) > _DEEPEST:
            raise TemplateError(f"is nested deeper than {_DEEPEST} levels (does an alias stand inside its own anchor?)")
        if isinstance(value, dict):
            named = (("null" if key is None else as_text(key), item) for key, item in value.items())
            return {_text(name): _plain(item, (*path, name), copied) for name, item in named}
        if isinstance(value, list):
            return [_plain(item, (*path, str(n)), copied) for n, item in enumerate(value)]
        if isinstance(value, str):
            return _text(value)
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return value
        raise TemplateError(f"a {type(value).__name__} is no value that a template can have")


def _text(value: str) -> str:
    if _HALVES.search(value):
        raise TemplateError("has half of a character that takes two escapes (write the character itself)")
    return value
