"""Allow one run per target with a lock, and clean up after a killed run.

The kernel releases ``flock`` however the holder ends; the file's content only names the holder.
It is opened close-on-exec, because a child that inherited it would keep the lock
(catalogue row C2).
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil

from ...module_utils.dream_core import forms
from ...module_utils.dream_core.errors import BusyError, PrivilegeError
from ...module_utils.dream_core.system import file_lock
from . import marks

#: A module whose wrapper was killed ends within about two seconds (lifeline.py);
#: only processes that are still running after this time are ended by us.
_WAIT_SECONDS = 5.0
#: Number of attempts to open a lock file that others delete.
_TRIES = 5
_TERM_SECONDS = 5.0
_KILL_SECONDS = 2.0

Report = Callable[[str], None]


@contextlib.contextmanager
def hold(state_dir: str, command: str, report: Report) -> Iterator[bool]:
    """Hold the lock of ``state_dir``; yield whether locking is possible there.

    Raises BusyError if another run has the lock, PrivilegeError if root uses the state of a
    user. An unwritable state directory is reported, and the run continues without a lock.
    """
    _refuse_root(state_dir)
    handle, locked = _take(state_dir, report)
    if handle is None:
        yield False
        return
    try:
        _refuse_running_wrapper(state_dir)
        if locked:
            _write_holder(handle, command)
        yield locked
    finally:
        # Closing releases the lock. The file stays: if it were removed, two runs could
        # lock two different files of the same name.
        os.close(handle)


def _refuse_root(state_dir: str) -> None:
    """Refuse root in a user's HOME: the user could not read the replaced files any more."""
    try:
        owner = os.stat(state_dir).st_uid
    except OSError:
        return
    if os.geteuid() == 0 and owner != 0:
        raise PrivilegeError(
            f"this install belongs to user {_user(owner)}, but it was started as root",
            code="INSTALL_OF_ANOTHER_USER",
            where=state_dir,
            hint=f"run this as {_user(owner)}, without sudo; for root's own install use 'sudo -H'",
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _take(state_dir: str, report: Report) -> tuple[int | None, bool]:
    """Return the open lock file, which is the one at the path, and whether it is locked."""
    for _ in range(_TRIES):
        handle = _open(state_dir, report)
        if handle is None:
            return None, False
        try:
            locked = _acquire(handle, report)
        except BusyError:
            os.close(handle)
            raise
        if not locked or file_lock.is_current(handle, os.path.join(state_dir, "lock")):
            return handle, locked
        # The file was deleted or replaced between the two calls.
        os.close(handle)
    raise _busy({})


def _refuse_running_wrapper(state_dir: str) -> None:
    """Refuse to run beside a run whose lock file was deleted but whose wrapper is running."""
    for process in leftovers(state_dir):
        pid = marks.living_owner(process)
        if pid:
            raise _busy({"pid": pid, "started": psutil.Process(pid).create_time()})


def _open(state_dir: str, report: Report) -> int | None:
    try:
        os.makedirs(state_dir, mode=0o700, exist_ok=True)
        return file_lock.opened(os.path.join(state_dir, "lock"))
    except OSError as error:
        report(f"cannot lock {state_dir}: {error.strerror}; do not start a second run")
        return None


def _acquire(handle: int, report: Report) -> bool:
    found = file_lock.attempt(handle)
    if found is file_lock.Lock.HELD:
        raise _busy(_read(handle))
    if found is file_lock.Lock.IMPOSSIBLE:
        report("this filesystem does not support file locks; do not start a second run")
    return found is file_lock.Lock.OURS


def _write_holder(handle: int, command: str) -> None:
    holder = {"pid": os.getpid(), "started": time.time(), "command": command}
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)


def _read(handle: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _busy(holder: dict[str, Any]) -> BusyError:
    who = "another dream-runner"
    if not _HOLDER(holder):
        who = f"'{holder.get('command', 'dream-runner')}' (pid {holder['pid']}"
        who += f", started {_clock(holder.get('started'))})"
    return BusyError(
        f"{who} is running on this machine",
        code="ANOTHER_RUN",
        hint="wait until it ends, or stop it with Ctrl-C in its terminal; then run this again",
    )


#: The content that a holder writes into the lock file; others may have changed it.
_HOLDER = forms.fields({"pid": forms.whole}, {"started": forms.anything, "command": forms.name})


def _clock(started: Any) -> str:
    with contextlib.suppress(ValueError, OverflowError, OSError):
        if not forms.number(started):
            return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(started))
    return "at an unknown time"


def leftovers(state_dir: str) -> list[psutil.Process]:
    """Return the running processes of earlier runs on this target.

    They have the run's mark in their environment *and* a directory in our state, so a run on
    another state directory of the same user is never affected. Call it with the lock held:
    then no other run of ours can be active.
    """
    folder = os.path.join(state_dir, "runs")
    runs: set[str] = set()
    with contextlib.suppress(OSError):
        runs.update(os.listdir(folder))
    mine = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [item for item in psutil.process_iter() if _is_of(item, runs, folder, mine)]


def _is_of(process: psutil.Process, runs: set[str], folder: str, mine: set[int]) -> bool:
    try:
        is_another = process.pid not in mine and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False
    return is_another and marks.is_marked(process, runs, folder)


def clear_leftovers(
    state_dir: str,
    report: Report,
    wait_seconds: float = _WAIT_SECONDS,
    term_seconds: float = _TERM_SECONDS,
    kill_seconds: float = _KILL_SECONDS,
) -> None:
    """Wait for the processes of a killed run on this target, then end them.

    Raises BusyError if a process does not end.
    """
    found = leftovers(state_dir)
    if not found:
        return
    report(f"waiting for processes of a killed run: {_named(found)}")
    alive = _wait_for(state_dir, wait_seconds)
    if alive:
        report(f"ending {_named(alive)}")
        alive = _end(state_dir, alive, term_seconds, kill_seconds)
    if alive:
        raise BusyError(
            f"cannot stop processes of an earlier run: {_named(alive)}",
            code="LEFTOVER_PROCESSES",
            hint="stop them with: kill -9 " + " ".join(str(process.pid) for process in alive),
        )


def _wait_for(state_dir: str, seconds: float) -> list[psutil.Process]:
    deadline = time.monotonic() + seconds
    while (found := leftovers(state_dir)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _end(
    state_dir: str, alive: list[psutil.Process], term_seconds: float, kill_seconds: float
) -> list[psutil.Process]:
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    stubborn = _wait_for(state_dir, term_seconds)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return _wait_for(state_dir, kill_seconds) if stubborn else []


def _named(processes: list[psutil.Process]) -> str:
    return ", ".join(f"{_name(process)} (pid {process.pid})" for process in processes)


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return "a process"
