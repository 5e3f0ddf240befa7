"""Every role works in a playbook of its own, in check mode and for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from chaos import sandbox

from dream_runner import paths
from dream_runner.module_utils.dream_core.phases import PHASES

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[2]
ANSIBLE = Path(sys.executable).with_name("ansible-playbook")


class Home:
    """A user's home directory, from which playbooks with one role each are run on this machine."""

    def __init__(self, home: Path, **variables: object) -> None:
        self.home = home
        self.variables = variables
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("XDG_", "DREAM_", "PYTHON", "ANSIBLE_"))
        }
        self.environment = {
            **kept,
            "HOME": str(home),
            "PYTHONPATH": str(ROOT),
            "ANSIBLE_CONFIG": str(paths.content() / "ansible.cfg"),
            "ANSIBLE_HOME": str(home / "ansible"),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "ANSIBLE_NOCOLOR": "1",
        }

    def play(self, role: str, *more: str, tasks: list[object] | None = None) -> dict[str, int]:
        """Run ``role`` alone and return what the recap counts."""
        playbook = self.home / f"{role}.yml"
        play = {"hosts": "localhost", "gather_facts": False, "roles": [role]}
        playbook.write_text(yaml.safe_dump([{**play, "tasks": tasks or []}]))
        command = [ANSIBLE, playbook, "--extra-vars", json.dumps(self.variables), *more]
        done = subprocess.run(
            command,
            env=self.environment, cwd=self.home, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        (recap,) = (line for line in done.stdout.splitlines() if line.startswith("localhost  "))
        return {key: int(value) for key, value in (word.split("=") for word in recap.split()[2:])}

    def files(self) -> set[str]:
        """Return the files of this home that no playbook or Ansible itself made."""
        return {
            str(path.relative_to(self.home))
            for path in self.home.rglob("*")
            if path.is_file() and path.suffix != ".yml" and "ansible" not in path.parts
        }


@pytest.mark.parametrize("role", PHASES)
def test_in_check_mode_on_a_bare_machine(role: str, tmp_path: Path) -> None:
    home = Home(tmp_path, dream_profile="native", dream_model="smoke")
    counts = home.play(role, "--check")
    assert counts["ok"] > 5
    assert counts["failed"] == counts["rescued"] == 0
    assert home.files() == set()


# Not docker, which judges the engine of this machine: tests/molecule runs it in nodes.
@pytest.mark.parametrize("role", ["directories", "images", "services", "health", "summary"])
def test_in_check_mode_with_the_full_profile(role: str, tmp_path: Path) -> None:
    home = Home(tmp_path, dream_profile="full", dream_model="smoke")
    assert home.play(role, "--check")["failed"] == 0
    assert home.files() == set()


def test_detection_publishes_the_facts_of_the_host(tmp_path: Path) -> None:
    shown = {
        "ansible.builtin.copy": {
            "dest": str(tmp_path / "facts"),
            "content": "{{ ansible_facts.dream_host | ansible.builtin.to_json }}",
        }
    }
    Home(tmp_path, dream_model="smoke").play("detection", tasks=[shown])
    facts = json.loads((tmp_path / "facts").read_text())
    assert facts["schema"] == "dream-runner.facts/1"
    assert facts["memory"]["total_mb"] > 0


def test_a_role_refuses_a_setting_of_another_type(tmp_path: Path) -> None:
    home = Home(tmp_path, dream_model="smoke", dream_engine_port="a port")
    with pytest.raises(AssertionError, match="dream_engine_port"):
        home.play("features", "--check")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home in which each role of a native install was run by a playbook of its own."""
    home = Home(
        tmp_path_factory.mktemp("home"),
        dream_profile="native",
        dream_model="smoke",
        dream_fast_start="no",
        dream_engine_port=sandbox.free_port(),
    )
    try:
        for role in PHASES:
            home.play(role)
        yield home
    finally:
        subprocess.run(
            [sys.executable, "-m", "dream_runner", "uninstall", "--yes", "--purge"],
            env=home.environment, cwd=home.home, check=True, capture_output=True, timeout=300,
        )  # fmt: skip


def test_one_by_one_for_real_they_make_an_installation(installed: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dream_runner", "status", "--json"],
        env=installed.environment, cwd=installed.home,
        capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["state"] == "ready", done.stdout


@pytest.mark.parametrize("role", ["directories", "models", "services", "health", "summary"])
def test_for_real_a_second_time_nothing_changes(role: str, installed: Home) -> None:
    assert installed.play(role)["changed"] == 0
