"""One run per target, with real processes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dream_runner import lock
from dream_runner.module_utils.dream_core.errors import BusyError, PrivilegeError
from dream_runner.run import RUN_ID_VARIABLE

HOLDER = """
import sys, time
from dream_runner import lock
with lock.hold(sys.argv[1], "dream-runner install", print):
    print("held", flush=True)
    time.sleep(60)
"""


@contextlib.contextmanager
def holder(state: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(state)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def leftover(run_id: str, code: str = "import time; time.sleep(60)") -> Iterator[psutil.Popen]:
    process = psutil.Popen(
        [sys.executable, "-c", "print(flush=True);" + code],
        env={**os.environ, RUN_ID_VARIABLE: run_id},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    process.stdout.readline()
    try:
        yield process
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        process.communicate()


def test_second_run_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        holder(tmp_path) as process,
        pytest.raises(BusyError) as caught,
        lock.hold(str(tmp_path), "x", print),
    ):
        pass
    assert caught.value.code == "ANOTHER_RUN"
    assert caught.value.exit_code == 12
    assert f"'dream-runner install' (pid {process.pid}, started 20" in str(caught.value)


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.kill()
        process.wait()
        with lock.hold(str(tmp_path), "x", print) as locked:
            assert locked


def test_children_do_not_inherit_the_lock(tmp_path: Path) -> None:
    """A daemon that was started during a run must not hold it (catalogue row C2)."""
    with lock.hold(str(tmp_path), "x", print):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with lock.hold(str(tmp_path), "y", print) as locked:
            assert locked
    finally:
        child.kill()
        child.wait()


def test_rubbish_in_the_file_does_not_matter(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff[")
    with (
        lock.hold(str(tmp_path), "x", print),
        pytest.raises(BusyError),
        lock.hold(str(tmp_path), "y", print),
    ):
        pass


@pytest.mark.parametrize("trouble", ["state is a file", "lock is a link", "lock is a directory"])
def test_where_no_lock_can_be_the_run_goes_on(tmp_path: Path, trouble: str) -> None:
    state = tmp_path / "state"
    if trouble == "state is a file":
        state.write_text("")
    else:
        state.mkdir()
        if trouble == "lock is a link":
            (state / "lock").symlink_to(tmp_path / "elsewhere")
        else:
            (state / "lock").mkdir()
    lines: list[str] = []
    with lock.hold(str(state), "x", lines.append) as locked:
        assert not locked
    assert len(lines) == 1
    assert not (tmp_path / "elsewhere").exists()


def test_root_does_not_take_over_the_install_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    monkeypatch.setattr(lock.os, "geteuid", lambda: 0)
    with (
        pytest.raises(PrivilegeError, match="root would take over"),
        lock.hold(str(tmp_path), "x", print),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_leftovers_are_of_this_target_only(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with leftover("mine") as mine, leftover("of-another-state-directory"):
        assert [process.pid for process in lock.leftovers(str(tmp_path))] == [mine.pid]


def test_a_leftover_that_ends_by_itself_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    lines: list[str] = []
    with leftover("mine", "import time; time.sleep(1)") as process:
        lock.clear_leftovers(str(tmp_path), lines.append)
        assert process.wait(timeout=5) == 0
    assert len(lines) == 1
    assert f"pid {process.pid}" in lines[0]


@pytest.mark.parametrize("stubborn", [False, True])
def test_a_leftover_that_stays_is_ended(
    tmp_path: Path, stubborn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_TERM_SECONDS", 0.5)
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN);" if stubborn else ""
    lines: list[str] = []
    with leftover("mine", deaf + "print(flush=True); import time; time.sleep(60)") as process:
        process.stdout.readline()
        lock.clear_leftovers(str(tmp_path), lines.append, wait_seconds=0.2)
        assert process.wait(timeout=5) == (-9 if stubborn else -15)
    assert len(lines) == 2


def test_nothing_left_says_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    lock.clear_leftovers(str(tmp_path), lines.append)
    assert lines == []
