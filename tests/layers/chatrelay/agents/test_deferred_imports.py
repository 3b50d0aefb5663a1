import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from chatrelay.agents.deferred_imports import deferring

RELAY = Path(__file__).resolve().parents[4] / "layers" / "relay"
PACKAGE = {
    "__init__.py": """
from . import plain
from .plain import LOUD
from .api import *
from .api.things import Thing
from .api.things import Thing as Other, Many
Both = Many[int]
for name in ("Thing", "LOUD"):
    try:
        globals()[name].__module__ = "generated"
    except AttributeError:
        pass
""",
    "plain.py": "LOUD = 'plain'",
    "api/__init__.py": "from .things import Many, Thing\nfrom .users import User\nfrom . import consts",
    "api/things.py": "class Thing: pass\nMany = list",
    "api/users.py": "from ..api import Thing\nclass User(Thing): pass",
    "api/consts.py": "ONE = 1",
    "api/unused/__init__.py": "from .part import PART",
    "api/unused/part.py": "PART = 'part'",
    "api/bare/name.py": "NAME = 'in a namespace'",
    "api/broken.py": "import nothing_of_that_name",
}


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    for name, text in PACKAGE.items():
        path = tmp_path / "generated" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    before, finders = set(sys.modules), list(sys.meta_path)
    with deferring("generated.api"):
        yield importlib.import_module("generated")
    assert sys.meta_path == finders
    for name in set(sys.modules) - before:
        del sys.modules[name]


def imported() -> set[str]:
    return {name for name in sys.modules if name.startswith("generated")}


BEGINNING = {"generated", "generated.plain", "generated.api", "generated.api.consts"}


def test_a_name_is_imported_when_somebody_asks_for_it(generated: ModuleType) -> None:
    assert imported() == BEGINNING

    thing = generated.Thing

    assert imported() == BEGINNING | {"generated.api.things"}
    assert (thing.__name__, generated.Other is thing, vars(generated)["Thing"] is thing) == ("Thing", True, True)
    assert thing().__class__ is importlib.import_module("generated.api.things").Thing


def test_what_is_not_deferred_is_there_at_once(generated: ModuleType) -> None:
    assert vars(generated)["LOUD"] == "plain"
    assert vars(generated.api)["consts"].ONE == 1


def test_every_way_to_ask_finds_it(generated: ModuleType) -> None:
    from generated.api import User, unused  # type: ignore[import-not-found]
    from generated.api.bare.name import NAME  # type: ignore[import-not-found]

    assert User.__mro__[1] is generated.Thing
    assert unused.PART == "part"
    assert generated.api.unused.part.PART == "part"
    assert NAME == "in a namespace"
    assert {"Thing", "User", "consts"} <= set(dir(generated.api))


def test_a_star_brings_all_public_names(generated: ModuleType) -> None:
    assert generated.User.__module__ == "generated.api.users"


def test_an_item_of_a_deferred_name_is_deferred_too(generated: ModuleType) -> None:
    assert generated.Both == list[int]


def test_what_is_not_there_is_told_as_ever(generated: ModuleType) -> None:
    with pytest.raises(AttributeError, match=r"module 'generated.api' has no attribute 'Nobody'"):
        _ = generated.api.Nobody
    with pytest.raises(ImportError, match=r"cannot import name 'Nobody' from 'generated.api'"):
        from generated.api import Nobody  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
        importlib.import_module("generated.api.broken")


def test_other_packages_are_imported_as_ever() -> None:
    with deferring("generated.api"):
        sys.modules.pop("wsgiref", None)
        assert importlib.import_module("wsgiref").__loader__.__class__.__module__ != deferring.__module__


NAMES = """
import json, sys
if sys.argv[1:] == ["deferring"]:
    from chatrelay.agents.claude import anthropic
else:
    import anthropic
    import anthropic.types
began = len([name for name in sys.modules if name.partition(".")[0] == "anthropic"])
means = {
    f"{package.__name__}.{name}": getattr(value, "__qualname__", type(value).__name__)
    for package in (anthropic, anthropic.types)
    for name in sorted(dir(package))
    if not name.startswith("_")
    for value in [getattr(package, name)]
    if not isinstance(value, type(sys))
}
print(json.dumps([began, means]))
"""


def names(*arguments: str) -> Any:
    """Return how many modules of the SDK are imported, and what each of its names means."""
    command = [sys.executable, "-c", NAMES, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(RELAY)}
    return json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)  # noqa: S603


def test_the_sdks_names_mean_what_they_mean_without_and_a_third_of_it_is_imported() -> None:
    some, means = names("deferring")
    everything, plainly = names()
    assert means == plainly
    assert len(means) > 500
    assert some < everything * 0.35
