"""Read pip's output: the progress of its download, and why it failed."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from typing import Callable, Tuple, Type

from ..errors import (
    DiskError,
    DreamError,
    EngineError,
    IntegrityError,
    NetworkError,
    PrivilegeError,
    RequirementError,
)
from ..redact import without_logins
from ..system.process import Finished

#: Called with a line of pip's output, and with done and total bytes during a download, else zeros.
Report = Callable[[str, int, int], None]
#: pip prints the name of a download, and its size if the index has it.
_FETCHING = re.compile(r"\s*Downloading (?:\S*/)?(\S+)(?: \(([\d.]+) ([kMG]?)B\))?$")
_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}


class DownloadWatch:
    """Report the progress of pip's download, which pip itself shows only on a terminal.

    pip writes a file with the printed name below its temporary directory; its size is read twice a
    second.
    """

    def __init__(self, directory: str, report: Report) -> None:
        self._directory = directory
        self._report = report
        self._wanted: Tuple[str, int] = ("", 0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "DownloadWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def take(self, line: str, done: int, total: int) -> None:
        """Pass on a line of pip's output, and note the current download."""
        self._wanted = fetching(line)
        self._report(line, done, total)

    def _look(self) -> None:
        while not self._over.wait(0.5):
            name, total = self._wanted
            size = _size_below(self._directory, name) if name else 0
            if size:
                self._report(name, min(size, total), total)


def fetching(line: str) -> Tuple[str, int]:
    """Return the file that pip downloads and its size in bytes; empty if pip prints no size."""
    found = _FETCHING.match(line)
    if not found or not found[2]:
        return "", 0
    return found[1], int(float(found[2]) * _UNITS[found[3]])


def _size_below(directory: str, name: str) -> int:
    for folder, _, files in os.walk(directory):
        if name in files:
            with contextlib.suppress(OSError):
                return os.stat(os.path.join(folder, name)).st_size
    return 0


#: Messages of pip (23 to 26) and of the system, the most specific first.
_FAILURES: Tuple[Tuple[str, Type[DreamError], str, str], ...] = (
    (
        "No space left|Errno 28|quota exceeded",
        DiskError,
        "DISK_FULL",
        "free some space, then run again",
    ),
    ("Read-only file system", DiskError, "READ_ONLY", "choose a writable directory"),
    (
        "DO NOT MATCH THE HASHES",
        IntegrityError,
        "DIGEST_MISMATCH",
        "the package does not match its pinned digest; check the mirror or proxy",
    ),
    (
        "407 Proxy Authentication",
        NetworkError,
        "PROXY_REFUSED",
        "check the user and password of the proxy in HTTPS_PROXY or HTTP_PROXY",
    ),
    ("Permission denied", PrivilegeError, "NOT_PERMITTED", "check the owner of the directory"),
    (
        "name resolution|Name or service not known|Failed to establish|Connection|ProxyError"
        "|SSLError|CERTIFICATE_VERIFY_FAILED|timed out|Retrying|IncompleteRead|ProtocolError"
        "|HTTP error [45]|Network is unreachable",
        NetworkError,
        "NETWORK_FAILED",
        "check the connection, the proxy and the PIP_* settings, then run again",
    ),
    (
        "No matching distribution|Could not find a version",
        RequirementError,
        "NO_WHEEL",
        "there is no pre-built package for this processor or C library",
    ),
    (
        "No module named .?(venv|ensurepip)|ensurepip is (not available|disabled)",
        RequirementError,
        "PYTHON_VENV_MISSING",
        "install it: apt-get install python3-venv (Debian and Ubuntu)",
    ),
)


def failure(done: Finished, where: str) -> DreamError:
    """Return the error for pip's or venv's output."""
    lines = [line.strip() for line in done.output.splitlines() if line.strip()]
    for pattern, cls, code, hint in _FAILURES:
        said = next((line for line in reversed(lines) if re.search(pattern, line)), "")
        if said:
            return cls(_sentence(said), code=code, where=where, hint=hint)
    return EngineError(
        _sentence(lines[-1] if lines else "no output"),
        code="VENV_FAILED",
        where=where,
        hint="see log.txt of this run for the whole output",
    )


def _sentence(line: str) -> str:
    shown = without_logins(line)
    return "the packages could not be installed: %s" % shown[:300]
