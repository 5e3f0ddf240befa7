"""Stop a run: interrupt its processes, then kill those that are left."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import psutil

from . import marks

#: Seconds between the first signal and SIGKILL. Two rounds take less than the five seconds
#: within which Ctrl-C must have ended the run.
_PATIENCE_SECONDS = 2.0


class Stopper:
    """End a run on INT, TERM and HUP: gracefully the first time, at once the second time.

    ``let_go`` is called in between: it closes the life lines of the run.
    """

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, run_id: str, let_go: Callable[[], None]) -> None:
        self.requested = False
        self._run_id = run_id
        self._let_go = let_go
        self._previous: dict[signal.Signals, Any] = {}
        self._helper: threading.Thread | None = None

    def __enter__(self) -> Stopper:
        for number in self._SIGNALS:
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def finish(self) -> None:
        """Wait for a stop in progress, then end all remaining processes of the run.

        A killed ansible-playbook leaves its workers and modules running.
        """
        if self._helper is not None:
            self._helper.join()
        self._end(processes_of(self._run_id))

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            _signal_all(processes_of(self._run_id), signal.SIGKILL)
            return
        self.requested = True
        self._helper = threading.Thread(target=self._stop, daemon=True)
        self._helper.start()

    def _stop(self) -> None:
        family = processes_of(self._run_id)
        # SIGINT makes ansible-playbook end its workers in order. Modules get it too, because they
        # are in separate sessions.
        _signal_all(family, signal.SIGINT)
        self._let_go()
        self._end(_alive_after(self._run_id, family))

    def _end(self, family: list[psutil.Process]) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if family:
                _signal_all(family, number)
                family = _alive_after(self._run_id, family)


def processes_of(run_id: str) -> list[psutil.Process]:
    """Return the processes with the mark of ``run_id``, and their descendants.

    Descendants are included because an ordinary user cannot read the environment of a privileged
    child.
    """
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if marks.is_marked(process, (run_id,)):
                found[process.pid] = process
                found.update({child.pid: child for child in process.children(recursive=True)})
    found.pop(os.getpid(), None)
    return list(found.values())


def _alive_after(run_id: str, family: list[psutil.Process]) -> list[psutil.Process]:
    """Return the processes of ``family``, and their children, that still run after the wait."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        _, alive = psutil.wait_procs(family, timeout=0.1)
        alive = [process for process in alive if is_alive(process)]
        if not alive and not (family := processes_of(run_id)):
            return []
        family = alive or family
        if time.monotonic() > deadline:
            return family


def is_alive(process: psutil.Process) -> bool:
    """Tell whether the process is running; a zombie is not."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _signal_all(family: list[psutil.Process], number: signal.Signals) -> None:
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            try:
                process.send_signal(number)
            except psutil.AccessDenied:
                _signal_privileged(process.pid, number)


def _signal_privileged(pid: int, number: signal.Signals) -> None:
    """Signal a child that runs as root, with sudo if it needs no password."""
    import subprocess

    subprocess.run(
        ["sudo", "-n", "kill", f"-{number.name[3:]}", str(pid)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=5,
        check=False,
    )
