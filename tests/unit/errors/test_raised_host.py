"""What a host lacks or has too much of: each finding under its own code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from dream_runner.module_utils.dream_core.checks import finding, judge, preflight, requirements
from dream_runner.module_utils.dream_core.facts.finding_texts import CATALOGUE
from dream_runner.module_utils.dream_core.facts.finding_texts import finding as hardware
from dream_runner.module_utils.dream_core.files import env_file_write
from dream_runner.module_utils.dream_core.system import atomic
from dream_runner.run.processes import lock
from unit.errors.raising import raised, told

HOST = {"os": {"family": "debian", "kernel": "6.1.0-18-amd64"}, "arch": "amd64"}
SESSION = {"user": "ada", "home": "/home/ada", "is_root": False, "sudo": "none"}
PLACE = {
    "path": "/home/ada/ai",
    "existing": "/home/ada",
    "mount": "/",
    "fstype": "ext4",
    "read_only": False,
    "is_directory": True,
    "writable": True,
}


def judged(profile: str = "native", **given: Any) -> tuple[str, int]:
    """Return the code and exit code that preflight gives a host with something changed."""
    place = {**PLACE, **given.pop("place", {})}
    host = {**HOST, **given.pop("host", {})}
    probes = {"install_dir": place, "now": 1790000000, **given}
    found = preflight.check({"profile": profile}, host, SESSION, {}, probes)
    error = finding.error_of(found)
    return (error.code, error.exit_code) if error else ("", 0)


@pytest.mark.parametrize(
    ("given", "code", "exit_code"),
    [
        ({}, "", 0),
        ({"host": {"arch": "riscv64"}}, "ARCHITECTURE", 3),
        ({"host": {"os": {"family": "alpine"}}}, "OS_UNSUPPORTED", 3),
        ({"host": {"os": {"family": "debian", "kernel": "3.10.0"}}}, "KERNEL", 3),
        ({"now": 12}, "CLOCK", 3),
        ({"place": {"fstype": "exfat"}}, "FILESYSTEM", 3),
        ({"place": {"path": "/etc"}}, "INSTALL_DIR_UNUSABLE", 2),
        ({"place": {"is_directory": False}}, "INSTALL_DIR_UNUSABLE", 2),
        ({"place": {"read_only": True}}, "READ_ONLY", 6),
        ({"place": {"writable": False}}, "NOT_PERMITTED", 4),
        # Its owner opens it again.
        ({"place": {"writable": False, "own": True}}, "", 0),
        ({"entries": ["thesis.tex"]}, "INSTALL_DIR_FOREIGN", 3),
        ({"profile": "full"}, "NOT_PRIVILEGED", 4),
        (
            {"profile": "full", "docker_usable": True, "old_install": "/opt/dream-server"},
            "CONFLICTING_INSTALL",
            3,
        ),
    ],
)
def test_preflight(given: dict[str, Any], code: str, exit_code: int) -> None:
    assert judged(**given) == (code, exit_code)


NEEDS = {"memory_mb": 2000, "memory_wanted_mb": 2000}
CHOICE = {"engine_port": 80, "model": {"files": []}}


@pytest.mark.parametrize(
    ("memory_mb", "first_free_port", "code", "exit_code"),
    [(1000, 0, "MEMORY_TOO_SMALL", 3), (4000, 1024, "PORT_PRIVILEGED", 4)],
)
def test_requirements(memory_mb: int, first_free_port: int, code: str, exit_code: int) -> None:
    found = requirements.check(
        {"profile": "native"},
        {"memory": {"usable_mb": memory_mb}},
        SESSION,
        CHOICE,
        NEEDS,
        {"disk": [], "first_free_port": first_free_port},
    )
    error = finding.error_of(found)
    assert error is not None
    assert (error.code, error.exit_code) == (code, exit_code)


@pytest.mark.parametrize(
    "name",
    [
        "GPU_DRIVER_BROKEN",
        "GPU_DRIVER_MISSING",
        "DRIVER_MISMATCH",
        "DRIVER_TOO_OLD",
        "NOUVEAU_IN_USE",
        "SECURE_BOOT_BLOCKS_MODULE",
        "BLACKWELL_NEEDS_OPEN_MODULE",
        "NO_KFD",
        "NO_RENDER_NODE",
    ],
)
def test_why_the_gpu_asked_for_cannot_be_used(name: str) -> None:
    def ended(gpu: str) -> Any:
        request = {
            "phase": "detection",
            "settings": {"gpu": gpu},
            "host": {"findings": [hardware(name)], "gpus": []},
        }
        return finding.error_of(judge.examine(request)["findings"])

    error = ended("nvidia")
    assert (error.code, error.exit_code) == (name, 9)
    assert CATALOGUE[name][2] in str(error) + error.hint
    # Nobody asked for it: the CPU does the work.
    assert ended("auto") is None


# --- files ----------------------------------------------------------------------------


def test_a_disk_that_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert told(atomic.write_bytes, str(tmp_path / "file" / "x"), b"", 0o600) == (
        "NOT_A_DIRECTORY",
        6,
    )


@pytest.mark.parametrize("kind", ["link", "directory"])
def test_something_else_in_place_of_the_settings(tmp_path: Path, kind: str) -> None:
    path = tmp_path / ".env"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    else:
        path.mkdir()
    words: dict[str, Any] = {"managed": {"A": "1"}, "defaults": {}, "secrets": {}}
    ended = told(env_file_write.settle, str(path), has_data=False, write=True, **words)
    assert ended == ("ENV_NOT_A_FILE", 2)


# --- other runs -----------------------------------------------------------------------


def test_root_in_the_install_of_a_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    monkeypatch.setattr(lock.os, "geteuid", lambda: 0)
    hold = lock.hold(str(tmp_path), "x", print)
    assert told(hold.__enter__) == ("INSTALL_OF_ANOTHER_USER", 4)


def test_processes_that_nothing_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that sleeps in the kernel, on a disk that is gone."""
    deaf = psutil.Process()
    monkeypatch.setattr(deaf, "terminate", lambda: None)
    monkeypatch.setattr(deaf, "kill", lambda: None)
    monkeypatch.setattr(lock, "leftovers", lambda _: [deaf])
    seconds = dict.fromkeys(("wait_seconds", "term_seconds", "kill_seconds"), 0.0)
    error = raised(lock.clear_leftovers, str(tmp_path), lambda _: None, **seconds)
    assert (error.code, error.exit_code) == ("LEFTOVER_PROCESSES", 12)
    assert str(deaf.pid) in f"{error} {error.hint}"
