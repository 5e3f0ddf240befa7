"""What is handed to Ansible is data: no text of anybody is evaluated, and all of it arrives."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths
from dream_runner.fleet import session
from dream_runner.module_utils.dream_core.errors import UsageError
from dream_runner.run import ansible, extra_vars, scratch
from dream_runner.run.request import Reach, Request, Result, new_run_id
from dream_runner.settings.table import BY_NAME
from tests.fixtures import hostile

LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}

#: Each way in which our roles pass a value on: plain, joined, kept, looped, looked up, in a file.
TASKS = """
- name: Evaluate
  hosts: all
  gather_facts: false
  vars:
    joined: "{{ hostile.lookup }}/x"
    settings: {one: "{{ hostile.lookup }}", two: "{{ joined }}"}
  tasks:
    - name: Keep
      ansible.builtin.set_fact:
        kept: "{{ hostile }}"
        again: "{{ settings }}"
    - name: Loop
      ansible.builtin.debug:
        msg: "{{ item }} {{ lookup('vars', 'joined') }} {{ vars['joined'] }}"
      loop: "{{ kept.values() | list }}"
    - name: From a module
      ansible.builtin.command:
        argv: [printf, "%s", "{{ kept.lookup }}"]
        expand_argument_vars: false
      register: said
      changed_when: false
    - name: Compare
      ansible.builtin.assert:
        that: said.stdout == hostile.lookup
        fail_msg: "{{ said.stdout }}"
    - name: Write
      ansible.builtin.copy:
        content: "{{ {'hostile': kept, 'again': again, 'said': said.stdout} | to_json }}"
        dest: "{{ out }}"
        mode: "0600"
"""


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    environment: dict[str, str] = {}
    path = hostile.arm(environment, tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return path


def execute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Result:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(textwrap.dedent(TASKS))
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    run_id = new_run_id()
    variables = {**LOCAL, "hostile": hostile.TEXTS, "out": str(tmp_path / "out.json")}
    request = Request("install", variables, run_id, tmp_path / "runs" / run_id, **more)
    return ansible.execute(request, lambda _: None)


def test_no_value_is_evaluated_and_each_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path
) -> None:
    result = execute(tmp_path, monkeypatch)
    assert result.rc == 0, result.error
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["hostile"] == hostile.TEXTS
    assert found["said"] == hostile.LOOKUP
    assert found["again"] == {"one": hostile.LOOKUP, "two": hostile.LOOKUP + "/x"}
    assert not mark.exists()


def test_the_expression_would_have_an_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path
) -> None:
    """Without the handover the same playbook runs the command: the test above can fail."""
    monkeypatch.setattr(extra_vars, "unsafe", lambda value: value)
    execute(tmp_path, monkeypatch)
    assert mark.exists()


def test_the_state_directory_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path
) -> None:
    home = tmp_path / hostile.TEXTS["shell"].replace("/", "-") / hostile.LOOKUP / "100%s:{#"
    home.mkdir(parents=True)
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "USER", "LOGNAME"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(home))
    before = set(os.listdir(home))
    run_id = new_run_id()
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(textwrap.dedent(TASKS))
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    variables = {**LOCAL, "hostile": hostile.TEXTS, "out": str(tmp_path / "out.json")}
    request = Request("install", variables, run_id, home / "runs" / run_id)
    result = ansible.execute(request, lambda _: None)
    assert result.rc == 0, (request.run_dir / "log.txt").read_text()
    assert json.loads((tmp_path / "out.json").read_text())["hostile"] == hostile.TEXTS
    assert set(os.listdir(home)) - before == {"runs"}
    assert not mark.exists()


def test_a_fleets_table_is_data_and_its_cells_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mark: Path
) -> None:
    """Settings, places that a host told, ssh arguments and peers go through the table."""
    row = {f"dream_{name}": hostile.LOOKUP for name in BY_NAME}
    row |= {"dream_state_dir": hostile.LOOKUP, "socket": "/s", "ssh_args": "-F none",
            "forwards": "", "peers": [hostile.LOOKUP]}  # fmt: skip
    playbook = tmp_path / "playbook.yml"
    names = sorted(name for name in row if name.startswith("dream_"))
    shown = ", ".join(f"'{name}': {name}" for name in [*names, "dream_fleet_peers"])
    playbook.write_text(
        f"""
- name: Write
  hosts: all
  gather_facts: false
  tasks:
    - name: Write
      ansible.builtin.copy:
        content: "{{{{ {{{shown}, 'run': dream_run}} | to_json }}}}"
        dest: {tmp_path}/out.json
        mode: "0600"
"""
    )
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    inventory = tmp_path / "hosts.yml"
    inventory.write_text("all: {hosts: {'web-1': {}}}")
    run_id = new_run_id()
    request = Request(
        "install",
        {**LOCAL, "dream_fleet": {"web-1": row}},
        run_id,
        tmp_path / "runs" / run_id,
        reach=Reach((str(inventory),), "web-1", session.cell("socket"), session.FROM_TABLE),
    )
    result = ansible.execute(request, lambda _: None)
    assert result.rc == 0, (request.run_dir / "log.txt").read_text()
    found = json.loads((tmp_path / "out.json").read_text())
    assert found.pop("run")["socket"] == "/s"
    assert found.pop("dream_fleet_peers") == [hostile.LOOKUP]
    assert set(found.values()) == {hostile.LOOKUP}
    assert not mark.exists()


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        extra_vars.document({"dream_install_dir": "/srv/\udcff"})
    assert caught.value.code == "TEXT_NOT_UTF8"
    with pytest.raises(ValueError, match="__ansible_"):
        extra_vars.document({"x": {"__ansible_vault": "y"}})


def test_only_one_place_hands_variables_over() -> None:
    for path in paths.PACKAGE.rglob("*.py"):
        if path != paths.PACKAGE / "run" / "ansible.py":
            assert "--extra-vars" not in path.read_text(), path
    assert (paths.PACKAGE / "run" / "ansible.py").read_text().count("extra_vars.document(") == 1
