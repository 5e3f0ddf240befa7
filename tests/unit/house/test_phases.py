"""One order of phases, everywhere."""

import ast
import configparser
import re
from pathlib import Path
from typing import Any

import yaml

from dream_runner import paths
from dream_runner.module_utils.dream_core.phases import PHASES


def test_the_playbook_runs_the_phases_in_their_order() -> None:
    plays = yaml.safe_load(paths.playbook("install").read_text())
    assert plays[0]["tags"] == ["always"]
    roles = [play["roles"] for play in plays[1:]]
    assert [role[0]["role"] for role in roles] == list(PHASES)
    assert all(role == [{"role": role[0]["role"], "tags": [role[0]["role"]]}] for role in roles)


def test_every_phase_has_a_role_with_the_same_insides() -> None:
    for phase in PHASES:
        role = paths.content() / "roles" / phase
        for part in ("tasks/main.yml", "defaults/main.yml", "meta/argument_specs.yml"):
            assert (role / part).is_file(), f"{phase} lacks {part}"


def test_the_configuration_names_no_inventory() -> None:
    """``localhost,`` is a list in that file: its empty half is this folder, whose scripts Ansible
    would run as inventories, install.sh among them."""
    parser = configparser.ConfigParser()
    parser.read(paths.content() / "ansible.cfg")
    assert "inventory" not in parser["defaults"]


def constant(module: str, name: str) -> Any:
    """Return a constant of a chaos test, whose markers only its own folder knows."""
    source = Path(__file__).parents[2] / "chaos" / f"{module}.py"
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise LookupError(name)


def test_the_tasks_at_which_the_chaos_tests_kill_a_run_exist() -> None:
    """A renamed task would be waited for in vain, in those samples only that choose it."""
    files = (paths.content() / "roles").rglob("tasks/*.yml")
    text = "\n".join(file.read_text() for file in files)
    named = set(re.findall(r"^ *- name: (.+)$", text, re.MULTILINE))
    rows = constant("test_matrix", "ROWS")
    killed = {*constant("test_kill", "LONG_TASKS"), *(task for _, task, _ in rows)}
    assert killed - named == set()
