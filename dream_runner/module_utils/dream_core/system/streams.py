"""Standard output and error that cannot fail: reporting a result never changes it.

A terminal goes away, a log disk is full, a pipe has lost its reader, cron closes
the descriptor. The program carries on and ends with the exit code of what it did.
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
    """A descriptor to write to that drops what it cannot deliver."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, data: Any) -> int:
        """Write all of ``data``; what fails is lost. Return its length."""
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
        """Return whether it is a terminal."""
        return os.isatty(self._handle)

    def writable(self) -> bool:
        """Return true: there is no other use for it."""
        return True


def _written(handle: int, data: Any) -> int:
    """Write some bytes and return how many; wait where a descriptor does not block."""
    try:
        return os.write(handle, data)
    except BlockingIOError:
        select.select([], [handle], [])
        return 0


def keep() -> None:
    """Make the standard streams unable to fail and escape what they are given.

    Streams that somebody replaced are only made to escape.

    Closed descriptors become the null device: otherwise the next file that is opened
    would get their number, and with it what was meant for the user.
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
    """Return a text stream like ``stream`` (None: it was closed) over a lossy descriptor."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    is_line_by_line = number == 2 or os.isatty(number)
    return io.TextIOWrapper(
        io.BufferedWriter(Lossy(number)),
        encoding=getattr(stream, "encoding", None) or "utf-8",
        # A letter that the terminal does not know is no reason to fail.
        errors="replace",
        line_buffering=is_line_by_line,
    )
