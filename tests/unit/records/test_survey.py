"""Every kind of drift is found; what is as it was costs no reading."""

import hashlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dream_runner.module_utils.dream_core.records import receipt, survey
from dream_runner.module_utils.dream_core.resources import observed_host, registry
from dream_runner.module_utils.dream_core.system import kernel


def seen(resource: dict[str, Any]) -> dict[str, Any]:
    return registry.observe_all([resource])[0]


def drift(resource: dict[str, Any], verify: bool = False) -> str:
    line = survey.drift(resource, observed_host.Host([resource]), verify)
    return line["found"] if line else ""


@pytest.fixture
def file(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "config.json"
    path.write_text("content")
    path.chmod(0o644)
    return seen({"kind": "file", "path": str(path), "mode": "0644", "origin": "made"})


def same_size_and_time(path: Path) -> None:
    before = path.stat()
    path.write_text("CONTENT")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def rot(file: dict[str, Any]) -> None:
    """Change the content as a disk does, below all that a file system knows of it."""
    same_size_and_time(Path(file["path"]))
    file["seen"]["ctime_ns"] = os.stat(file["path"]).st_ctime_ns


BREAKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "deleted": (lambda path: path.unlink(), "missing"),
    "edited": (lambda path: path.write_text("something else"), "sha256"),
    "chmod": (lambda path: path.chmod(0o666), "mode"),
    "replaced by a link": (
        lambda path: (path.rename(path.with_suffix(".x")), path.symlink_to("/etc/hostname")),
        "is link",
    ),
    "truncated": (lambda path: path.write_bytes(b""), "sha256"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_file_is_found(file: dict[str, Any], name: str) -> None:
    assert drift(file) == ""
    act, word = BREAKS[name]
    act(Path(file["path"]))
    assert word in drift(file)


def test_a_file_written_again_with_the_same_content_has_not_drifted(file: dict[str, Any]) -> None:
    Path(file["path"]).write_text("content")
    assert drift(file) == ""


def test_hidden_rot_is_found_by_verify_only(file: dict[str, Any]) -> None:
    rot(file)
    assert drift(file) == ""
    assert "sha256" in drift(file, verify=True)


def test_an_edit_that_puts_the_time_back_is_found(file: dict[str, Any]) -> None:
    same_size_and_time(Path(file["path"]))
    assert "sha256" in drift(file)


def test_a_volatile_file_may_change_but_not_go(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("1")
    resource = seen({"kind": "file", "path": str(path), "mode": "0644", "volatile": True})
    path.write_text("12")
    assert drift(resource) == ""
    path.unlink()
    assert drift(resource) == "missing"


def test_a_model_is_not_read_while_its_stamp_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    resource = seen({"kind": "model", "path": str(path), "sha256": digest})

    def fail(*_: object) -> str:
        raise AssertionError("read although nothing changed")

    with monkeypatch.context() as patch:
        patch.setattr("dream_runner.module_utils.dream_core.fetch.disk.stamp.hash_file", fail)
        assert drift(resource) == ""
    path.write_bytes(b"WEIGHTS")
    assert "sha256" in drift(resource)


def test_a_tree_tells_any_file_from_any_other(tmp_path: Path) -> None:
    root = tmp_path / "venv"
    (root / "lib").mkdir(parents=True)
    (root / "lib" / "a.py").write_text("a")
    (root / "lib64").symlink_to("lib")
    resource = seen({"kind": "tree", "path": str(root)})
    (root / "lib" / "__pycache__").mkdir()
    (root / "lib" / "__pycache__" / "a.pyc").write_text("byte code")
    assert drift(resource) == ""
    (root / "lib" / "a.py").write_text("ab")
    assert "listing" in drift(resource)


def test_a_port_that_opens_after_its_phase_is_no_drift() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        resource = seen({"kind": "port", "port": listener.getsockname()[1]})
        assert resource["seen"]["present"] is False
        listener.listen()
        assert drift(resource) == ""


def test_a_port_is_ours_while_something_listens() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        resource = seen({"kind": "port", "port": listener.getsockname()[1]})
        assert resource["seen"] == {"present": True}
        assert drift(resource) == ""
    assert drift(resource) == "missing"


def test_a_kernel_setting_that_somebody_changed_is_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = {"kind": "sysctl", "name": "vm.swappiness", "origin": "found"}
    monkeypatch.setattr(kernel, "sysctl", lambda name: "10")
    (seen,) = registry.observe_all([resource])
    assert survey.drift(seen, observed_host.Host([seen])) is None
    monkeypatch.setattr(kernel, "sysctl", lambda name: "60")
    found = survey.drift(seen, observed_host.Host([seen]))
    assert found == {"what": "sysctl vm.swappiness", "found": "value is 60, was 10"}


def test_a_resource_that_nobody_looked_at_is_drift() -> None:
    assert "unknown when its phase ended" in drift({"kind": "file", "path": "/x"})


def test_what_is_still_to_come_is_no_drift(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    coming = seen({"kind": "file", "path": str(path), "coming": True})
    path.write_text("here now")
    assert drift(coming) == ""
    assert "present (was missing)" in drift(dict(coming, coming=False))


def test_a_unit_that_retries_is_at_work_between_two_starts() -> None:
    shown = {"LoadState": "loaded", "ActiveState": "activating", "UnitFileState": "enabled"}
    unit = {"kind": "unit", "name": "u.service", "scope": "system"}
    host = observed_host.Host([unit])
    host.once(("units", "system"), lambda: {"u.service": shown})
    assert registry.observe(unit, host)["active"] == "activating"
    assert registry.observe(dict(unit, retries=True), host)["active"] == "active"


def test_every_kind_of_a_receipt_can_be_observed() -> None:
    assert set(registry.KINDS) == set(receipt.IDENTITY)


def test_survey_names_phase_and_resource(file: dict[str, Any]) -> None:
    receipts = {"directories": {"resources": [file]}, "docker": {}}
    assert survey.survey(receipts) == {"directories": [], "docker": []}
    Path(file["path"]).unlink()
    assert survey.survey(receipts)["directories"] == [
        {"what": "file " + file["path"], "found": "missing"}
    ]


@pytest.mark.parametrize(
    ("key", "before", "now", "said"),
    [
        ("active", "active", "inactive", "stopped (was running)"),
        ("active", "active", "activating", "restarting (was running)"),
        ("active", "RUNNING", "FATAL", "failed (was running)"),
        ("active", "inactive", "dead", "dead (was inactive)"),
        ("sha256", "b" * 64, "8" * 64, f"sha256 changed: was {'b' * 12}..., now {'8' * 12}..."),
        ("sha256", "b" * 64, "it cannot be read", f"sha256 changed: was {'b' * 12}..., now it"),
        ("mode", "0600", "0644", "mode is 0644, was 0600"),
    ],
)
def test_a_difference_is_told_in_words(key: str, before: str, now: str, said: str) -> None:
    seen = [{"present": True, key: value} for value in (before, now)]
    assert survey.difference({"kind": "unit"}, *seen).startswith(said)


def test_another_model_is_told_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"other")
    model = {"kind": "model", "path": str(path), "sha256": "b" * 64}
    seen = registry.observe(model, observed_host.Host())
    assert seen["sha256"] == hashlib.sha256(b"other").hexdigest()
