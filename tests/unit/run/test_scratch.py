"""Where a run works: in its state directory, or elsewhere where that has no room."""

import errno
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.errors import DiskError, DreamError
from dream_runner.module_utils.dream_core.system import file_lock
from dream_runner.run import ansible, scratch
from dream_runner.run.processes import log_file


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a directory near the root; below pytest's own, paths are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="dr-") as directory:
        yield Path(directory)


@pytest.mark.parametrize("length", [30, 60, 90, 200])
def test_a_socket_of_python_can_be_bound_whatever_the_state_directory_is(
    tmp_path: Path, length: int
) -> None:
    """ansible-core 2.20 and newer listens on one in its TMPDIR (FC2 kind: sockets)."""
    with scratch.directory_of(tmp_path / ("s" * length) / "run") as work:
        name = Path(f"{work}{scratch.SOCKET}")
        name.parent.mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(name))
    assert not work.exists()


def test_in_its_own_folder_and_gone_afterwards(tmp_path: Path) -> None:
    with scratch.directory_of(tmp_path / "run") as work:
        assert work == tmp_path / "run" / "work"
    assert list((tmp_path / "run").iterdir()) == []


def require(refused: Path, number: int) -> Callable[[str | Path], None]:
    """Return a check that fails below ``refused`` with errno ``number``."""

    def check(directory: str | Path) -> None:
        if Path(directory).is_relative_to(refused):
            raise OSError(number, os.strerror(number), str(directory))

    return check


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.ENOLCK])
def test_elsewhere_where_there_is_no_room_or_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    state, elsewhere = tmp_path / "state", tmp_path / "tmp"
    elsewhere.mkdir()
    monkeypatch.setattr(scratch, "require", require(state, number))
    monkeypatch.setattr(scratch, "places", lambda: iter([str(state), str(elsewhere)]))
    with scratch.directory_of(state / "run") as work:
        assert work.parent == elsewhere
        assert work.stat().st_mode & 0o777 == 0o700
        assert list((state / "run").iterdir()) == []
    assert not work.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    scratch.require(tmp_path)
    monkeypatch.setattr(file_lock.fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks available"):
        scratch.require(tmp_path)
    monkeypatch.setattr(scratch, "places", lambda: iter([str(tmp_path)]))
    with pytest.raises(DreamError) as caught:
        scratch.make()
    assert caught.value.code == "NO_SCRATCH"
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_elsewhere_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "places", lambda: iter([str(tmp_path)]))
    child = subprocess.Popen(["true"])
    child.wait()
    dead = tmp_path / f"{scratch.PREFIX}{child.pid}-abc"
    (dead / "tmp" / "ansible_x_payload_y").mkdir(parents=True)
    other = tmp_path / "dream-runner-other"
    other.mkdir()
    mine = scratch.make()
    scratch.sweep()
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])


def test_nowhere_is_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(scratch, "places", lambda: iter([str(tmp_path / "file")]))
    with (
        pytest.raises(DiskError) as caught,
        scratch.directory_of(tmp_path / "file" / "run"),
    ):
        pass
    assert caught.value.exit_code == 6


def test_a_file_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        scratch.write(tmp_path / "missing" / "variables.json", "{}")


def test_no_log_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "ROOM_BYTES", 1 << 62)
    with log_file.opened(tmp_path / "log.txt") as stream:
        stream.write(b"lost")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_that_ansible_cannot_tell_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ansible.error_without_task(1, tmp_path).code == "ANSIBLE_FAILED"
    monkeypatch.setattr(scratch, "ROOM_BYTES", 1 << 62)
    assert ansible.error_without_task(1, tmp_path).code == "DISK_FULL"


@pytest.mark.parametrize("name", ["{{ 1 }}", "a$HOME", "a:b", "a,b", "50%", "a'b", "a\nb"])
def test_elsewhere_where_ansible_would_change_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path))
    with scratch.directory_of(tmp_path / name / "run") as work:
        assert work.parent == tmp_path
        assert list((tmp_path / name / "run").iterdir()) == []
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(tmp_path / name))
    with scratch.directory_of(tmp_path / name / "run") as work:
        assert str(work.parent) == "/tmp"
    assert not work.exists()
