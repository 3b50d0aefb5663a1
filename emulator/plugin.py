"""What a repository adds to the emulator beside its template: the edge in front of it, pages, seeds.

The pyproject.toml that lies beside the template names it:

    [tool.emulator]
    plugin = "our.plugin"          # a module with `plugin(address) -> Plugin`; `address` is the emulator's host:port
    pythonpath = ["src"]           # folders of that file's own, added to sys.path before the import

Without that file, table or field nothing is added.
"""

import importlib
import sys
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from emulator.printed import Sentence
from emulator.services.services import Services
from emulator.template.stack import Stack

_FIELDS = ("plugin", "pythonpath")


class PluginError(ValueError):
    """The plugin cannot be used. The message names the file and the field."""


async def _no_end() -> None:
    return


async def _nothing(_stack: Stack, _services: Services) -> None:
    return


@dataclass(frozen=True)
class Plugin:
    """What a repository adds.

    `routes`: asked before the template's own APIs.

    `paths`: what a CDN in front would rewrite, as `{"/api/claude/ws": "/v1?agent=claude"}`. Parameters named there
    replace the viewer's. Applied first of all, to HTTP and WebSocket requests alike.

    `environment`: variables for every function, stronger than the template's.

    `parameters`: what the template's parameters are, given those of the command line.

    `banner`: lines printed before `Ready: ...`.

    `sentence`: the emulator's own line for a structured line of a function's log.

    `prepare`: awaited once, when the template's data resources exist and before the first request.

    `end`: awaited when the emulator ends, before open requests get their last moment.
    """

    routes: Sequence[BaseRoute] = ()
    paths: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    parameters: Callable[[Mapping[str, str]], Mapping[str, str]] = dict
    banner: Sequence[str] = ()
    sentence: Sentence = lambda _: None
    prepare: Callable[[Stack, Services], Awaitable[None]] = _nothing
    end: Callable[[], Awaitable[None]] = _no_end


def load(template: Path, address: str) -> Plugin:
    """Return the plugin that the template's folder names, or one that adds nothing. Raise PluginError."""
    file = template.resolve().with_name("pyproject.toml")
    settings = _settings(file)
    module = settings.get("plugin")
    if module is None:
        return Plugin()
    # Behind what is installed: a folder of the repository must not stand in for a library of the emulator's.
    sys.path += [str(file.parent / folder) for folder in settings.get("pythonpath", [])]
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # it is the repository's own code, which may raise anything
        raise _unusable(file, "plugin", f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(getattr(imported, "plugin", None)):
        raise _unusable(file, "plugin", f"{module} has no function `plugin`")
    made = imported.plugin(address)
    if not isinstance(made, Plugin):
        raise _unusable(file, "plugin", f"{module}.plugin must return a Plugin, and returns {type(made).__name__}")
    return made


def _settings(file: Path) -> Mapping[str, Any]:
    """Return the table [tool.emulator], checked; empty if there is none. Raise PluginError."""
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("emulator", {})
    except FileNotFoundError:
        return {}
    except ValueError as error:  # TOMLDecodeError, or bytes that are no text
        raise PluginError(f"{file}: is no TOML: {error}") from error
    if not isinstance(settings, dict):
        raise PluginError(f"{file}: [tool] emulator: must be a table")
    for name in settings:
        if name not in _FIELDS:
            raise _unusable(file, name, f"no such field. There are: {', '.join(_FIELDS)}")
    if not isinstance(settings.get("plugin", ""), str):
        raise _unusable(file, "plugin", 'must be the name of a module, as "our.plugin"')
    folders = settings.get("pythonpath", [])
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        raise _unusable(file, "pythonpath", 'must be a list of folders, as ["src"]')
    for folder in folders:
        if not (file.parent / folder).is_dir():
            raise _unusable(file, "pythonpath", f"{folder} is no folder beside it")
    return dict(settings)


def _unusable(file: Path, name: str, reason: str) -> PluginError:
    return PluginError(f"{file}: [tool.emulator] {name}: {reason}")
