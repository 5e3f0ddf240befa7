"""Run another program so that it cannot outlive the module that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import Callable, Dict, Optional, Sequence

#: prctl(2): signal to this process when the thread that made it ends.
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Finished:
    """How a program ended, with the end of what it printed."""

    status: int
    output: str


def run_child(
    argv: Sequence[str],
    *,
    environment: Dict[str, str],
    directory: str,
    on_line: Optional[Callable[[str], None]] = None,
    kept_lines: int = 40,
) -> Finished:
    """Run ``argv`` to its end; hand on each line it prints to ``on_line``.

    The kernel kills it when this process dies, however that happens: a child
    left behind would go on writing where the next run begins. Raises OSError
    when it cannot be started.
    """
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        preexec_fn=_bind(os.getpid()),
    )
    lines = []
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines = [*lines[-kept_lines:], line.rstrip()]
            if on_line:
                on_line(line.rstrip())
    return Finished(process.wait(), "\n".join(lines))


def _bind(parent: int) -> Callable[[], None]:
    # Loaded before the fork: the child of a threaded process may not load libraries.
    prctl = ctypes.CDLL(None).prctl

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind
