"""Every role that changes a host is tested as it is by default and with every default turned round.

What a scenario of molecule sets is read from its file, what there is to set from the roles, so that
a default which nobody turns round makes this fail.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dream_runner.module_utils.dream_core.phases import PHASES

ROOT = Path(__file__).parents[3]
MOLECULE = ROOT / "tests" / "molecule"
SCENARIOS = {path.parent.name: path.parent for path in MOLECULE.glob("*/molecule.yml")}
#: The roles that change a host; the others look, decide or report.
ROLES = (
    *("requirements", "docker", "directories", "devtools", "images", "offline"),
    *("amd_tuning", "models", "services"),
)
RELEASES = {"12", "13"}
#: Defaults that no node can have: here nobody answers at the addresses of the publishers.
ELSEWHERE = {"docker_repository", "docker_toolkit_repository"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def defaults(role: str) -> dict[str, Any]:
    return read(ROOT / "roles" / role / "defaults" / "main.yml") or {}


def hosts(scenario: Path) -> list[tuple[str, set[str], dict[str, Any]]]:
    """Return release, phases and variables of each node of a scenario."""
    whole = read(scenario / "molecule.yml")
    words = whole["provisioner"].get("ansible_args") or ["--tags", ",".join(ROLES)]
    variables = whole["provisioner"]["inventory"]["host_vars"]
    phases = set(words[words.index("--tags") + 1].split(","))
    return [(item["release"], phases, variables[item["name"]]) for item in whole["platforms"]]


NODES = [(name, *node) for name, path in SCENARIOS.items() for node in hosts(path)]


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_turned_round_on_both_releases(role: str) -> None:
    for name, default in defaults(role).items():
        turned = {
            release
            for _, release, phases, variables in NODES
            if role in phases and name in variables and variables[name] != default
        }
        assert turned == RELEASES, f"{name} is turned round on {sorted(turned)}"


@pytest.mark.parametrize("role", ROLES)
def test_the_role_as_it_is_by_default_is_tested_on_both_releases(role: str) -> None:
    known = set(defaults(role)) - ELSEWHERE
    plain = {
        release
        for _, release, phases, variables in NODES
        if role in phases and not known & set(variables)
    }
    assert plain == RELEASES


def test_no_scenario_sets_what_no_role_knows() -> None:
    known = {name for phase in PHASES for name in defaults(phase)}
    shared = ROOT / "playbooks" / "group_vars" / "all"
    known |= {name for path in shared.glob("*.yml") for name in read(path)}
    for scenario, _, _, variables in NODES:
        assert set(variables) - known == {"supplies"}, scenario


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_a_scenario_drifts_and_looks_with_eyes_of_its_own(scenario: str) -> None:
    assert (SCENARIOS[scenario] / "side_effect.yml").is_file()
    where = read(SCENARIOS[scenario] / "molecule.yml").get("verifier", {}).get("directory", "tests")
    looks = list((SCENARIOS[scenario] / where).glob("test_*.py"))
    assert looks
    for path in looks:
        assert not re.search(r"dream_runner[. ]|dream_core", path.read_text()), path


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_every_role_runs_in_every_converge(scenario: str) -> None:
    # A phase that rests because nothing differs says nothing about its role.
    for _, _, variables in hosts(SCENARIOS[scenario]):
        assert variables["dream_full"] is True
