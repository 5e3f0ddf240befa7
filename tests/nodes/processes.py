"""Processes of a test on this machine, told by the HOME it gave them; ended by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path


def of_home(home: str | Path) -> dict[int, str]:
    """Return pid and command line of every living process that belongs to ``home``.

    It belongs when its environment says so, or when its command line or
    working directory lies below: a daemon may have dropped its environment.
    """
    mark = f"HOME={home}\0".encode()
    place = os.fsencode(str(home)) + b"/"
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes()
            # A zombie has no command line.
            if not command:
                continue
            where = os.fsencode(os.readlink(entry / "cwd")) + b"/"
            environment = (entry / "environ").read_bytes()
            if mark in environment or place in command or where.startswith(place):
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def kill_all(home: str | Path, sig: signal.Signals = signal.SIGKILL) -> list[str]:
    """End every process of ``home`` as a power cut would; return what was ended."""
    ended: dict[int, str] = {}
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        now = of_home(home)
        if not now:
            return sorted(ended.values())
        ended |= now
        # Stopped first, so that none makes another while the list is worked off.
        for step in (signal.SIGSTOP, sig):
            for pid in now:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, step)
        time.sleep(0.02)
    raise AssertionError(f"processes of {home} do not end: {of_home(home)}")
