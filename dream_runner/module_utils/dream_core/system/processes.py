"""Processes of this host: list, watch and stop them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Dict, List, Sequence


def started_at(pid: int) -> str:
    """Return a value that differs for a later process with the same id, or an empty string."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rsplit(b")", 1)[1].split()[19].decode()
    except (OSError, IndexError):
        return ""


def command_lines() -> Dict[int, List[str]]:
    """Return the arguments of every readable process, by process id."""
    found: Dict[int, List[str]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError), open("/proc/%s/cmdline" % name, "rb") as handle:
                found[int(name)] = [os.fsdecode(part) for part in handle.read().split(b"\0")[:-1]]
    return found


def end_processes(pids: Sequence[int], grace_seconds: float = 5.0) -> List[int]:
    """Stop these processes, with SIGTERM first; return those that are still running."""
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        for pid in filter(is_alive, pids):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        await_end(pids, seconds)
    return [pid for pid in pids if is_alive(pid)]


def await_end(pids: Sequence[int], seconds: float) -> None:
    """Wait until none of these processes is running, or until the timeout."""
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Return whether ``pid`` is running; a zombie is not."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False
