"""The services role describes the engine with both models as it would run with each of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dream_runner import catalog, paths
from dream_runner.commands.facts import read_capture
from dream_runner.decide import fast_start
from dream_runner.decide.decision import decide
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.upgrade import switch_native
from dream_runner.run import ansible
from dream_runner.run.request import Request, new_run_id
from dream_runner.settings.table import defaults

SESSION = {"is_root": True, "user_manager": False, "uid": 0, "user": "root", "home": "/root"}

#: What the role writes for the upgrade, and what it writes when it installs with a model.
PLAYBOOK = """
- name: Test
  hosts: all
  gather_facts: false
  vars_files: ["{{ out }}/choice.json"]
  roles: ["{{ out }}/role"]
"""

#: In a role: a task's variables stand before those of its role, as in the role itself.
TASKS = """
- name: Write a side as the role does
  ansible.builtin.copy:
    content: "{{ __services_side | to_nice_json }}"
    dest: "{{ out }}/{{ item.path | basename }}"
    mode: "0600"
  vars:
    __services_model: "{{ item.model }}"
  loop: "{{ __services_sides }}"
- name: Write what an install with that model runs
  ansible.builtin.copy:
    content: >-
      {{ {'command': __services_command, 'facts': __services_facts['native'],
          'config': (__services_files | last).content} | to_nice_json }}
    dest: "{{ out }}/install-{{ item.name }}"
    mode: "0600"
  vars:
    dream_choice: "{{ item.choice }}"
  loop: "{{ choices }}"
- name: Write the unit of that install
  ansible.builtin.template:
    src: dream-runner-engine.service.j2
    dest: "{{ out }}/unit-{{ item.name }}"
    mode: "0600"
  vars:
    dream_choice: "{{ item.choice }}"
  loop: "{{ choices }}"
  when: item.choice.supervisor != 'supervisord'
"""


def choice_of(settings: dict[str, Any], init: str) -> dict[str, Any]:
    folder = paths.PACKAGE.parent / "tests" / "fixtures" / "captures"
    facts = interpret(read_capture(str(folder / "cpu-64gb.yml")))
    facts["init"]["system"] = init
    return decide(settings, facts, SESSION, catalog.load(), {}, held={})


@pytest.mark.parametrize("init", ["systemd", "other"])
@pytest.mark.parametrize("key", [False, True])
def test_each_side_is_what_an_install_with_that_model_runs(
    init: str, key: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {
        name.removeprefix("dream_"): value for name, value in defaults().items()
    }
    settings |= {"install_dir": "/srv/my ai", "profile": "native", "fast_start": "yes"}
    settings |= {"api_key": key}
    choice = choice_of(settings, init)
    assert choice["upgrade"]["stack"] is None
    role = tmp_path / "role"
    (role / "tasks").mkdir(parents=True)
    (role / "tasks" / "main.yml").write_text(TASKS)
    for name in ("defaults", "files", "templates", "vars"):
        (role / name).symlink_to(paths.content() / "roles" / "services" / name)
    (tmp_path / "choice.json").write_text(json.dumps({"dream_choice": choice}))
    (tmp_path / "group_vars").symlink_to(paths.content() / "playbooks" / "group_vars")
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK)
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    after = {"name": "after", "choice": fast_start.after(choice)}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        **{f"dream_{name}": value for name, value in settings.items()},
        "dream_session": SESSION,
        "dream_state": {"dir": "/root/state", "receipts": {}},
        "directories_facts": {"env_file": "/srv/my ai/.env", "engine_key_mark": "abc"},
        "choices": [{"name": "before", "choice": choice}, after],
        "out": str(tmp_path),
    }
    request = Request(
        playbook="install",
        variables=variables,
        run_id=new_run_id(),
        run_dir=tmp_path / "runs",
    )
    result = ansible.execute(request, lambda event: None)
    assert result.error is None, result.error
    sides = {name: read(tmp_path / f"{name}.json") for name in ("before", "after")}
    for name, side in sides.items():
        installed = read(tmp_path / f"install-{name}")
        assert side["command"] == installed["command"]
        assert side["revision"] == installed["facts"]["revision"]
        config = side["files"][0]["content"]
        assert config == installed["config"]
        assert json.loads(config) == side["config"]
        if init == "systemd":
            assert side["files"][1]["content"] == (tmp_path / f"unit-{name}").read_text()
            assert side["files"][1]["path"].endswith("/dream-runner-engine.service")
    final = choice["upgrade"]["model"]
    assert sides["before"]["sha256"] == choice["model"]["sha256"]
    assert sides["after"]["sha256"] == final["sha256"]
    assert sides["after"]["config"]["alias"] == final["id"]
    assert sides["before"]["command"] != sides["after"]["command"]
    trial = switch_native.trial_config(sides["after"]["config"], 1)
    assert ("api_key_env" in trial) is key


def read(path: Path) -> Any:
    return json.loads(path.read_text())
