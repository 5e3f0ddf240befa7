"""Every error code that dream-runner can end with, read from its sources."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from dream_runner import paths
from dream_runner.module_utils.dream_core import errors
from dream_runner.module_utils.dream_core.facts.finding_texts import CATALOGUE

ROOT = paths.PACKAGE.parent
_CODE = re.compile(r"[A-Z][A-Z0-9_]{3,}")


@cache
def codes() -> dict[str, str]:
    """Return every code, with a place that can raise it."""
    found: dict[str, str] = {}
    for directory in ("dream_runner", "library"):
        for path in sorted((ROOT / directory).rglob("*.py")):
            for code, line in in_python(path):
                found.setdefault(code, f"{path.relative_to(ROOT)}:{line}")
    for path in sorted((ROOT / "roles").rglob("*.yml")):
        for code in re.findall(r"^ +code: ([A-Z][A-Z0-9_]{3,})$", path.read_text(), re.MULTILINE):
            found.setdefault(code, str(path.relative_to(ROOT)))
    for name, (severity, _, _) in CATALOGUE.items():
        # A GPU that was asked for makes such a finding the error of the run.
        if severity == "error":
            found.setdefault(name, "dream_core/facts/finding_texts.py")
    return found


def in_python(path: Path) -> Iterator[tuple[str, int]]:
    tree = ast.parse(path.read_text())
    judges = any(_is_import_of_finding(node) for node in ast.walk(tree))
    for node in ast.walk(tree):
        for value in _places(node, judges):
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and _is_code(part.value):
                    yield part.value, part.lineno


def _is_import_of_finding(node: ast.AST) -> bool:
    """Tell whether ``finding("disk-space", ...)`` without a code makes one from the id here."""
    return (
        isinstance(node, ast.ImportFrom)
        and (node.module or "").rpartition(".")[2] == "finding"
        and any(alias.name == "finding" for alias in node.names)
    )


def _places(node: ast.AST, judges: bool) -> list[ast.expr]:
    """Return the expressions in ``node`` that give a code."""
    if isinstance(node, ast.Call):
        return _of_call(node, judges)
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return [value for key, value in pairs if getattr(key, "value", None) == "code"]
    if isinstance(node, ast.Tuple):
        # A row of a table: a class of error, then the code.
        pairs = zip(node.elts, node.elts[1:], strict=False)
        return [code for cls, code in pairs if getattr(cls, "id", None) in _CLASSES]
    if isinstance(node, ast.Assign):
        target = node.targets[0]
        name = getattr(target, "id", None) or getattr(target, "attr", None)
        return [node.value] if name == "code" else []
    return []


def _of_call(node: ast.Call, judges: bool) -> list[ast.expr]:
    given = [word.value for word in node.keywords if word.arg == "code"]
    name = getattr(node.func, "id", "")
    if name in ("SourceFault", "Meaning"):
        return [*given, *node.args[:1]]
    is_finding = name == "finding" and judges
    severity = getattr(node.args[1], "value", "blocker") if is_finding else ""
    if not is_finding or given or severity in ("warning", "info"):
        return given
    made = str(getattr(node.args[0], "value", "")).upper().replace("-", "_")
    return [ast.copy_location(ast.Constant(made), node)]


def _is_code(value: object) -> bool:
    return isinstance(value, str) and bool(_CODE.fullmatch(value))


_CLASSES = frozenset(errors.CLASSES)
