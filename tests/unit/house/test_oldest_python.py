"""What runs on targets needs nothing but the oldest Python that one may have."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.pythons import oldest

from dream_runner import paths

UTILS = paths.PACKAGE / "module_utils"
CORE = UTILS / "dream_core"
SOURCES = sorted([*CORE.rglob("*.py"), *(paths.content() / "library").glob("*.py")])
OLDEST = (3, 9)


def imported(tree: ast.AST) -> Iterator[str]:
    """The first words of what is imported from elsewhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_old_syntax_and_no_package(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=OLDEST)
    ours = "ansible.module_utils" if CORE not in path.parents else "nothing else"
    foreign = [
        name
        for name in imported(tree)
        if name.partition(".")[0] not in sys.stdlib_module_names and not name.startswith(ours)
    ]
    assert not foreign


@pytest.mark.skipif(not oldest(), reason="no Python 3.9 here")
def test_all_of_it_is_imported_without_any_package() -> None:
    names = [
        ".".join(path.relative_to(UTILS).with_suffix("").parts)
        for path in sorted(CORE.rglob("*.py"))
        if path.name != "__main__.py"
    ]
    code = f"import importlib, sys; sys.path.insert(0, {str(UTILS)!r})\n"
    code += f"for name in {names!r}: importlib.import_module(name)"
    # -S: no site, so that no package can be found.
    done = subprocess.run([oldest(), "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
