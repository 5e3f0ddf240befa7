"""Processes of this host: list, watch and end them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Dict, List, Sequence


def started_at(pid: int) -> str:
    """Return what tells a process from a later one with the same id, or an empty string."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rsplit(b")", 1)[1].split()[19].decode()
    except (OSError, IndexError):
        return ""


def command_lines() -> Dict[int, List[str]]:
    """Return the arguments of every process that can be read, by process id."""
    found: Dict[int, List[str]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/cmdline" % name, "rb") as handle:
                found[int(name)] = [os.fsdecode(part) for part in handle.read().split(b"\0")[:-1]]
    return found


def end_processes(pids: Sequence[int], grace_seconds: float = 5.0) -> List[int]:
    """End these processes, SIGTERM first; return those that are still there."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        for pid in filter(is_alive, pids):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        await_end(pids, seconds)
    return [pid for pid in pids if is_alive(pid)]


def await_end(pids: Sequence[int], seconds: float) -> None:
    """Return when none of these processes runs, or when the time is up."""
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Return whether ``pid`` runs; a zombie does not."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False
