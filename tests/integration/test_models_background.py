"""The models role without systemd: the upgrade runs, says why it is pending, and is withdrawn."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dream_runner import catalog, paths
from dream_runner.commands.facts import read_capture
from dream_runner.decide import fast_start, role_inputs
from dream_runner.decide.decision import decide
from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.native import background
from dream_runner.module_utils.dream_core.resources import observed_host, registry
from dream_runner.module_utils.dream_core.upgrade import progress
from dream_runner.run import ansible
from dream_runner.run.request import Request, new_run_id
from dream_runner.settings.table import defaults

SESSION = {"is_root": True, "user_manager": False, "uid": 0, "user": "root", "home": "/root"}
PLAYBOOK = """
- name: Test
  hosts: all
  gather_facts: false
  tasks:
    - name: Run tasks of the role
      ansible.builtin.include_role:
        name: "{{ role }}"
        tasks_from: "{{ tasks }}"
      vars:
        __models_begun: {interrupted: false}
    - name: Know what the role knows
      ansible.builtin.include_vars: "{{ role }}/vars/main.yml"
    - name: Write what the receipt holds
      ansible.builtin.copy:
        content: >-
          {{ {'resources': __models_resources, 'facts': __models_pending} | to_nice_json }}
        dest: "{{ out }}/receipt.json"
        mode: "0600"
"""

Play = Callable[..., Any]


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Path]:
    found = tmp_path / "my ai"
    found.mkdir()
    yield found
    background.stop(of(found))
    assert not any(of(found).processes().values())


def of(install: Path) -> background.Program:
    places = progress.Paths(str(install))
    return background.Program("", places.program, places.document)


@pytest.fixture
def play(install: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    settings = {name.removeprefix("dream_"): value for name, value in defaults().items()}
    # Nobody listens on port 9: this hub is down.
    settings |= {"install_dir": str(install), "profile": "native", "model_sha256": "a" * 64}
    settings |= {"model": "http://127.0.0.1:9/own.gguf"}
    folder = paths.PACKAGE.parent / "tests" / "fixtures" / "captures"
    facts = interpret(read_capture(str(folder / "cpu-64gb.yml")))
    facts["init"]["system"] = "other"
    choice = decide(settings, facts, SESSION, catalog.load(), {}, held={})
    assert (choice["supervisor"], choice["fast_start"]["use"]) == ("supervisord", True)
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK)
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        **{f"dream_{name}": value for name, value in settings.items()},
        "dream_choice": choice,
        "dream_session": SESSION,
        "dream_state": {"dir": str(tmp_path / "state"), "receipts": {}},
        "dream_upgraded": role_inputs.wanted(settings, fast_start.after(choice), facts, SESSION),
        "docker_facts": {"command": "docker", "become": False},
        "role": str(paths.content() / "roles" / "models"),
        "out": str(tmp_path),
    }

    def played(tasks: str) -> Any:
        request = Request(
            playbook="install",
            variables={**variables, "tasks": tasks},
            run_id=new_run_id(),
            run_dir=tmp_path / "runs" / new_run_id(),
        )
        done = ansible.execute(request, lambda event: None)
        assert done.error is None, done.error
        return done

    return played


def test_from_the_role_to_a_sentence_and_back(play: Play, install: Path, tmp_path: Path) -> None:
    assert play("upgrade").changed > 0
    known = json.loads((tmp_path / "receipt.json").read_text())
    receipts = {"models": {"state": "done", "install_dir": str(install), "facts": known["facts"]}}
    deadline = time.monotonic() + 60
    while not (seen := progress.look(receipts) or {}).get("why"):
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)
    assert (seen["stage"], seen["unit"]) == (progress.FETCHING, layout.UPGRADE_PROGRAM)
    said = progress.sentence(seen, str)
    assert "127.0.0.1:9: connection refused" in said
    assert "retried automatically" in said
    listed = [item for item in known["resources"] if item["kind"] == "background"]
    assert registry.observe(listed[0], observed_host.Host(listed)) == {
        "present": True,
        "active": "active",
    }

    before = of(install).processes()
    assert play("upgrade").changed == 0
    assert of(install).processes() == before

    assert play("remove_upgrade").changed > 0
    assert not any(of(install).processes().values())
    assert not (install / "upgrade").exists()
