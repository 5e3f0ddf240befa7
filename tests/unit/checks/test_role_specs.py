"""Every role says what it takes, typed, and its words equal its values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROLES = Path(__file__).parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if (path / "tasks" / "main.yml").is_file())


def load(role: str, path: str) -> dict:
    file = ROLES / role / path
    return (yaml.safe_load(file.read_text()) or {}) if file.is_file() else {}


def options(role: str) -> dict:
    specs = load(role, "meta/argument_specs.yml")["argument_specs"]
    return {name: o for spec in specs.values() for name, o in (spec.get("options") or {}).items()}


@pytest.mark.parametrize("role", NAMES)
def test_spec_defaults_equal_the_defaults(role: str) -> None:
    spec = {name: o["default"] for name, o in options(role).items() if "default" in o}
    assert spec == load(role, "defaults/main.yml")


@pytest.mark.parametrize("role", NAMES)
def test_every_option_is_typed_described_and_named_after_its_role(role: str) -> None:
    for name, option in options(role).items():
        assert option.get("type"), f"{name}: without a type anything passes"
        assert option.get("description"), name
        assert name.startswith(role + "_"), name
        assert option["type"] != "list" or option.get("elements"), name


@pytest.mark.parametrize("role", NAMES)
def test_the_internals_have_two_underscores(role: str) -> None:
    for file in (ROLES / role / "vars").glob("*.yml"):
        for name in yaml.safe_load(file.read_text()) or {}:
            assert name.startswith((f"__{role}_", "dream_")), f"{file.name}: {name}"


@pytest.mark.parametrize("role", NAMES)
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
