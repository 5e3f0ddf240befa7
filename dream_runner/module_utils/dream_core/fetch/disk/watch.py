"""Detect writes to the partial file by other programs, as far as the kernel shows them.

Before each write the file is compared with its state after the last one: another time or size comes
from another program. Bytes in order are hashed from memory, so such a write would not be noticed
otherwise. While several own writes are pending, others cannot be detected.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import Iterator, Tuple

State = Tuple[int, int, int]

#: ext2 to ext4, xfs, btrfs, f2fs, bcachefs, zfs, tmpfs, overlay (linux/magic.h). A network
#: filesystem sends every byte to its server before it reports a time, and may change the time
#: later.
_LOCAL = (
    0xEF53,
    0x58465342,
    0x9123683E,
    0xF2F52010,
    0xCA451A4E,
    0x2FC12FC1,
    0x01021994,
    0x794C7630,
)


class Watch:
    """Watch an open file: its state after the last write of this program. Thread-safe.

    On a network filesystem nothing is compared.
    """

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._lock = threading.Lock()
        self._writers = 0
        self._is_foreign = False
        self._is_local = filesystem(handle) in _LOCAL
        self._state = state_of(os.fstat(handle))

    def begin(self) -> None:
        """Record that a write of this program begins."""
        with self._lock:
            self._compare()
            self._writers += 1

    def end(self) -> None:
        """Record that a write of this program has ended."""
        with self._lock:
            self._writers -= 1
            # After a long hang of the disk the file may be closed.
            with contextlib.suppress(OSError):
                if not self._writers and self._is_local:
                    self._state = state_of(os.fstat(self._handle))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Run a write of this program in the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def is_foreign(self) -> bool:
        """Return whether another program has written since the last ``forget``."""
        with self._lock:
            self._compare()
            return self._is_foreign

    def forget(self) -> None:
        """Start over, because the file will be read again."""
        with self._lock:
            self._is_foreign = False
            self._state = state_of(os.fstat(self._handle))

    def _compare(self) -> None:
        if self._writers or not self._is_local:
            return
        if state_of(os.fstat(self._handle)) != self._state:
            self._is_foreign = True


def state_of(status: os.stat_result) -> State:
    """Return the values that a write changes; ctime cannot be set back."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def filesystem(handle: int) -> int:
    """Return the type of the filesystem (statfs, f_type); 0 if it is unknown."""
    call = getattr(ctypes.CDLL(None), "fstatfs", None)
    answer = (ctypes.c_long * 64)()
    if call is None or call(handle, answer) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF
