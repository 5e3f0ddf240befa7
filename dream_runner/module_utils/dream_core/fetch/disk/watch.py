"""Notices writes to the partial that are not this program's, as far as the kernel shows them.

Before each write of its own the file is compared with what it was after the last one: another
time or size is somebody else's work. Bytes in order are hashed from memory, so that such a write
would pass unseen otherwise. While several own writes are under way nothing can be told apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import Iterator, Tuple

State = Tuple[int, int, int]

#: ext2 to ext4, xfs, btrfs, f2fs, bcachefs, zfs, tmpfs, overlay (linux/magic.h). A network
#: filesystem brings every byte to its server before it tells a time, and may change it later.
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
    """The state of an open file after the last write of this program. Thread-safe.

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
        """Note that a write of this program begins."""
        with self._lock:
            self._compare()
            self._writers += 1

    def end(self) -> None:
        """Note that a write of this program is over."""
        with self._lock:
            self._writers -= 1
            # After a disk that hung for long the file may be closed by now.
            with contextlib.suppress(OSError):
                if not self._writers and self._is_local:
                    self._state = state_of(os.fstat(self._handle))

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Do a write of this program in the block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    def is_foreign(self) -> bool:
        """Return whether somebody else wrote since the last ``forget``."""
        with self._lock:
            self._compare()
            return self._is_foreign

    def forget(self) -> None:
        """Begin anew: the file is going to be read as it is."""
        with self._lock:
            self._is_foreign = False
            self._state = state_of(os.fstat(self._handle))

    def _compare(self) -> None:
        if self._writers or not self._is_local:
            return
        if state_of(os.fstat(self._handle)) != self._state:
            self._is_foreign = True


def state_of(status: os.stat_result) -> State:
    """Return what a write changes; times can be set back, but not that of the change itself."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def filesystem(handle: int) -> int:
    """Return the number of the filesystem's kind (statfs, f_type), 0 if it is not told."""
    call = getattr(ctypes.CDLL(None), "fstatfs", None)
    answer = (ctypes.c_long * 64)()
    if call is None or call(handle, answer) != 0:
        return 0
    return int(answer[0]) & 0xFFFFFFFF
