"""The models role leaves the host's own model to a unit: what it writes, without any systemd."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dream_runner import catalog, paths
from dream_runner.commands.facts import read_capture
from dream_runner.decide import fast_start, role_inputs
from dream_runner.decide.decision import decide
from dream_runner.module_utils.dream_core import layout
from dream_runner.module_utils.dream_core.facts.interpret import interpret
from dream_runner.module_utils.dream_core.upgrade import progress, upgrader
from dream_runner.run import ansible
from dream_runner.run.request import Request, new_run_id
from dream_runner.settings.table import defaults

SESSION = {"is_root": True, "user_manager": False, "uid": 0, "user": "root", "home": "/root"}

#: The role's own words, put into files in place of a unit's directory.
PLAYBOOK = """
- name: Test
  hosts: all
  gather_facts: false
  tasks:
    - name: Know what the role knows
      ansible.builtin.include_vars: "{{ role }}/vars/main.yml"
    - name: Write what the unit would be given
      ansible.builtin.copy:
        content: "{{ __models_document | to_nice_json }}"
        dest: "{{ out }}/upgrade.json"
        mode: "0600"
    - name: Write what the receipt would hold
      ansible.builtin.copy:
        content: "{{ {'resources': __models_resources, 'facts': __models_pending,
                      'network': __models_network} | to_nice_json }}"
        dest: "{{ out }}/receipt.json"
        mode: "0600"
    - name: Write the unit
      ansible.builtin.template:
        src: "{{ role }}/templates/dream-runner-upgrade.service.j2"
        dest: "{{ out }}/unit"
        mode: "0644"
    - name: Write the program
      dream_program:
        path: "{{ out }}/upgrade.pyz"
        entry: upgrade.upgrader
    - name: Write the program again
      dream_program:
        path: "{{ out }}/upgrade.pyz"
        entry: upgrade.upgrader
      register: again
      failed_when: again is changed
"""


def choice_of(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    folder = paths.PACKAGE.parent / "tests" / "fixtures" / "captures"
    facts = interpret(read_capture(str(folder / "cpu-64gb.yml")))
    return decide(settings, facts, SESSION, catalog.load(), {}, held={}), facts


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    settings = {name.removeprefix("dream_"): value for name, value in defaults().items()}
    settings |= {"install_dir": "/srv/my ai", "fast_start": "yes", "profile": "full"}
    choice, facts = choice_of(settings)
    after = role_inputs.wanted(settings, fast_start.after(choice), facts, SESSION)
    playbook = out / "playbook.yml"
    playbook.write_text(PLAYBOOK)
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        **{f"dream_{name}": value for name, value in settings.items()},
        "dream_choice": choice,
        "dream_session": SESSION,
        "dream_state": {"dir": "/root/state", "receipts": {}},
        "dream_upgraded": after,
        "docker_facts": {"command": "docker", "become": False},
        "models_token_file": "",
        "role": str(paths.content() / "roles" / "models"),
        "out": str(out),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "playbook", lambda verb: playbook)
        patch.setenv("HF_TOKEN", "hf_secret")
        run_id = new_run_id()
        result = ansible.execute(
            Request(playbook="install", variables=variables, run_id=run_id, run_dir=out / "runs"),
            lambda event: None,
        )
    assert result.error is None, result.error
    return out


def test_the_program_can_read_what_it_is_given(written: Path) -> None:
    document = upgrader.load(str(written / "upgrade.json"))
    assert document["before"]["model"]["id"] == "smollm2-135m-q4"
    assert document["after"]["env"]["GGUF_FILE"] == document["model"]["files"][0]["file"]
    assert document["after"]["env"]["CTX_SIZE"].isdigit()
    assert document["after"]["compose"] != document["before"]["compose"]
    assert document["facts"]["summary"]["model"]["context_tokens"] > 0
    assert set(document["upgraded"]) == set(document["upgraded"]) & set(role_inputs.of_roles())
    assert upgrader.main(["--check", str(written / "upgrade.json")]) == 0


def test_status_knows_the_upgrade_by_the_receipt(written: Path) -> None:
    known = json.loads((written / "receipt.json").read_text())
    receipts = {"models": {"state": "done", "install_dir": "/nowhere", "facts": known["facts"]}}
    seen = progress.look(receipts, lambda name, scope: {})
    assert seen is not None
    assert (seen["until"], seen["stage"], seen["unit"]) == (
        "smollm2-135m-q4",
        "stopped",
        layout.UPGRADE_UNIT,
    )
    kinds = [item["kind"] for item in known["resources"]]
    # Uninstall walks backwards: the unit first, its program and the models last.
    assert (kinds[0], kinds[-1]) == ("model", "unit")
    coming = [item["path"] for item in known["resources"] if item.get("coming") and "path" in item]
    assert any(path.endswith(".gguf") for path in coming)


def test_the_network_of_the_install_is_kept_for_the_unit(written: Path) -> None:
    known = json.loads((written / "receipt.json").read_text())
    assert known["network"]["HF_TOKEN"] == "hf_secret"
    assert "hf_secret" not in (written / "upgrade.json").read_text()
    assert "hf_secret" not in (written / "unit").read_text()


def test_the_unit_survives_and_yields(written: Path) -> None:
    text = (written / "unit").read_text()
    for line in (
        'ExecStart="/usr/bin/python3" "-B" "/srv/my ai/upgrade/upgrade.pyz"'
        ' "/srv/my ai/upgrade/upgrade.json"',
        "Restart=on-failure",
        f"RestartPreventExitStatus=2 {upgrader.FINAL}",
        "StartLimitIntervalSec=0",
        "Nice=10",
        "IOSchedulingClass=idle",
        "WantedBy=multi-user.target",
    ):
        assert line in text.splitlines(), text
