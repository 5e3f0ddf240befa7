"""What changes by the minute, read from this machine and from made-up ones."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.checks import preflight
from dream_runner.module_utils.dream_core.network import listeners
from dream_runner.module_utils.dream_core.packages import installed
from dream_runner.module_utils.dream_core.system import filesystems, kernel


def test_the_filesystem_of_a_path_that_is_not_there(tmp_path: Path) -> None:
    found = filesystems.filesystem(str(tmp_path / "a" / "b"))
    assert found["existing"] == str(tmp_path)
    assert found["free_bytes"] > 0
    assert found["fstype"]
    assert found["writable"]
    assert found["device"] == os.stat(tmp_path).st_dev


def test_a_file_in_the_way_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert not filesystems.filesystem(str(tmp_path / "file"))["is_directory"]


def test_the_longest_and_last_mount_counts(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "2 1 8:2 / /mnt/a\\040b rw shared:1 - xfs /dev/sdb rw\n"
        "3 1 0:5 / /mnt/a\\040b rw - tmpfs none rw\n"
        "4 1 8:3 / /mnt/a rw - vfat /dev/sdc rw\n"
        "broken\n"
    )
    assert filesystems.mount_of("/mnt/a b/c", str(table)) == ("/mnt/a b", "tmpfs")
    assert filesystems.mount_of("/mnt/ab", str(table)) == ("/", "ext4")
    assert filesystems.mount_of("/x", str(tmp_path / "none")) == (None, None)


def test_semantics_of_a_sound_filesystem_leave_nothing_behind(tmp_path: Path) -> None:
    assert filesystems.probe_semantics(str(tmp_path)) == dict.fromkeys(filesystems.SEMANTICS, True)
    assert list(tmp_path.iterdir()) == []
    assert filesystems.probe_semantics(str(tmp_path / "none"))["chmod"] is None


def test_looking_writes_nothing_where_the_type_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filesystems, "probe_semantics", lambda _: pytest.fail("wrote"))
    preflight.look_preflight(str(tmp_path / "ai"), str(tmp_path), 0.0, may_write=False)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_listener_of_this_process_is_found_with_its_owner(family: socket.AddressFamily) -> None:
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    with socket.socket(family) as server:
        try:
            server.bind((address, 0))
        except OSError:
            pytest.skip("no IPv6 here")
        server.listen()
        port = server.getsockname()[1]
        (found,) = listeners.listeners([port])
        assert (found["address"], found["pid"], found["own"]) == (address, os.getpid(), False)
        assert str(os.getpid()) in listeners.holder(found)
        own_paths = [os.path.dirname(os.path.realpath(sys.executable))]
        assert listeners.listeners([port], own_paths=own_paths)[0]["own"]
    assert listeners.listeners([port]) == []


def test_a_path_is_inside_by_whole_names() -> None:
    assert filesystems.is_inside("/srv/ai/engine", "/srv/ai/")
    assert not filesystems.is_inside("/srv/aix", "/srv/ai")
    assert not filesystems.is_inside("/etc", "")


def test_allocated_bytes(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"x" * 1_000_000)
    assert filesystems.allocated_bytes(str(tmp_path)) >= 1_000_000
    assert filesystems.allocated_bytes(str(tmp_path / "none")) == 0


def test_libraries_and_environments() -> None:
    assert kernel.can_load("libc.so.6")
    assert not kernel.can_load("libdream-none.so.1")
    assert not kernel.can_make_environments("/nonexistent/python")


def test_missing_packages_where_nobody_can_tell() -> None:
    assert installed.missing_packages(["jq"], "unknown") == ["jq"]
    assert installed.missing_packages([], "unknown") == []


def test_a_kernel_setting_in_force(tmp_path: Path) -> None:
    (tmp_path / "sys" / "vm").mkdir(parents=True)
    (tmp_path / "sys" / "vm" / "swappiness").write_text("10\n")
    (tmp_path / "sys" / "vm" / "several").write_text("1\t2\n")
    assert kernel.sysctl("vm.swappiness", str(tmp_path)) == "10"
    assert kernel.sysctl("vm.several", str(tmp_path)) == "1 2"
    assert kernel.sysctl("vm.missing", str(tmp_path)) is None


def test_module_parameters(tmp_path: Path) -> None:
    (tmp_path / "amdgpu" / "parameters").mkdir(parents=True)
    (tmp_path / "amdgpu" / "parameters" / "gttsize").write_text("-1\n")
    assert kernel.module_parameters(["amdgpu", "ttm"], str(tmp_path)) == {
        "amdgpu": {"gttsize": "-1"}
    }


def test_a_dpkg_that_was_killed_is_known(tmp_path: Path) -> None:
    (tmp_path / "updates").mkdir()
    status = tmp_path / "status"
    status.write_text("Package: a\nStatus: install ok installed\n")
    assert not installed.is_dpkg_interrupted(str(tmp_path))
    assert not installed.is_dpkg_interrupted(str(tmp_path / "none"))
    status.write_text("Package: a\nStatus: install ok half-configured\n")
    assert installed.is_dpkg_interrupted(str(tmp_path))
    status.write_text("")
    (tmp_path / "updates" / "0001").touch()
    assert installed.is_dpkg_interrupted(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a filesystem needs root")
def test_noexec_is_seen_before_the_directory_is_there(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", closed], check=True)
    try:
        assert filesystems.filesystem(str(closed / "a" / "b"))["noexec"] is True
        assert list(closed.iterdir()) == []
    finally:
        subprocess.run(["umount", closed], check=True)
    assert filesystems.filesystem(str(tmp_path))["noexec"] is False
