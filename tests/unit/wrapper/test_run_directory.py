"""Where a run works: in its state directory, or elsewhere where that has no room."""

from pathlib import Path

import pytest

from dream_runner import run
from dream_runner.module_utils.dream_core.errors import DiskError


def test_in_its_own_folder_and_gone_afterwards(tmp_path: Path) -> None:
    with run._run_directory(tmp_path / "run") as work:
        assert work == tmp_path / "run" / "work"
    assert list((tmp_path / "run").iterdir()) == []


def test_elsewhere_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_ROOM_BYTES", 1 << 62)
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path))
    with run._run_directory(tmp_path / "run") as work:
        assert work.parent == tmp_path
        assert list((tmp_path / "run").iterdir()) == []
    assert not work.exists()


def test_nowhere_is_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(run.tempfile, "tempdir", str(tmp_path / "file"))
    with (
        pytest.raises(DiskError) as caught,
        run._run_directory(tmp_path / "file" / "run"),
    ):
        pass
    assert caught.value.exit_code == 6


def test_a_file_that_cannot_be_written_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        run._write_private(tmp_path / "missing" / "variables.json", "{}")


def test_no_log_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_ROOM_BYTES", 1 << 62)
    with run._private_log(tmp_path / "log.txt") as stream:
        stream.write("lost")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_that_ansible_cannot_tell_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run._unexplained(1, tmp_path).code == "ANSIBLE_FAILED"
    monkeypatch.setattr(run, "_ROOM_BYTES", 1 << 62)
    assert run._unexplained(1, tmp_path).code == "DISK_FULL"
