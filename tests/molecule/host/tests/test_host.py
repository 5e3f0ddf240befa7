"""What a host is told and given before any engine: said by the host's own tools."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest


@pytest.fixture
def turned() -> bool:
    """Whether every default is turned round in this scenario."""
    return os.environ["MOLECULE_SCENARIO_NAME"].endswith("alternative")


@pytest.fixture
def user(on_13: bool, turned: bool) -> str:
    return "root" if on_13 is turned else "sudoer"


@pytest.fixture
def home(user: str) -> str:
    return "/root" if user == "root" else "/home/sudoer"


@pytest.fixture
def root(home: str) -> str:
    return f"{home}/dream"


@pytest.fixture
def told(host: Any) -> list[list[str]]:
    """Return how the recorders were called, before the drift and after it."""
    with host.sudo():
        lines = str(host.check_output("cat /var/log/told")).splitlines()
    at = lines.index("drifted") if "drifted" in lines else len(lines)
    return [lines[:at], lines[at + 1 :]]


# --- amd_tuning -----------------------------------------------------------------------------


def test_the_kernel_is_told_what_the_engine_needs(host: Any) -> None:
    file = host.file("/etc/sysctl.d/99-dream-runner.conf")
    assert (file.mode, file.user, file.group) == (0o644, "root", "root")
    lines = [line for line in file.content_string.splitlines() if not line.startswith("#")]
    assert lines == ["vm.swappiness = 10", "vm.vfs_cache_pressure = 50"]
    for line in lines:
        name, _, value = line.partition(" = ")
        now = host.file(f"/proc/sys/{name.replace('.', '/')}").content_string
        assert now.strip() == value


def test_the_driver_gets_the_table_of_a_single_gpu_that_shares_the_memory(host: Any) -> None:
    text = host.file("/etc/modprobe.d/dream-runner-amdgpu.conf").content_string
    options = dict(
        pair.split("=") for line in text.splitlines() if line.startswith("options")
        for pair in line.split()[2:]
    )  # fmt: skip
    assert options["gpu_recovery"] == "1"
    # 90 % of the memory of this capture, in MB; and the same in pages of 4 KB.
    assert 100_000 < int(options["gttsize"]) < 131_072
    assert int(options["pages_limit"]) == int(options["gttsize"]) * 256


def test_the_folders_of_its_files_are_in_its_record(host: Any, home: str) -> None:
    with host.sudo():
        receipt = host.file(f"{home}/.local/state/dream-runner/receipts/amd_tuning.json")
        resources = json.loads(receipt.content_string)["resources"]
    found = {item["path"]: item["origin"] for item in resources if "path" in item}
    assert {"/etc/sysctl.d", "/etc/modprobe.d"} < found.keys()
    # A small image has the one and not the other, which it takes kmod to bring.
    assert found["/etc/modprobe.d"] == "made"
    assert found["/etc/sysctl.d"] != "made"


def test_it_is_applied_once_and_again_after_the_drift_only(told: list[list[str]]) -> None:
    for part in told if told[1] else told[:1]:
        assert part.count("sysctl --load /etc/sysctl.d/99-dream-runner.conf") == 1, part
        assert part.count("update-initramfs -u") == 1, part


def test_the_governor_is_set_where_that_is_wanted(told: list[list[str]], turned: bool) -> None:
    for part in told if told[1] else told[:1]:
        asked = [line for line in part if line.startswith("tuned-adm")]
        assert ("tuned-adm profile accelerator-performance" in asked) is not turned
        assert asked.count("tuned-adm profile accelerator-performance") <= 1
        assert bool(asked) is not turned, asked


# --- offline --------------------------------------------------------------------------------


def test_the_marker_tells_the_truth(host: Any, turned: bool, home: str, user: str) -> None:
    with host.sudo():
        assert not host.file(f"{home}/dream/.offline-mode").exists
        marker = host.file(f"{home}/no-network")
        assert marker.exists is turned
        assert not turned or (marker.user, marker.mode) == (user, 0o644)


# --- directories ----------------------------------------------------------------------------


def test_directories_are_there_and_not_for_others(host: Any, root: str, user: str) -> None:
    with host.sudo():
        for path in ("", "/config", "/data", "/data/models", "/logs", "/run"):
            found = host.file(root + path)
            assert found.is_directory, path
            assert not found.mode & 0o022, path
            assert found.user == user, path


def test_the_environment_file(host: Any, root: str, user: str, turned: bool) -> None:
    with host.sudo():
        file = host.file(f"{root}/.env")
        lines = file.content_string.splitlines()
        drifted = host.file("/root/drifted").exists
    assert (file.mode, file.user) == (0o600, user)
    assert "GPU_BACKEND=amd" in lines
    assert any(line.startswith("LLM_MODEL=") for line in lines)
    assert ("WEBUI_NAME=Ours" in lines) is turned
    assert ("TIMEZONE=Europe/Berlin" in lines) is turned
    assert ("MINE=kept" in lines) is drifted
    secrets = [line for line in lines if line.startswith("WEBUI_SECRET=")]
    assert len(secrets) == 1
    assert len(secrets[0]) > 40


# --- devtools -------------------------------------------------------------------------------


def test_no_tool_was_installed(host: Any) -> None:
    assert not host.package("git").is_installed
    # What made the image of the node stands there, and nothing that waits for a lock.
    assert "DPkg::Lock" not in host.file("/var/log/apt/history.log").content_string
