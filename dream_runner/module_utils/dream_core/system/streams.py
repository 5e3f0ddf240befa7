"""Standard output and error that cannot fail, so that reporting a result never changes it.

A terminal may close, a log disk may be full, a pipe may lose its reader, cron may close the
descriptor. The program continues, and its exit code is that of its work.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import sys
from typing import Any, Optional

from .. import printable


class Lossy(io.RawIOBase):
    """A file descriptor for writing that drops what it cannot write."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: Any) -> int:
        """Write ``data`` and return its length; what cannot be written is lost."""
        left = memoryview(data).cast("B")
        size = len(left)
        with contextlib.suppress(OSError):
            while left:
                left = left[_written(self._handle, left) :]
        return size

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._handle

    def isatty(self) -> bool:
        """Return whether the descriptor is a terminal."""
        return os.isatty(self._handle)

    def writable(self) -> bool:
        """Return true: the descriptor is only for writing."""
        return True


def _written(handle: int, data: Any) -> int:
    """Write some bytes and return their number; wait if the descriptor is non-blocking."""
    try:
        return os.write(handle, data)
    except BlockingIOError:
        select.select([], [handle], [])
        return 0


def keep() -> None:
    """Replace the standard streams with ones that cannot fail and that escape their text.

    Streams that were already replaced are only escaped.

    Closed descriptors become the null device: otherwise the next opened file would get their number
    and the output for the user.
    """
    for number in (0, 1, 2):
        _hold(number)
    if sys.stdout is sys.__stdout__:
        sys.stdout = _lossy(sys.stdout, 1)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _lossy(sys.stderr, 2)
    printable.guard()


def _hold(number: int) -> None:
    try:
        os.fstat(number)
    except OSError:
        handle = os.open(os.devnull, os.O_RDWR)
        if handle != number:
            os.dup2(handle, number)
            os.close(handle)


def _lossy(stream: Optional[Any], number: int) -> Any:
    """Return a text stream like ``stream`` (None: it was closed) on a lossy descriptor."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    is_line_by_line = number == 2 or os.isatty(number)
    return io.TextIOWrapper(
        io.BufferedWriter(Lossy(number)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        # A character that the terminal cannot show is not an error.
        errors="replace",
        line_buffering=is_line_by_line,
    )
