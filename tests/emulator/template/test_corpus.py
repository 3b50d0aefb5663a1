"""Other people's templates: what is said to them, and that nothing in them ends in a traceback."""

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from emulator.account import REGION
from emulator.services.services import Services
from emulator.services.signature import Credentials
from emulator.template import parsing, resource_types
from emulator.template.intrinsics import TemplateError
from emulator.template.resource_types import NEEDS_NOTHING, NOT_SERVED, NOT_SERVED_PROPERTIES, SERVED, Class
from tests.emulator.template import corpus

MUTATIONS = int(os.environ.get("MUTATIONS", "40"))
"""Of the corpus's templates: `make nightly` makes more."""


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    """moto within this process."""
    with pytest.MonkeyPatch.context() as shell, mock_aws():
        shell.setenv("AWS_DEFAULT_REGION", REGION)
        yield Services("", Credentials.new())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the templates name."""
    return shutil.copytree(corpus.FOLDER, tmp_path_factory.mktemp("mutated") / "templates")


@pytest.mark.parametrize("template", corpus.templates(), ids=lambda path: path.stem)
def test_each_template_is_told_what_is_expected(template: Path, services: Services) -> None:
    assert corpus.say(template, services) == corpus.said()[template.stem]


def test_nothing_is_expected_of_templates_that_are_not_there() -> None:
    assert corpus.said().keys() == {path.stem for path in corpus.templates()}


def test_the_documentation_has_the_tables_as_they_are() -> None:
    document = corpus.DOCUMENT.read_text(encoding="utf-8")
    assert document == corpus.with_tables(document), "make tables"


# --- types of resources ---


@pytest.fixture(scope="module")
def schemas() -> Any:
    """What cfn-lint knows of all types. It takes a second to import, and whoever collects tests does not need it."""
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]

    return PROVIDER_SCHEMA_MANAGER


def test_each_type_is_in_one_class_and_the_tables_have_no_other(schemas: Any) -> None:
    known = schemas.get_resource_types(REGION)
    for table in (NEEDS_NOTHING, NOT_SERVED):
        for pattern in table.keys() - {"AWS::CDK::Metadata", "AWS::Serverless::*", "Custom::*"}:
            assert any(resource_types.matches(kind, pattern) for kind in known), pattern
    for kind, reason in (resource_types.classify(kind) for kind in known):
        assert (kind is Class.SERVED) == (reason == "")
    assert {kind for kind in known if resource_types.classify(kind)[0] is Class.SERVED} == SERVED.keys()
    assert not SERVED.keys() & (NEEDS_NOTHING.keys() | NOT_SERVED.keys())


@pytest.mark.parametrize("kind", SERVED)
def test_properties_in_the_tables_are_the_types_own(schemas: Any, kind: str) -> None:
    schema = schemas.get_resource_schema(REGION, kind).schema
    named = {name for each, name in NOT_SERVED_PROPERTIES if each == kind}
    assert SERVED[kind].obeyed | SERVED[kind].quiet | named <= schema["properties"].keys() | {"Tags"}
    assert not SERVED[kind].obeyed & SERVED[kind].quiet
    assert not named & (SERVED[kind].obeyed | SERVED[kind].quiet)
    if kind not in ("AWS::CloudFormation::Stack", "AWS::DynamoDB::GlobalTable"):
        assert set(schema.get("required", [])) - {"Role", "Name"} <= set(SERVED[kind].required)


# --- whatever stands anywhere ---


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*path, key))


def read_all() -> Iterator[tuple[str, Any]]:
    for path in corpus.templates():
        try:
            yield path.stem, parsing.parse(path, lambda _: None)
        except TemplateError:
            continue


TEMPLATES = dict(read_all())
PLACES = [(name, path) for name, value in TEMPLATES.items() for path in paths(value)]
REMOVED = object()
numbers = itertools.count()


@settings(max_examples=MUTATIONS, suppress_health_check=list(HealthCheck))
@given(
    place=st.sampled_from(PLACES),
    value=st.sampled_from(
        [
            REMOVED,
            None,
            [],
            {},
            0,
            -1.5,
            True,
            "",
            "x",
            "a.b",
            ["x"],
            {"a": 1},
            {"Ref": "F"},
            [None],
            "inf",
            "nan",
            "\ud800",
            {"../x\n\x1b": {}},
        ]
    ),
)
def test_whatever_stands_anywhere_ends_in_a_sentence_or_is_served(
    services: Services, folder: Path, place: tuple[str, Any], value: Any
) -> None:
    name, path = place
    template = json.loads(json.dumps(TEMPLATES[name]))
    holder = template
    for key in path[:-1]:
        holder = holder[key]
    if value is REMOVED:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    assert "\n" not in sentence(template, services, folder / "mutated.json")


def sentence(template: Any, services: Services, path: Path) -> str:
    """Deploy a template. Return what is wrong with it; nothing else may be raised."""
    path.write_text(json.dumps(template), encoding="utf-8")
    try:
        corpus.deploy(path, f"mutated-{next(numbers)}", services)
    except TemplateError as error:
        return str(error)
    return ""
