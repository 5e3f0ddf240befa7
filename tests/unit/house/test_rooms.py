"""The rules of the rooms: who may import whom, and how large a room may be (architecture.md)."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = "dream_runner"
CORE = "dream_runner.module_utils.dream_core"

#: Floors of the code that managed hosts run. A room imports rooms of lower floors only.
CORE_FLOORS = (
    (
        "document",
        "errors",
        "redact",
        "phases",
        "types",
        "layout",
        "arguments",
        "printable",
        "forms",
        "profiles",
    ),
    ("system",),
    ("files",),
    ("network",),
    ("facts", "bundle", "native", "fetch"),
    ("packages",),
    ("containers",),
    ("resources",),
    ("records", "health"),
    ("look", "upgrade", "undo"),
    ("checks",),
)
#: Floors of the wrapper.
FLOORS = (
    ("version", "paths", "wording", "yaml_file"),
    ("install_preview",),
    ("catalog",),
    ("settings",),
    ("run",),
    ("decide",),
    ("ui", "bundle", "plugins"),
    ("machine", "report"),
    ("fleet", "diagnose"),
    ("commands",),
    ("cli",),
    ("__main__",),
)
#: What a managed host starts: the modules, the upgrade in the background, the server of files.
STARTED = ("upgrade.upgrader", "fetch.blob_server")
#: A library that only some files may import.
ONLY = {
    "ansible_runner": ("run/ansible.py",),
    "rich": ("ui/", "fleet/view.py", "commands/facts.py", "cli/reporting.py"),
}
#: Lines that a module may bring to a host, with the documents (types/) that its code is typed by.
MOST_LINES = {"dream_probe": 2650, "dream_env": 1000, "dream_files": 700}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def files() -> dict[str, Path]:
    folders = (ROOT / PACKAGE, ROOT / "library")
    return {name_of(path): path for folder in folders for path in folder.rglob("*.py")}


@cache
def imports(name: str) -> frozenset[str]:
    """Return our own modules that a module imports, wherever in it."""
    path = files()[name]
    here = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(item.name for item in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = here.split(".")[: len(here.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            base = base.replace("ansible.module_utils.dream_core", CORE)
            full = [f"{base}.{item.name}" for item in node.names]
            found.update(item if item in files() else base for item in full)
    return frozenset(found & files().keys())


def room_of(name: str) -> tuple[str, str]:
    """Return the part of the house (core, wrapper or empty) and the room of a module."""
    if name.startswith(CORE + "."):
        return "core", name[len(CORE) + 1 :].split(".")[0]
    if name.startswith(PACKAGE + ".") and not name.startswith(PACKAGE + ".module_utils"):
        return "wrapper", name.split(".")[1]
    return "", ""


def closure(started: list[str]) -> set[str]:
    """Return the modules that these bring along, themselves included."""
    found: set[str] = set()
    while started:
        name = started.pop()
        if name not in found:
            found.add(name)
            started += imports(name)
    return found


def test_imports_lead_downstairs() -> None:
    floors = {
        "core": {room: level for level, rooms in enumerate(CORE_FLOORS) for room in rooms},
        "wrapper": {room: level for level, rooms in enumerate(FLOORS) for room in rooms},
    }
    wrong = []
    for name in sorted(files()):
        part, room = room_of(name)
        for other in sorted(imports(name)) if part else ():
            to_part, to_room = room_of(other)
            if not to_part or (part, room) == (to_part, to_room):
                continue
            if part == "core" and to_part == "wrapper":
                wrong.append(f"{name} imports {other}, which no managed host has")
            elif part == to_part:
                level, to_level = floors[part][room], floors[part][to_room]
                if to_level > level or (to_level == level and level > 0):
                    wrong.append(f"{name} imports {other}, which is not below it")
    assert wrong == []


def test_nothing_imports_the_plugins() -> None:
    names = [name for name in files() if not name.startswith(f"{PACKAGE}.plugins")]
    found = {
        name: sorted(item for item in imports(name) if item.startswith(f"{PACKAGE}.plugins"))
        for name in names
    }
    assert {name: items for name, items in found.items() if items} == {}


#: Programs that are started with ``python -m``, which tells them their package.
MODULES = {"__main__.py", "launch.py"}


def _has_no_package(path: Path) -> bool:
    """Return whether a file also runs under a name in which nothing is relative.

    Ansible loads a plugin under a name of its own; a script's name is ``__main__``.
    """
    is_program = "\nif __name__ ==" in path.read_text(encoding="utf-8")
    return "plugins" in path.parts or (is_program and path.name not in MODULES)


def test_plugins_and_scripts_name_their_imports_in_full() -> None:
    for path in filter(_has_no_package, files().values()):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.level), path


def test_there_are_no_circles() -> None:
    """A module that is not below itself: depth-first, with the way that led there."""
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way, name))
        if name not in done:
            for other in imports(name):
                if other != name:
                    visit(other, (*way, name))
            done.add(name)

    for name in files():
        visit(name, ())


def test_the_core_is_what_hosts_run() -> None:
    started = [name for name in files() if name.startswith("library.")]
    run = closure([*started, *(f"{CORE}.{name}" for name in STARTED)])
    modules = {
        name
        for name, path in files().items()
        if name.startswith(CORE + ".") and path.name != "__init__.py"
    }
    assert sorted(modules - run) == []


def test_packages_of_the_core_hold_a_docstring_only() -> None:
    """What imports one name must not bring a whole package to a host."""
    for name, path in files().items():
        if path.name == "__init__.py" and (name + ".").startswith(CORE + "."):
            body = ast.parse(path.read_text(encoding="utf-8")).body
            assert [type(item) for item in body] == [ast.Expr], name


def test_decisions_look_at_nothing() -> None:
    effects = {"os", "subprocess", "socket", "time", "pathlib"}
    for path in (ROOT / PACKAGE / "decide").rglob("*.py"):
        found = {
            item.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for item in _outer(node)
        }
        # It reads the text of the roles, which comes with the program.
        assert path.name == "role_inputs.py" or not found & effects, path.name


@pytest.mark.parametrize("library", sorted(ONLY))
def test_a_library_has_its_place(library: str) -> None:
    importing = {
        path.relative_to(ROOT / PACKAGE).as_posix()
        for path in (ROOT / PACKAGE).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if library in {item.split(".")[0] for item in _outer(node)}
    }
    assert sorted(item for item in importing if not item.startswith(ONLY[library])) == []


def _outer(node: ast.AST) -> list[str]:
    """Return the modules of others that a statement imports."""
    if isinstance(node, ast.Import):
        return [item.name for item in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []


@pytest.mark.parametrize("module", sorted(MOST_LINES))
def test_a_module_brings_little_along(module: str) -> None:
    brought = [item for item in closure([f"library.{module}"]) if item.startswith(CORE)]
    lines = sum(len(files()[item].read_text(encoding="utf-8").splitlines()) for item in brought)
    assert lines <= MOST_LINES[module]


def test_rooms_are_not_crowded() -> None:
    """At most 15 files in a room, 22 in those of many small parts; 7 loose files in the hall."""
    many = {"facts", "fetch", "library"}
    for folder in {path.parent for path in files().values()}:
        count = len(list(folder.glob("*.py")))
        most = 22 if folder.name in many else 15
        assert count <= (7 if folder == ROOT / PACKAGE else most), folder


def test_files_are_short() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): count
        for path in files().values()
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
