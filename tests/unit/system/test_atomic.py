"""A crash leaves the old content or the new, and nothing else."""

import json
import os
import stat
from pathlib import Path

import pytest
from fixtures.devices import make_device

from dream_runner.module_utils.dream_core.errors import DiskError, DreamError
from dream_runner.module_utils.dream_core.files import json_file
from dream_runner.module_utils.dream_core.system import atomic


def test_writes_content_and_mode_exactly(tmp_path: Path) -> None:
    target = tmp_path / "secret"
    old_umask = os.umask(0)
    try:
        atomic.write_bytes(str(target), b"x", 0o600)
    finally:
        os.umask(old_umask)
    assert target.read_bytes() == b"x"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [item.name for item in tmp_path.iterdir()] == ["secret"]


def test_sync_comes_before_rename_and_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), real_fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("rename"), real_replace(a, b))[1])
    atomic.write_bytes(str(tmp_path / "f"), b"x")
    assert calls == ["fsync", "rename", "fsync"]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "f"
    target.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError) as caught:
        atomic.write_bytes(str(target), b"new")
    assert caught.value.code == "DISK_FULL"
    assert caught.value.hint
    assert target.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["f"]


def test_never_writes_through_a_planted_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / (atomic.TEMP_PREFIX + "f")).symlink_to(victim)
    atomic.write_bytes(str(tmp_path / "f"), b"new")
    assert victim.read_text() == "untouched"
    assert (tmp_path / "f").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "JSON"),
        (b'{"a": 1', "JSON"),
        (b"\xff\xfe\x00", "JSON"),
        (b"[" * 200_000, "JSON"),
    ],
    ids=["empty", "truncated", "not utf-8", "too deep"],
)
def test_bad_state_is_a_reason_and_not_an_exception(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    document, why = json_file.read_json(str(path))
    assert document is None
    assert why is not None
    assert reason in why


def test_links_pipes_and_directories_are_not_state(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    json_file.write_json(str(real), {"a": 1})
    (tmp_path / "link.json").symlink_to(real)
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "dir.json").mkdir()
    for name in ("link.json", "pipe.json", "dir.json"):
        document, why = json_file.read_json(str(tmp_path / name))
        assert (document, bool(why)) == (None, True), name
    assert json_file.read_json(str(tmp_path / "absent.json")) == (None, None)
    assert json_file.read_json(str(real)) == ({"a": 1}, None)
    assert json.loads(real.read_text()) == {"a": 1}


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    with path.open("wb") as handle:
        handle.truncate(1 << 40)
    assert json_file.read_json(str(path))[1]


def test_every_errno_is_one_of_ours(tmp_path: Path) -> None:
    for number in (1, 5, 13, 28, 30, 122):
        assert isinstance(atomic.translate(OSError(number, "x"), "p"), DreamError)


def _link_to_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def _link_to_pipe(path: Path) -> None:
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize("make", [make_device, _link_to_device, _link_to_pipe])
def test_a_device_is_never_replaced(make: object, tmp_path: Path) -> None:
    path = tmp_path / "state"
    make(path)  # type: ignore[operator]
    before = path.lstat()
    with pytest.raises(DiskError) as caught:
        atomic.write_bytes(str(path), b"new")
    assert caught.value.code == "NOT_A_FILE"
    assert (path.lstat().st_ino, path.lstat().st_mode) == (before.st_ino, before.st_mode)


def test_a_name_that_is_not_utf8_can_be_written(tmp_path: Path) -> None:
    document = {"path": os.fsdecode(b"/m\xe8le"), "plain": "\u00e8"}
    json_file.write_json(str(tmp_path / "state"), document)
    assert json.loads((tmp_path / "state").read_text()) == document
