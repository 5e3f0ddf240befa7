"""Tests pass what they replace as a parameter; none replaces or uses a private name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[2]
_PRIVATE = re.compile(r"_[A-Za-z0-9]\w*|__[a-z]\w*(?<!__)")
#: The calls that replace an attribute: monkeypatch's and the builtin, and those of unittest.mock.
_REPLACING = ("setattr", "delattr", "patch", "object", "multiple")


@cache
def sources() -> dict[str, str]:
    return {
        path.relative_to(TESTS).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(TESTS.rglob("*.py"))
    }


def is_private(name: str) -> bool:
    """Return whether a name, or a part of a dotted path, is private."""
    return any(_PRIVATE.fullmatch(part) for part in re.split(r"[.:]", name))


def replaced(source: str) -> Iterator[str]:
    """Yield each place that replaces, or may replace, a private name of another object."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _REPLACING:
            names = [*_strings(node.args[:2]), *(word.arg or "" for word in node.keywords)]
            if _is_by_variable(node):
                names += [name for name in _strings([tree]) if name.isidentifier()]
            yield from (f"{node.lineno}: {name}" for name in names if is_private(name))
        elif isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Delete)):
            yield from (f"{node.lineno}: {ast.unparse(item)}" for item in _assigned(node))


def _name(function: ast.expr) -> str:
    return str(getattr(function, "attr", getattr(function, "id", "")))


def _strings(nodes: list[ast.AST] | list[ast.expr]) -> list[str]:
    found = (item for node in nodes for item in ast.walk(node) if isinstance(item, ast.Constant))
    return [item.value for item in found if isinstance(item.value, str)]


def _is_by_variable(call: ast.Call) -> bool:
    """Return whether a call of ``setattr`` takes the name from elsewhere in the file."""
    by_name = _name(call.func) in ("setattr", "delattr") and len(call.args) > 1
    return by_name and not _strings(call.args[:2])


def _assigned(node: ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Delete) -> Iterator[ast.expr]:
    """Yield the private attributes of other objects that a statement assigns or deletes."""
    whole = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [node.target]
    for item in (part for target in whole for part in ast.walk(target)):
        if not isinstance(item, ast.Attribute) or ast.unparse(item.value) in ("self", "cls"):
            continue
        if is_private(item.attr):
            yield item


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr(module, "_name", 1)',
        'monkeypatch.setattr("package.module._name", 1)',
        'monkeypatch.setattr("package._module.name", 1)',
        'monkeypatch.setattr(module, f"_{x}" "_name", 1)',
        'monkeypatch.setattr(place, step, 1)\nSTEPS = ("_fetch",)',
        'monkeypatch.delattr(module.Class, "_name")',
        'setattr(module, "_name", 1)',
        'mock.patch("package.module._name")',
        'mock.patch.object(module, "_name")',
        "mock.patch.multiple(module, _name=1)",
        "module._name = 1",
        "module._names[0] = 1",
        "made().thing._name += 1",
        "del module._name",
    ],
)
def test_a_replaced_private_name_is_found(line: str) -> None:
    assert len(list(replaced(line))) == 1


@pytest.mark.parametrize(
    "line",
    [
        'monkeypatch.setattr(module, "NAME", 1)',
        'monkeypatch.setattr(module.os, "geteuid", lambda: 0)',
        'monkeypatch.setattr(Class, "__init__", 1)',
        'monkeypatch.setattr(place, step, 1)\nSTEPS = ("fetch",)',
        "self._name = 1",
        "cls._names[0] = 1",
        "_name = 1",
        'document["_name"] = 1',
    ],
)
def test_all_else_is_allowed(line: str) -> None:
    assert list(replaced(line)) == []


def test_no_test_replaces_a_private_name() -> None:
    """A seam is a parameter with the real thing as its default (or a program, a socket, a file)."""
    assert len(sources()) > 300
    found = {path: list(replaced(text)) for path, text in sources().items()}
    assert {path: lines for path, lines in found.items() if lines} == {}


def used(source: str) -> Iterator[str]:
    """Yield each private name that is imported, or taken from a module or class of the product."""
    tree = ast.parse(source)
    imported = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dream_runner")
    ]
    known = {item.asname or item.name for node in imported for item in node.names}
    for node in imported:
        yield from (f"{node.lineno}: {it.name}" for it in node.names if is_private(it.name))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        if re.split(r"[.(]", ast.unparse(node.value))[0] in known:
            yield f"{node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "line",
    [
        "from dream_runner.run import lock\nlock._take()",
        "from dream_runner.run import lock as module\nmodule._NAME",
        "from dream_runner.run.lock import _take",
        "from dream_runner.ui import Guarded\nGuarded(1)._listener",
        "from dream_runner.run import lock\nlock.Class._name()",
    ],
)
def test_a_used_private_name_is_found(line: str) -> None:
    assert len(list(used(line))) == 1


def test_no_test_uses_a_private_name() -> None:
    found = {path: list(used(text)) for path, text in sources().items()}
    assert {path: lines for path, lines in found.items() if lines} == {}
