"""Run another program so that it cannot outlive the module that started it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence

from ..layout import SYSTEM_PATH

#: prctl(2): signal to this process when the thread that made it ends.
_PR_SET_PDEATHSIG = 1
_BLOCK_BYTES = 1024 * 1024


#: Others may read what is made, and never write it.
_SAFE_UMASK = 0o022


def tighten_umask() -> None:
    """Keep other users from writing what this process and its children make.

    Debian gives an ordinary login 0002, a careless container 0. A stricter umask stays.
    """
    os.umask(os.umask(_SAFE_UMASK) | _SAFE_UMASK)


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


def started_at(pid: int) -> str:
    """Return what tells a process from a later one with the same id, or an empty string."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rsplit(b")", 1)[1].split()[19].decode()
    except (OSError, IndexError):
        return ""


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
    """Tell whether ``pid`` runs; a zombie does not."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as handle:
            return handle.read().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False


def prints(argv: Sequence[str], answer: str) -> bool:
    """Tell whether a program prints ``answer``; without one, whether it ends well."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = done.stdout.decode("utf-8", "replace").strip()
    return said == answer if answer else done.returncode == 0


def output(argv: Sequence[str]) -> str:
    """Return what a program prints; its rows are facts, whatever its exit code says."""
    program = shutil.which(argv[0], path=SYSTEM_PATH)
    if program is None:
        return ""
    done = subprocess.run(
        [program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=10,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")
