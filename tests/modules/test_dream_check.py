"""The host is judged once, with everything at once, and nothing is touched."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run, tree

HOST = {
    "os": {"family": "debian", "kernel": "6.1.0", "pretty_name": "Debian"},
    "arch": "amd64",
    "memory": {"usable_mb": 16000},
    "findings": [],
    "gpus": [],
    "backend": "cpu",
}
PACKAGES = {"libgomp": "libgomp1", "venv": "python3-venv", "certificates": "ca-certificates"}


class Ask:
    """A request with sound values, of which a test changes some."""

    def __init__(self, run: Run, home: Path) -> None:
        self.run, self.home = run, home
        self.settings: dict[str, Any] = {
            "profile": "native",
            "install_dir": str(home / "ai"),
            "disk_reserve_mb": 0,
            "accept": [],
        }
        self.session = {"user": "ada", "home": str(home), "is_root": False, "sudo": "passwordless"}
        content = b"model"
        (home / "source.gguf").write_bytes(content)
        self.file = {
            "file": "m.gguf",
            "sha256": hashlib.sha256(content).hexdigest(),
            "size_bytes": len(content),
            "urls": [f"file://{home}/source.gguf"],
        }
        self.choice: dict[str, Any] = {
            "profile": "native",
            "tier": {"id": "1"},
            "backend": "cpu",
            "engine_port": 0,
            "model": {"files": [self.file]},
        }

    def __call__(self, phase: str, check: bool = False, **more: Any) -> dict[str, Any]:
        arguments = {
            "settings": self.settings,
            "host": HOST,
            "session": self.session,
            "choice": self.choice,
            "state_dir": str(self.home / "state"),
            "packages": PACKAGES,
            **more,
        }
        before = tree(self.home)
        result = self.run("dream_check", check=check, phase=phase, **arguments)
        assert tree(self.home) == before
        return result


@pytest.fixture
def ask(run_module: Run, tmp_path: Path) -> Ask:
    return Ask(run_module, tmp_path)


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("phase", ["preflight", "detection", "requirements", "amd_tuning"])
def test_a_sound_host_passes_in_both_modes_and_nothing_changes(ask: Ask, phase: str) -> None:
    for check in (True, False):
        result = ask(phase, check=check)
        assert result.get("failed") is not True, result
        assert result["changed"] is False


def test_a_blocker_fails_with_our_error_and_can_be_accepted(ask: Ask) -> None:
    (ask.home / "ai").mkdir()
    (ask.home / "ai" / "thesis.tex").touch()
    result = ask("preflight")
    assert result["failed"]
    assert result["dream_error"]["code"] == "INSTALL_DIR_FOREIGN"
    assert result["dream_error"]["exit_code"] == 3
    ask.settings["accept"] = ["existing-install"]
    result = ask("preflight")
    assert result["accepted"] == ["existing-install"]
    assert "thesis.tex" in str(result["warnings"])


def test_force_goes_past_a_conflict(ask: Ask) -> None:
    (ask.home / "ai").mkdir()
    (ask.home / "ai" / "thesis.tex").touch()
    assert ask("preflight", force=True).get("failed") is not True


def test_a_port_that_was_free_a_moment_ago(ask: Ask, taken: int) -> None:
    ask.choice["engine_port"] = taken
    result = ask("requirements")
    assert result["dream_error"]["code"] == "PORT_TAKEN"
    assert str(taken) in result["msg"]


def test_a_small_disk_and_memory_are_said_together(ask: Ask) -> None:
    ask.settings.update(disk_reserve_mb=10**9, memory_limit_mb=100)
    result = ask("requirements")
    assert [item["id"] for item in result["findings"]] == ["memory", "disk"]
    assert result["dream_error"]["exit_code"] == 3


def test_a_python_that_cannot_make_environments_needs_its_package(ask: Ask) -> None:
    result = ask("requirements", python="/nonexistent/python3")
    assert "python3-venv" in result["missing_packages"]
    ask.session["sudo"] = "none"
    result = ask("requirements", python="/nonexistent/python3")
    assert result["dream_error"]["exit_code"] == 4
    assert "python3-venv" in result["dream_error"]["hint"]


def test_a_forced_gpu_that_is_not_there(ask: Ask) -> None:
    ask.settings["gpu"] = "nvidia"
    assert ask("detection")["dream_error"]["exit_code"] == 9


def test_a_hardware_defect_is_a_warning_unless_the_backend_was_forced(ask: Ask) -> None:
    defect = {"id": "DRIVER_TOO_OLD", "severity": "error", "what": "old driver", "hint": "newer"}
    assert "old driver" in str(ask("detection", host={**HOST, "findings": [defect]})["warnings"])
    ask.settings["gpu"] = "nvidia"
    result = ask("detection", host={**HOST, "findings": [defect]})
    assert result["dream_error"]["code"] == "DRIVER_TOO_OLD"


def test_offline_names_what_is_not_here_and_proves_the_rest_by_digest(ask: Ask) -> None:
    result = ask("offline")
    assert result["dream_error"]["code"] == "OFFLINE_ARTEFACT_MISSING"
    assert "engine" in result["msg"]
    python = ask.home / "ai" / "engine" / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert len(ask("offline")["proved"]) == 2
    (ask.home / "source.gguf").write_bytes(b"MODEL")
    assert "m.gguf" in ask("offline")["msg"]


def test_package_names_are_names(ask: Ask) -> None:
    result = ask("packages", packages={"--purge": "", "jq": ""})
    assert result["dream_error"]["code"] == "PACKAGE_NAME"
    result = ask("packages", packages={"dream-no-such-package": ""})
    assert result["missing_packages"] == ["dream-no-such-package"]
