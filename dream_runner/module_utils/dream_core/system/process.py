"""Run other programs so that they cannot outlive this process."""

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

#: prctl(2): signal this process when the thread that created it ends.
_PR_SET_PDEATHSIG = 1
_BLOCK_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Finished:
    """The exit status of a program, and the end of its output."""

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
    """Run ``argv`` to its end; pass each line of its output to ``on_line``.

    Its input is the content of the files in ``feed``. The kernel kills it when this process dies in
    any way: otherwise the child would still write when the next run begins. Raises OSError if it
    cannot be started.
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

    The kernel kills it when this process dies. Raises OSError if it cannot be started.
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


#: Programs that will outlive this process. They are referenced here because the garbage collector
#: would report each as still running.
_DETACHED: List["subprocess.Popen[bytes]"] = []


def start_detached(
    argv: Sequence[str], *, environment: Dict[str, str], directory: str, output: Any
) -> None:
    """Start ``argv`` in a new session, so that it outlives this process.

    It has a umask of 077 and only the given environment. Raises OSError.
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
    """Mark running programs as finished, because nobody waits for them any more."""
    for item in _DETACHED:
        if item.poll() is None:
            item.returncode = 0


def end_child(child: "subprocess.Popen[bytes]", grace_seconds: float) -> None:
    """Stop a child, with SIGTERM first, and wait until it has exited."""
    child.terminate()
    try:
        child.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _feed(stream: Any, paths: Sequence[str]) -> None:
    # A program that stops reading reports the reason in its own output.
    with contextlib.suppress(BrokenPipeError), stream or contextlib.nullcontext():
        for path in paths:
            with open(path, "rb") as handle:
                shutil.copyfileobj(handle, stream.buffer, _BLOCK_BYTES)


def _bind(parent: int) -> Callable[[], None]:
    # Load libraries before the fork, because the child of a threaded process may not load any.
    prctl = ctypes.CDLL(None).prctl

    def bind() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return bind


def small_environment() -> Dict[str, str]:
    """Return the environment for a daemon, without the variable that marks this run's processes."""
    user = pwd.getpwuid(os.getuid())
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": user.pw_dir,
        "USER": user.pw_name,
        "LANG": "C.UTF-8",
    }
