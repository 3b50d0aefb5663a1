"""template.yaml's policies and the code: each function may do to the table what its code does, and touch nothing else.

What it does is read from the source: a handler calls parts of ``wiring`` and of its store, and those call each other by
the same names, as in ``self._store.leases.get``.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from chatrelay import store
from chatrelay.store import item_keys
from tests.builders.deployments import REPOSITORY
from tests.test_template import TRANSLATED, deployed

PACKAGE = REPOSITORY / "layers" / "relay" / "chatrelay"
FUNCTIONS = sorted(path.parent.name for path in (REPOSITORY / "functions").glob("*/app.py"))
ACTIONS = {
    "get": "GetItem",
    "get_all": "BatchGetItem",
    "query": "Query",
    "first": "Query",
    "last": "Query",
    "put": "PutItem",
    "update": "UpdateItem",
    "update_returning": "UpdateItem",
    "delete": "DeleteItem",
    "delete_all": "BatchWriteItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "Check": "ConditionCheckItem",
}
"""What the methods of ``Table`` and the parts of its transactions are to IAM."""
PARTITIONS = {name: value for name, value in vars(item_keys).items() if name.endswith("_PK")}
PARTITIONS["conversation_pk"] = item_keys.CONVERSATION_PK
KINDS = set(PARTITIONS.values())
"""How partition keys begin."""
NEVER = {"api": {"WORKER#"}}
"""What a handler reaches by the source alone: no invocation is the worker of a message that comes by HTTP."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Class:
    """One of the package, with the functions of its module."""

    methods: dict[str, Definition]
    functions: dict[str, Definition]

    def own(self, method: str) -> list[Definition]:
        """The method, and what it calls here."""
        found = {method: self.methods[method]}
        for node in (waiting := list(found.values())):
            for each in ast.walk(node):
                called: Definition | None = None
                if isinstance(each, ast.Attribute) and _owner(each) == "self":
                    called = self.methods.get(each.attr)
                elif isinstance(each, ast.Name):
                    called = self.functions.get(each.id)
                if called is not None and called.name not in found:
                    found[called.name] = called
                    waiting.append(called)
        return waiting


def _read() -> tuple[dict[str, Class], dict[str, str]]:
    """The classes of the package, and the classes of the parts of ``wiring`` and of its store."""
    classes: dict[str, Class] = {}
    for path in PACKAGE.rglob("*.py"):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        functions = _definitions(body)
        classes |= {
            each.name: Class(_definitions(each.body), functions) for each in body if isinstance(each, ast.ClassDef)
        }
    owners = (classes["Wiring"], classes["Store"])
    annotated = {name: node.returns for owner in owners for name, node in owner.methods.items()}
    named = {name: getattr(node, "id", getattr(node, "value", "")) for name, node in annotated.items()}
    return classes, {name: each for name, each in named.items() if each in classes and each != "Table"}


def _definitions(body: list[ast.stmt]) -> dict[str, Definition]:
    return {each.name: each for each in body if isinstance(each, Definition)}


def _owner(attribute: ast.Attribute) -> str:
    """What an attribute is of, by the last name alone: ``replies`` for ``self._replies.find``."""
    value = attribute.value
    return value.attr.lstrip("_") if isinstance(value, ast.Attribute) else getattr(value, "id", "").lstrip("_")


CLASSES, PARTS = _read()


@dataclass(frozen=True)
class Step:
    """One method of a part: which kinds of items it knows, and what it does to some of them."""

    name: str
    kinds: frozenset[str]
    actions: frozenset[str]
    asks_index: bool


def steps(function: str) -> Iterator[Step]:
    """All that a handler may come to."""
    app = ast.parse((REPOSITORY / "functions" / function / "app.py").read_text(encoding="utf-8"))
    waiting = _called([app])
    for part, method in waiting:
        nodes = CLASSES[PARTS[part]].own(method)
        waiting += [each for each in _called(nodes) if each not in waiting]
        yield _step(f"{part}.{method}", nodes)


def _called(nodes: list[Any]) -> list[tuple[str, str]]:
    found = [(_owner(each), each.attr) for node in nodes for each in ast.walk(node) if isinstance(each, ast.Attribute)]
    return [(part, method) for part, method in found if part in PARTS and method in CLASSES[PARTS[part]].methods]


def _step(name: str, nodes: list[Definition]) -> Step:
    kinds, actions = set(), set()
    asks_index = False
    for each in (each for node in nodes for each in ast.walk(node)):
        match each:
            case ast.Name(id=name) if name in PARTITIONS:
                kinds.add(PARTITIONS[name])
            case ast.Attribute(attr=done) if _owner(each) == "table":
                actions.add(ACTIONS.get(done, ""))
                asks_index |= done == "owned_by"
            case ast.Call(func=ast.Name(id=done)):
                actions.add(ACTIONS.get(done, ""))
    return Step(name, frozenset(kinds), frozenset(actions - {""}), asks_index)


def allowed(function: str) -> list[tuple[set[str], str, str]]:
    """Each action of a statement about the table: of which kinds of items, and of the ``table`` or its ``index``."""
    role = TRANSLATED["Resources"][f"{function.capitalize()}FunctionRole"]["Properties"]
    found = []
    for policy in deployed({}).resolve(role)["Policies"]:
        for statement in policy["PolicyDocument"]["Statement"]:
            actions, resource = statement["Action"], statement["Resource"]
            keys = statement.get("Condition", {}).get("ForAllValues:StringLike", {}).get("dynamodb:LeadingKeys")
            kinds = KINDS if keys is None else {key.removesuffix("*") for key in keys}
            for action in [actions] if isinstance(actions, str) else actions:
                if action.startswith("dynamodb:"):
                    what = "index" if resource.endswith("/index/by_owner") else "table"
                    found.append((kinds, action.removeprefix("dynamodb:"), what))
    return found


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_may_do_what_its_code_does(function: str) -> None:
    may = {(kind, action) for kinds, action, what in allowed(function) if what == "table" for kind in kinds}

    for step in steps(function):
        kinds = step.kinds - NEVER.get(function, set())
        for kind in kinds if step.actions else ():
            assert any((kind, action) in may for action in step.actions), f"{step.name} needs {kind}"
        for action in step.actions if kinds else ():
            assert any((kind, action) in may for kind in kinds), f"{step.name} needs {action} of {sorted(kinds)}"
    asks_index = any(step.asks_index for step in steps(function))
    assert asks_index == any(what == "index" for _, _, what in allowed(function))


@pytest.mark.parametrize("function", [each for each in FUNCTIONS if each != "message"])
def test_a_function_touches_no_other_items(function: str) -> None:
    """But `message`, whose policy names no kinds of items."""
    may = {kind for kinds, _, what in allowed(function) if what == "table" for kind in kinds}
    does = {kind for step in steps(function) if step.actions for kind in step.kinds}

    assert may == does - NEVER.get(function, set())


def test_every_partition_key_is_written_down() -> None:
    described = re.findall(r"^\|[^|]*\| ``([A-Z]+#)", str(store.__doc__), re.MULTILINE)

    assert set(described) == KINDS


def test_keys_are_made_and_removed_by_the_operator_alone() -> None:
    for function in FUNCTIONS:
        for kinds, action, _ in allowed(function):
            assert "KEY#" not in kinds or action in ("GetItem", "Query") or function == "message"
