"""Import a large package for the few of its names that are used.

The `__init__.py` of a package that is generated from an API imports every type of that API, so that each has a short
name: `import anthropic` runs 2,900 modules, and a conversation needs a third of them. Within `deferring`, such a file
only notes where its names come from, and a name is imported when somebody first asks for it.
"""

import builtins
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:  # It imports two dozen modules for its ABCs.
    from importlib.abc import InspectLoader, Loader


@contextmanager
def deferring(*packages: str) -> Iterator[None]:
    """Defer what the `__init__.py` files in and above `packages` import from them, for all that is imported meanwhile.

    `import package.name`, `from package import name` and `package.name` mean what they meant.
    """
    finder = _Finder(packages)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder:
    """Find the packages in and above `packages`. All else is left to the finders after this one."""

    def __init__(self, packages: Sequence[str]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not any(_is_in(fullname, package) or _is_in(package, fullname) for package in self._packages):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec and spec.loader and spec.submodule_search_locations:
            spec.loader = cast("Loader", _Loader(cast("InspectLoader", spec.loader), self._packages))
        return spec


class _Loader:
    """Run a package's `__init__.py` with an `__import__` of its own."""

    def __init__(self, loader: "InspectLoader", packages: Sequence[str]) -> None:
        self._loader = loader
        self._packages = packages

    def create_module(self, _: ModuleSpec) -> None:
        """Leave that to Python."""

    def exec_module(self, module: ModuleType) -> None:
        namespace = module.__dict__
        namespace["__builtins__"] = vars(builtins) | {"__import__": partial(self._import, module.__name__)}
        exec(self._loader.get_code(module.__name__), namespace)  # type: ignore[arg-type]  # noqa: S102
        namespace["__builtins__"] = builtins
        deferred = {name: value for name, value in namespace.items() if isinstance(value, _Deferred)}
        for name in deferred:
            del namespace[name]
        namespace["__getattr__"] = partial(_first_asked_for, module, deferred)
        namespace["__dir__"] = lambda: [*namespace, *deferred]

    def _import(
        self,
        package: str,
        name: str,
        globals: dict[str, Any] | None = None,  # noqa: A002
        locals: dict[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        where = importlib.util.resolve_name("." * level + name, package)
        if level and name and any(_is_in(where, each) for each in self._packages):
            return _Names(where)
        return __import__(name, globals, locals, fromlist or (), level)


def _is_in(module: str, package: str) -> bool:
    return f"{module}.".startswith(f"{package}.")


class _Deferred:
    """What stands for a name, or for an item of it, until it is imported."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self.load = load

    def __getitem__(self, key: Any) -> "_Deferred":
        return _Deferred(lambda: self.load()[key])


class _Names:
    """A module as `from module import …` sees it. Only `*` imports it for that."""

    def __init__(self, module: str) -> None:
        self._module = module

    @property
    def __all__(self) -> list[str]:
        module = importlib.import_module(self._module)
        public = [name for name in dir(module) if not name.startswith("_")]
        return getattr(module, "__all__", public)

    def __getattr__(self, name: str) -> _Deferred:
        return _Deferred(lambda: getattr(importlib.import_module(self._module), name))


def _first_asked_for(module: ModuleType, deferred: Mapping[str, _Deferred], name: str) -> Any:
    """Return and keep an attribute that `module` does not have yet: a deferred name, or a module in the package."""
    if name in deferred:
        value = deferred[name].load()
        setattr(module, name, value)
        return value
    if not name.startswith("_") and importlib.util.find_spec(f"{module.__name__}.{name}"):
        return importlib.import_module(f"{module.__name__}.{name}")
    message = f"module {module.__name__!r} has no attribute {name!r}"
    raise AttributeError(message, name=name, obj=module)
