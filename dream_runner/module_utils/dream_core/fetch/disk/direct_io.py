"""Writes past the page cache, on filesystems that are good at it.

After the hash, a copy into the page cache and its way to the disk is what a fetch costs
most: a third of a core. A direct write costs a twentieth, and its bytes are on the device when it
returns. One alone would leave the device idle in between, so two are under way.
"""

from __future__ import annotations

import errno
import mmap
import os
import queue
import threading
from typing import Any, Callable, Optional

from .partial import write_at
from .watch import filesystem

#: Position, length and memory of a direct write are multiples of this.
PAGE = 4096
#: So many writes are under way at once.
DEPTH = 2
#: ext2 to ext4 and xfs (linux/magic.h). Elsewhere a direct write is refused, done through the
#: cache after all (tmpfs), or waits for a server each time (nfs).
_FILESYSTEMS = (0xEF53, 0x58465342)
_JOIN_SECONDS = 5.0


class Write:
    """One write under way, of ``view`` to ``position``; ``after`` is called when it is over."""

    def __init__(
        self, view: memoryview, position: int, after: Callable[[], None] = lambda: None
    ) -> None:
        self.view = view
        self.position = position
        self.after = after
        self.error: Optional[OSError] = None
        self.over = threading.Event()

    def wait(self) -> None:
        """Return when the bytes are written. Raises OSError."""
        self.over.wait()
        if self.error is not None:
            raise self.error


class DirectWriter:
    """Writes buffers to the file behind ``handle``, in threads of its own.

    Its handles are its own, too: after a disk that hung for long, ``handle`` may be another
    file's by the time a write goes on.
    """

    def __init__(self, handle: int) -> None:
        self._direct = self._cached = -1
        if filesystem(handle) in _FILESYSTEMS:
            self._direct = _open_again(handle, getattr(os, "O_DIRECT", 0))
            self._cached = _open_again(handle)
        self._queue: Any = queue.SimpleQueue()
        self._threads = []
        if self.usable:
            self._threads = [
                threading.Thread(target=self._run, name="fetch-write", daemon=True)
                for _ in range(DEPTH)
            ]
        for thread in self._threads:
            thread.start()

    @property
    def usable(self) -> bool:
        """Whether writes go past the cache here."""
        return self._direct >= 0 and self._cached >= 0

    def submit(
        self, view: memoryview, position: int, after: Callable[[], None] = lambda: None
    ) -> Write:
        """Begin to write ``view``, the beginning of a buffer, to a ``position`` on a page."""
        write = Write(view, position, after)
        self._queue.put(write)
        return write

    def close(self) -> None:
        """End the threads; all writes have been waited for, unless the disk hangs."""
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        if not any(thread.is_alive() for thread in self._threads):
            for handle in (self._direct, self._cached):
                if handle >= 0:
                    os.close(handle)

    def _run(self) -> None:
        while True:
            write = self._queue.get()
            if write is None:
                return
            try:
                self._write(write.view, write.position)
            except OSError as error:
                write.error = error
            write.after()
            write.over.set()

    def _write(self, view: memoryview, position: int) -> None:
        pages = len(view) - len(view) % PAGE
        while pages:
            try:
                count = os.pwrite(self._direct, view[:pages], position)
            except OSError as error:
                # A device with larger sectors, or one that cannot at all.
                if error.errno != errno.EINVAL:
                    raise
                break
            view, position = view[count:], position + count
            pages = pages - count if count % PAGE == 0 else 0
        write_at(self._cached, view, position)


def aligned_buffer(size: int) -> memoryview:
    """Return memory that begins on a page."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def _open_again(handle: int, flags: int = 0) -> int:
    """Return another handle of the file behind ``handle``, or -1 if that cannot be had.

    Through /proc it is the same file, whatever its name leads to by now.
    """
    try:
        return os.open("/proc/self/fd/%d" % handle, os.O_WRONLY | os.O_CLOEXEC | flags)
    except OSError:
        return -1
