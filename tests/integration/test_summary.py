"""Reporting never changes the result: a summary that cannot be written is a warning (C1, U-57)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from dream_runner import paths
from dream_runner.machine import resume
from dream_runner.module_utils.dream_core.phases import PHASES
from dream_runner.module_utils.dream_core.records.receipt import read_all, write
from dream_runner.run import ansible
from dream_runner.run.request import Request, Result, new_run_id

PLAYBOOK = """
- name: Test
  hosts: all
  gather_facts: false
  roles:
    - role: summary
"""
MODEL = {"id": "m", "name": "M", "sha256": "0" * 64}
CHOICE = {
    "profile": "native",
    "model": MODEL,
    "upgrade": None,
    "stack": None,
    "webui": None,
    "context_tokens": 2048,
    "engine_port": 11434,
    "engine_address": "127.0.0.1",
    "url": "http://127.0.0.1:11434",
    "tier": {"id": "0"},
    "backend": "cpu",
    "supervisor": "supervisord",
    "features": {"enabled": {}},
}


def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **more: Any) -> Result:
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(PLAYBOOK)
    monkeypatch.setattr(paths, "playbook", lambda verb: playbook)
    run_id = new_run_id()
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "dream_state_dir": str(tmp_path / "state"),
        "dream_install_dir": str(tmp_path / "ai"),
        "dream_profile": "native",
        "dream_model": "smoke",
        "dream_bind_address": "127.0.0.1",
        "dream_api_key": False,
        "dream_choice": CHOICE,
        "dream_run": {"id": run_id, "socket": "", "version": "1"},
        "health_facts": {"degraded": {}},
        **more,
    }
    request = Request(
        playbook="install", variables=variables, run_id=run_id, run_dir=tmp_path / "runs" / run_id
    )
    return ansible.execute(request, lambda event: None)


def test_a_summary_that_cannot_be_written_leaves_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The install directory has gone: the last phase fails, the install does not."""
    result = report(tmp_path, monkeypatch)
    assert (result.error, result.interrupted) == (None, False)
    state = str(tmp_path / "state")
    found = read_all(state)[0]
    assert found["summary"]["state"] == "failed"
    for phase in PHASES[:-1]:
        write(state, {"schema": 2, "phase": phase, "state": "done", "install_dir": "/srv/ai"})
    # Nobody is told that the install stopped; the next run writes the summary.
    assert resume.read(read_all(state)[0]).state == "finished"
    (tmp_path / "ai").mkdir()
    assert report(tmp_path, monkeypatch).error is None
    assert read_all(state)[0]["summary"]["state"] == "done"


def test_what_health_found_is_the_result_even_without_a_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = report(tmp_path, monkeypatch, health_facts={"degraded": {"tts": "it is down"}})
    assert result.error is not None
    assert (result.error.code, result.error.exit_code) == ("SERVICES_DEGRADED", 11)
