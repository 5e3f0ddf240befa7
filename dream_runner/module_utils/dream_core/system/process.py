"""Run another program so that it cannot outlive the one that started it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence

#: prctl(2): signal to this process when the thread that made it ends.
_PR_SET_PDEATHSIG = 1
_BLOCK_BYTES = 1024 * 1024


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
    feed: Sequence[str] = (),
) -> Finished:
    """Run ``argv`` to its end; hand on each line it prints to ``on_line``.

    Its input are the files of ``feed``, one after the other. The kernel kills it when
    this process dies, however that happens: a child left behind would go on writing
    where the next run begins. Raises OSError when it cannot be started.
    """
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd=directory,
        stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        preexec_fn=_bind(os.getpid()),
    )
    feeder = threading.Thread(target=_feed, args=(process.stdin, feed))
    feeder.start()
    lines: List[str] = []
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines = [*lines[-kept_lines:], line.rstrip()]
            if on_line:
                on_line(line.rstrip())
    feeder.join()
    return Finished(process.wait(), "\n".join(lines))


def start_child(
    argv: Sequence[str], *, environment: Dict[str, str], directory: str, output: Any
) -> "subprocess.Popen[bytes]":
    """Start ``argv`` in the background; its output goes to the file ``output``.

    The kernel kills it when this process dies. Raises OSError when it cannot be started.
    """
    return subprocess.Popen(
        argv,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=_bind(os.getpid()),
    )


#: Programs that are to outlive this process, kept until they end: the collector would report
#: each of them as left running.
_DETACHED: List["subprocess.Popen[bytes]"] = []


def start_detached(
    argv: Sequence[str], *, environment: Dict[str, str], directory: str, output: Any
) -> None:
    """Start ``argv`` in a session of its own, to go on when this process has ended.

    It has a umask of 077 and no more environment than is given. Raises OSError.
    """
    _DETACHED[:] = [item for item in _DETACHED if item.poll() is None]
    process = subprocess.Popen(
        argv,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o077,
    )
    _DETACHED.append(process)


@atexit.register
def _let_go() -> None:
    """Count what still runs as ended: nobody waits for it any more."""
    for item in _DETACHED:
        if item.poll() is None:
            item.returncode = 0


def end_child(child: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    """End a child, SIGTERM first, and return when it is gone."""
    child.terminate()
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _feed(stream: Any, paths: Sequence[str]) -> None:
    # Who reads no further says why on its own output.
    with contextlib.suppress(BrokenPipeError), stream or contextlib.nullcontext():
        for path in paths:
            with open(path, "rb") as handle:
                shutil.copyfileobj(handle, stream.buffer, _BLOCK_BYTES)


def _bind(parent: int) -> Callable[[], None]:
    # Loaded before the fork: the child of a threaded process may not load libraries.
    prctl = ctypes.CDLL(None).prctl

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def small_environment() -> Dict[str, str]:
    """Return what a daemon needs; above all not the mark of this run, which would end it."""
    user = pwd.getpwuid(os.getuid())
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LANG": "C.UTF-8",
    }
