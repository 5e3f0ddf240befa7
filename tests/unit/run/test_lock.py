"""One run per target, with real processes."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dream_runner.module_utils.dream_core.errors import BusyError, PrivilegeError
from dream_runner.module_utils.dream_core.records import locks
from dream_runner.module_utils.dream_core.system import file_lock
from dream_runner.module_utils.dream_core.system.processes import started_at
from dream_runner.run.processes import lock, marks, stopper
from dream_runner.run.processes.marks import FOLDER_VARIABLE, OWNER_VARIABLE, RUN_ID_VARIABLE

HOLDER = """
import sys, time
from dream_runner.run.processes import lock
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
def leftover(
    run_id: str, code: str = "import time; time.sleep(60)", **more: str
) -> Iterator[psutil.Popen]:
    process = psutil.Popen(
        [sys.executable, "-c", "print(flush=True);" + code],
        env={**os.environ, RUN_ID_VARIABLE: run_id, **more},
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
        pytest.raises(PrivilegeError, match="but it was started as root"),
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
def test_a_leftover_that_stays_is_ended(tmp_path: Path, stubborn: bool) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN);" if stubborn else ""
    lines: list[str] = []
    with leftover("mine", deaf + "print(flush=True); import time; time.sleep(60)") as process:
        process.stdout.readline()
        lock.clear_leftovers(str(tmp_path), lines.append, wait_seconds=0.2, term_seconds=0.5)
        assert process.wait(timeout=5) == (-9 if stubborn else -15)
    assert len(lines) == 2


def test_nothing_left_says_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    lock.clear_leftovers(str(tmp_path), lines.append)
    assert lines == []


@pytest.mark.parametrize("gone", ["lock", "state"])
def test_a_run_whose_lock_was_deleted_is_not_ended_by_the_next(tmp_path: Path, gone: str) -> None:
    """Its wrapper lives, so that its processes are no leftovers, whatever became of the files."""
    state = tmp_path / "state"
    folder = state / "runs" / "mine"
    folder.mkdir(parents=True)
    with holder(state) as wrapper:
        owner = {OWNER_VARIABLE: f"{wrapper.pid}:{started_at(wrapper.pid)}"}
        with leftover("mine", **owner, **{FOLDER_VARIABLE: str(folder)}) as work:
            (state / "lock").unlink()
            if gone == "state":
                shutil.rmtree(state)
            with pytest.raises(BusyError) as caught, lock.hold(str(state), "x", print):
                raise AssertionError("a second run has begun")
            assert f"(pid {wrapper.pid}, started 20" in str(caught.value)
            wrapper.kill()
            wrapper.wait()
            with lock.hold(str(state), "x", print):
                lock.clear_leftovers(str(state), lambda _: None, wait_seconds=0.1)
            assert work.wait(timeout=5) == -15


def test_a_process_id_that_another_program_has_by_now_is_no_living_wrapper(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    with leftover("mine", **{OWNER_VARIABLE: "1:1"}) as work:
        found = lock.leftovers(str(tmp_path))
        assert [process.pid for process in found] == [work.pid]
        assert marks.living_owner(found[0]) == 0


def test_what_began_before_the_wrapper_that_it_names_is_no_leftover(tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    later = str(10**15)
    with leftover("mine", **{OWNER_VARIABLE: f"{os.getpid()}:{later}"}):
        assert lock.leftovers(str(tmp_path)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="starts a process of another user: needs root")
def test_processes_of_another_user_that_claim_to_be_of_a_run_are_never_signalled(
    tmp_path: Path,
) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    process = subprocess.Popen(
        ["sleep", "60"], env={RUN_ID_VARIABLE: "mine", "PATH": os.environ["PATH"]}, user=65534
    )
    try:
        lines: list[str] = []
        assert lock.leftovers(str(tmp_path)) == []
        assert stopper.processes_of("mine") == []
        lock.clear_leftovers(str(tmp_path), lines.append)
        assert (process.poll(), lines) == (None, [])
    finally:
        process.kill()
        process.wait()


def test_a_lock_file_that_vanishes_while_it_is_locked_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = file_lock.attempt, [2]

    def deleted(handle: int, **more: object) -> file_lock.Lock:
        found = real(handle)
        if left[0]:
            left[0] -= 1
            (tmp_path / "lock").unlink()
        return found

    monkeypatch.setattr(file_lock, "attempt", deleted)
    with lock.hold(str(tmp_path), "x", print) as locked:
        assert locked
        assert "pid" in (tmp_path / "lock").read_text()
    left[0] = 1
    with locks.turn(str(tmp_path)) as mine:
        assert not mine
    with locks.turn(str(tmp_path)) as mine:
        assert mine


@pytest.mark.parametrize(
    "content",
    ['{"pid": 1e999}', '{"pid": 1, "started": 1e300}', '{"pid": 1, "command": "\\u001b[2J"}', "[]"],
)
def test_a_lock_file_of_another_form_names_nobody(tmp_path: Path, content: str) -> None:
    with holder(tmp_path):
        (tmp_path / "lock").write_text(content)
        with pytest.raises(BusyError) as caught, lock.hold(str(tmp_path), "x", print):
            pass
    assert "\x1b" not in str(caught.value)


def test_every_process_of_a_run_is_marked(tmp_path: Path) -> None:
    found = marks.of_this_wrapper("id", str(tmp_path))
    assert found[RUN_ID_VARIABLE] == "id"
    assert found[OWNER_VARIABLE] == f"{os.getpid()}:{started_at(os.getpid())}"
    assert all(name.startswith("DREAM_") for name in found), "a caller's are scrubbed"
