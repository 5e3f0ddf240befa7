"""One opinion on whether a file can be locked, for all who ask."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dream_runner.module_utils.dream_core.errors import BusyError
from dream_runner.module_utils.dream_core.fetch.disk import partial
from dream_runner.module_utils.dream_core.look import fleet_visit
from dream_runner.module_utils.dream_core.records import locks
from dream_runner.module_utils.dream_core.system import file_lock
from dream_runner.module_utils.dream_core.system.file_lock import Lock


@pytest.fixture
def handles(tmp_path: Path) -> Iterator[list[int]]:
    opened = [os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2)]
    yield opened
    for handle in opened:
        os.close(handle)


def test_ours_then_held(handles: list[int]) -> None:
    assert file_lock.attempt(handles[0]) is Lock.OURS
    assert file_lock.attempt(handles[1]) is Lock.HELD
    assert file_lock.attempt(handles[1], shared=True, seconds=0.01) is Lock.HELD


def test_shared_by_readers(handles: list[int]) -> None:
    assert file_lock.attempt(handles[0], shared=True) is Lock.OURS
    assert file_lock.attempt(handles[1], shared=True) is Lock.OURS
    assert file_lock.attempt(handles[1]) is Lock.HELD


def without_locks(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(file_lock.fcntl, "flock", refuse)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_filesystem_without_locks_stops_nobody(
    handles: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    without_locks(monkeypatch, number)
    assert file_lock.attempt(handles[0]) is Lock.IMPOSSIBLE
    assert not file_lock.has_locks(str(tmp_path))
    # Each who asks goes on: the fleet's visit, the upgrade, the fetch.
    fleet_visit.refuse_busy(str(tmp_path))
    with locks.turn(str(tmp_path)) as mine:
        assert mine
    with locks.kept_off(str(tmp_path)):
        pass
    found = partial.lock(str(tmp_path / "file"), lambda: False, lambda: None)
    assert found is not None
    found.close()


def test_an_error_that_is_neither_is_an_error(
    handles: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        file_lock.attempt(handles[0])


def test_a_held_lock_is_respected(handles: list[int], tmp_path: Path) -> None:
    assert file_lock.attempt(handles[0]) is Lock.OURS
    with pytest.raises(BusyError):
        fleet_visit.refuse_busy(str(tmp_path))
    with locks.turn(str(tmp_path)) as mine:
        assert not mine
