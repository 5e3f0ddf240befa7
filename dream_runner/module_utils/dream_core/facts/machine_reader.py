"""Access of the probes to a machine: small reads and bounded tool runs.

A probe uses only a ``Host``, so that a test can pass a directory in place of ``/`` and a function
in place of the tools.
"""

from __future__ import annotations

import os
import signal
import stat
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

from ..types.facts import CapturedNode, ToolAnswer

#: Directories of tools. The caller's PATH is not used: an nvidia-smi from another directory must
#: not decide what this machine is.
TOOL_DIRECTORIES = (
    "/usr/bin",
    "/bin",
    "/usr/sbin",
    "/sbin",
    "/usr/local/bin",
    "/usr/lib/wsl/lib",
    "/opt/rocm/bin",
    "/usr/local/nvidia/bin",
    "/run/current-system/sw/bin",
)

#: Seconds after which a tool that does not answer is a finding (a hung driver makes nvidia-smi hang
#: forever).
TOOL_SECONDS = 3.0

#: Bytes of output that are kept; more than this is an error.
TOOL_OUTPUT_LIMIT = 512 * 1024

_READ_LIMIT = 256 * 1024

#: ``run(path, arguments, seconds)`` gives ``{rc, stdout, stderr, problem}``.
Runner = Callable[[str, Sequence[str], float], ToolAnswer]


class Host:
    """A machine, read through its filesystem and its tools.

    ``root`` is the prefix of every path; ``run`` starts a tool. No method raises OSError: what
    cannot be read is None, as if it were missing.
    """

    def __init__(self, root: str = "/", run: Optional[Runner] = None) -> None:
        self._root = root.rstrip("/")
        self._run = run or run_tool

    def read(self, path: str) -> Optional[str]:
        """Return the text of a small file, without its final newline, or None."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace").rstrip("\n")

    def read_bytes(self, path: str) -> Optional[bytes]:
        """Return at most 256 KiB of a file, or None if it cannot be read."""
        try:
            # Non-blocking, because the file may be a FIFO.
            handle = os.open(self._root + path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError):
            return None
        try:
            return _read_all(handle)
        except OSError:
            return None
        finally:
            os.close(handle)

    def lines(self, path: str) -> Iterator[str]:
        """Yield the lines of a text file of any size; none if it cannot be read."""
        try:
            with open(self._root + path, encoding="utf-8", errors="replace") as stream:
                yield from stream
        except OSError:
            return

    def names(self, path: str) -> Optional[List[str]]:
        """Return the sorted names in a directory, or None if there is none."""
        try:
            return sorted(os.listdir(self._root + path))
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Return whether ``path`` exists; links are followed."""
        return os.path.exists(self._root + path)

    def link_name(self, path: str) -> Optional[str]:
        """Return the last part of a link's target, or None."""
        try:
            return os.path.basename(os.readlink(self._root + path))
        except OSError:
            return None

    def real_path(self, path: str) -> str:
        """Return ``path`` with its links resolved, relative to the root."""
        return os.path.realpath(self._root + path)[len(self._root) :]

    def node(self, path: str) -> Optional[CapturedNode]:
        """Return mode and access of a device node, or None if it is missing."""
        full = self._root + path
        try:
            status = os.stat(full)
        except OSError:
            return None
        return {
            "path": path,
            "mode": "%04o" % stat.S_IMODE(status.st_mode),
            "device": stat.S_ISCHR(status.st_mode),
            "usable": os.access(full, os.R_OK | os.W_OK),
        }

    def find_tool(self, name: str) -> Optional[str]:
        """Return the path of a tool in the fixed directories, or None."""
        for directory in TOOL_DIRECTORIES:
            path = "%s%s/%s" % (self._root, directory, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return None

    def tool(
        self, name: str, arguments: Sequence[str], seconds: float = TOOL_SECONDS
    ) -> Optional[ToolAnswer]:
        """Run a tool and return ``{rc, stdout, stderr, problem}``; None if it is not installed."""
        path = self.find_tool(name)
        return None if path is None else self._run(path, arguments, seconds)

    def program(
        self, path: str, arguments: Sequence[str], seconds: float = TOOL_SECONDS
    ) -> ToolAnswer:
        """Run the program at ``path`` with the same limits as a tool."""
        return self._run(path, arguments, seconds)


def _read_all(handle: int) -> bytes:
    parts: List[bytes] = []
    left = _READ_LIMIT
    while left > 0:
        part = os.read(handle, left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def run_tool(path: str, arguments: Sequence[str], seconds: float) -> ToolAnswer:
    """Run one program in the C locale and return its output in every case.

    ``problem`` is None, ``timeout``, ``output too long`` or why it could not be started; ``rc`` is
    None if the program did not exit by itself.
    """
    # Imported here, because a cached answer never starts a program, and this import takes half of
    # the time of such an answer.
    import subprocess

    try:
        process: Any = subprocess.Popen(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env={"LC_ALL": "C", "LANG": "C", "PATH": ":".join(TOOL_DIRECTORIES)},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return _answer(None, {}, "cannot be started: %s" % error)
    with process.stdout, process.stderr:
        streams, problem = _collect(process, seconds)
        if problem:
            _end(process)
    return _answer(None if problem else process.returncode, streams, problem)


def _collect(process: Any, seconds: float) -> Any:
    import selectors

    kept: Dict[str, bytes] = {"stdout": b"", "stderr": b""}
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        for name in kept:
            selector.register(getattr(process, name), selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
                part = os.read(key.fd, 65536)
                kept[key.data] += part
                if not part:
                    selector.unregister(key.fileobj)
                if len(kept[key.data]) > TOOL_OUTPUT_LIMIT:
                    return kept, "output too long"
            if time.monotonic() >= deadline:
                return kept, "timeout"
    # The program closed its output but still runs; it gets the remaining time.
    return kept, None if _ended(process, deadline) else "timeout"


def _ended(process: Any, deadline: float) -> bool:
    while process.poll() is None:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.002)
    return True


def _end(process: Any) -> None:
    """Kill the tool and all its children; do not wait for a stuck one.

    A process in a broken driver ignores even SIGKILL until the driver returns, so waiting for it
    would hang this program too.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except OSError:
        process.kill()
    _ended(process, time.monotonic() + 0.5)


def _answer(rc: Optional[int], streams: Dict[str, bytes], problem: Optional[str]) -> ToolAnswer:
    text = {
        name: streams.get(name, b"")[:TOOL_OUTPUT_LIMIT].decode("utf-8", "replace")
        for name in ("stdout", "stderr")
    }
    return {"rc": rc, "stdout": text["stdout"], "stderr": text["stderr"], "problem": problem}
