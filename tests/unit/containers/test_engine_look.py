"""Options in somebody's file and membership in a group: recorded, surveyed, taken back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.containers import daemon_options, engine_look
from dream_runner.module_utils.dream_core.records import receipt, record_phase, survey
from dream_runner.module_utils.dream_core.resources import observed_host, registry
from dream_runner.module_utils.dream_core.undo.uninstall import remove

OURS = {"log-driver": "json-file", "log-opts": {"max-size": "10m"}}


@pytest.fixture
def daemon_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "etc" / "daemon.json"
    path.parent.mkdir()
    monkeypatch.setattr(daemon_options, "DAEMON_FILE", str(path))
    return path


def record(tmp_path: Path, daemon_file: Path, state: str) -> None:
    record_phase.record(
        state_dir=str(tmp_path / "state"),
        phase="docker",
        state=state,
        resources=[{"kind": "options", "path": str(daemon_file), "set": OURS}],
        stamp={"version": "1", "run_id": "r", "install_dir": str(tmp_path / "home" / "dream")},
    )


def write(path: Path, options: dict[str, Any]) -> None:
    path.write_text(json.dumps(options))


def drift(tmp_path: Path) -> list[dict[str, str]]:
    receipts, _ = receipt.read_all(str(tmp_path / "state"))
    return survey.survey(receipts)["docker"]


@pytest.mark.parametrize("theirs", [{}, {"debug": True, "log-opts": {"tag": "x"}}])
def test_ours_are_taken_back_and_theirs_stay(
    tmp_path: Path, daemon_file: Path, theirs: dict[str, Any]
) -> None:
    if theirs:
        write(daemon_file, theirs)
    record(tmp_path, daemon_file, "running")
    write(daemon_file, daemon_options.merge(theirs, OURS, {})["options"])
    record(tmp_path, daemon_file, "done")
    assert drift(tmp_path) == []

    answer = remove(str(tmp_path / "state"), str(tmp_path / "home"), purge=False)
    assert answer["left"] == []
    assert daemon_file.exists() is bool(theirs)
    if theirs:
        assert json.loads(daemon_file.read_text()) == theirs


def test_one_of_ours_gone_is_drift_and_one_of_theirs_is_not(
    tmp_path: Path, daemon_file: Path
) -> None:
    record(tmp_path, daemon_file, "running")
    write(daemon_file, OURS)
    record(tmp_path, daemon_file, "done")
    write(daemon_file, {**OURS, "debug": True})
    assert drift(tmp_path) == []
    write(daemon_file, {"log-driver": "json-file"})
    assert [item["found"] for item in drift(tmp_path)] == ["missing"]


def test_membership_is_that_of_the_account_database() -> None:
    assert not engine_look.is_member("nobody", "no-such-group")
    resource = {"kind": "group", "group": "no-such-group", "user": "nobody"}
    assert registry.observe(resource, observed_host.Host([resource])) == {"present": False}
    assert receipt.identity(resource) == ("group", "no-such-group", "nobody")


def test_what_is_shared_stays(tmp_path: Path) -> None:
    path = tmp_path / "home" / "dream" / "list"
    path.parent.mkdir(parents=True)
    shared = {"kind": "file", "path": str(path), "mode": "0644", "shared": True}
    stamp = {"version": "1", "run_id": "r", "install_dir": str(path.parent)}
    where: dict[str, Any] = {
        "state_dir": str(tmp_path / "state"),
        "phase": "docker",
        "stamp": stamp,
    }
    record_phase.record(state="running", resources=[shared], **where)
    path.write_text("ours")
    record_phase.record(state="done", **where)
    answer = remove(str(tmp_path / "state"), str(tmp_path / "home"), purge=True)
    assert path.exists()
    assert answer["left"] == []
