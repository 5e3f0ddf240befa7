"""Every role says what it takes, typed, and its words equal its values."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.module_utils.dream_core.phases import PHASES

ROLES = Path(__file__).parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks" / "main.yml").is_file())
PAGES = runpy.run_path(str(ROLES.parent / "scripts" / "make_role_pages.py"))

#: Made of the settings, or true by nature: not for a user to set.
INTERNAL = {
    "dream_settings",
    *("dream_engine_unit", "dream_engine_watch", "dream_webui_unit"),
}
#: Variables that the role context, a phase before, or a fleet publishes.
PUBLISHED = re.compile(rf"\b(dream_[a-z0-9_]+|(?:{'|'.join(PHASES)})_facts)\b")
#: Not variables: plugins, packages, and a part of a failed result.
WORDS = {
    "dream_engine",
    "dream_network",
    "dream_resources",
    "dream_parts",
    "dream_core",
    "dream_error",
}


def load(role: str, path: str) -> dict:
    file = ROLES / role / path
    return (yaml.safe_load(file.read_text()) or {}) if file.is_file() else {}


def options(role: str, entry: str = "") -> dict:
    specs = load(role, "meta/argument_specs.yml")["argument_specs"]
    found = [specs[entry]] if entry else specs.values()
    options = {name: o for spec in found for name, o in (spec.get("options") or {}).items()}
    return options | load(role, "meta/settings.yml")


def defaults(role: str) -> dict:
    if role != "context":
        return load(role, "defaults/main.yml")
    files = (ROLES / role / "defaults" / "all").glob("*.yml")
    found = {
        name: value for file in files for name, value in yaml.safe_load(file.read_text()).items()
    }
    return {name: value for name, value in found.items() if name not in INTERNAL}


def values(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, (dict, list)):
        for value in node.values() if isinstance(node, dict) else node:
            yield from values(value)


def read_by(role: str) -> set[str]:
    """Return the published variables that the tasks, values and templates of a role read."""
    texts = []
    for file in (ROLES / role).rglob("*"):
        if file.suffix == ".yml" and file.parent.name != "meta":
            texts += values(yaml.safe_load(file.read_text()))
        elif file.suffix == ".j2":
            texts.append(file.read_text())
    return set(PUBLISHED.findall("\n".join(texts))) - WORDS - {f"{role}_facts"}


@pytest.mark.parametrize("role", NAMES)
def test_spec_defaults_equal_the_defaults(role: str) -> None:
    spec = {name: o["default"] for name, o in options(role).items() if "default" in o}
    assert spec == defaults(role)


@pytest.mark.parametrize("role", PHASES)
def test_the_spec_names_every_variable_that_the_role_reads(role: str) -> None:
    told = {name: o for name, o in options(role, "main").items() if not name.startswith(role + "_")}
    read = {name for name in read_by(role) if not name.startswith(role + "_")}
    assert set(told) == read
    text = "".join(
        file.read_text() for file in (ROLES / role).rglob("*.yml") if file.parent.name != "meta"
    )
    for name, option in told.items():
        assert "default" not in option, f"{name}: its default is the one of the role context"
        if not option.get("required"):
            assert re.search(rf"\b{name}(\.[\w.]+)? (\| default\(|is defined)", text), name


@pytest.mark.parametrize("role", PHASES)
def test_the_role_brings_what_it_relies_on(role: str) -> None:
    dependencies = load(role, "meta/main.yml")["dependencies"]
    assert [dependency["role"] for dependency in dependencies] == ["context"]


def test_the_roles_have_the_pages_that_their_specs_make() -> None:
    for path, page in PAGES["pages"]().items():
        assert path.read_text() == page, "python scripts/make_role_pages.py"
    assert {path.parent.name for path in PAGES["pages"]()} == set(NAMES)


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_typed_described_and_named_after_its_role(role: str) -> None:
    for name, option in options(role).items():
        assert option.get("type"), f"{name}: without a type anything passes"
        assert option.get("description"), name
        assert name.startswith(role + "_") or PUBLISHED.fullmatch(name), name
        assert option["type"] != "list" or option.get("elements"), name


@pytest.mark.parametrize("role", NAMES)
def test_the_internals_have_two_underscores(role: str) -> None:
    for file in (ROLES / role / "vars").glob("*.yml"):
        for name in yaml.safe_load(file.read_text()) or {}:
            assert name.startswith((f"__{role}_", "dream_")), f"{file.name}: {name}"


@pytest.mark.parametrize("role", PHASES)
def test_a_phase_is_recorded_first_and_last(role: str) -> None:
    tasks = load(role, "tasks/main.yml")
    # The summary's tasks stand in a block, because reporting never fails a run.
    tasks = tasks[0].get("block", tasks)
    first, last = tasks[0]["dream_phase"], tasks[-1]["dream_phase"]
    assert (first["phase"], first["state"]) == (role, "running")
    assert (last["phase"], last["state"]) == (role, "done")


@pytest.mark.parametrize("role", NAMES)
def test_nothing_is_ignored(role: str) -> None:
    for file in ROLES.glob(f"{role}/**/*.yml"):
        text = file.read_text()
        assert "ignore_errors" not in text, file
        assert not re.search(r"failed_when:\s*(false|no)\b", text), file


@pytest.mark.parametrize(
    "role", [name for name in NAMES if (ROLES / name / "vars/debian.yml").is_file()]
)
def test_every_family_has_its_names(role: str) -> None:
    families = ("debian", "redhat", "arch", "suse", "alpine", "void", "unknown")
    keys = [set(load(role, f"vars/{family}.yml")) for family in families]
    shared = set.intersection(*keys)
    assert shared, role
    # A family may have helpers of its own; what the tasks read, all have.
    text = "".join(file.read_text() for file in (ROLES / role / "tasks").glob("*.yml"))
    assert {name for name in set.union(*keys) if name in text} <= shared
