"""One order of phases, everywhere."""

import configparser

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
