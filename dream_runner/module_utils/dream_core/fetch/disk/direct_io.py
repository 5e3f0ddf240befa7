"""Write without the page cache (O_DIRECT), on filesystems that do this well.

After hashing, the page cache takes the most CPU time of a fetch: a third of a core. A direct write
takes a twentieth, and its bytes are on the device when it returns. Two writes run at a time, so
that the device is never idle.
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

#: Position, length and memory address of a direct write are multiples of this.
PAGE = 4096
#: The number of concurrent writes.
DEPTH = 2
#: ext2 to ext4 and xfs (linux/magic.h). Other filesystems refuse direct writes, use the cache
#: anyway (tmpfs), or wait for a server each time (nfs).
_FILESYSTEMS = (0xEF53, 0x58465342)
_JOIN_SECONDS = 5.0


class Write:
    """A pending write of ``view`` to ``position``; ``after`` is called when it is done."""

    def __init__(
        self, view: memoryview, position: int, after: Callable[[], None] = lambda: None
    ) -> None:
        self.view = view
        self.position = position
        self.after = after
        self.error: Optional[OSError] = None
        self.over = threading.Event()

    def wait(self) -> None:
        """Wait until the bytes are written. Raises OSError."""
        self.over.wait()
        if self.error is not None:
            raise self.error


class DirectWriter:
    """Write buffers to the file of ``handle`` in separate threads.

    It uses its own handles: after a long hang of the disk, ``handle`` may belong to another file
    when a write continues.
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
        """Whether direct writes work here."""
        return self._direct >= 0 and self._cached >= 0

    def submit(
        self, view: memoryview, position: int, after: Callable[[], None] = lambda: None
    ) -> Write:
        """Start to write ``view``, the beginning of a buffer, to a page-aligned ``position``."""
        write = Write(view, position, after)
        self._queue.put(write)
        return write

    def close(self) -> None:
        """Stop the threads; all writes are done, unless the disk hangs."""
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
                # The device has larger sectors, or does not support direct writes.
                if error.errno != errno.EINVAL:
                    raise
                break
            view, position = view[count:], position + count
            pages = pages - count if count % PAGE == 0 else 0
        write_at(self._cached, view, position)


def aligned_buffer(size: int) -> memoryview:
    """Return page-aligned memory."""
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def _open_again(handle: int, flags: int = 0) -> int:
    """Return a new handle of the file of ``handle``, or -1 if that fails.

    Through /proc it is the same file, even if its name now leads to another one.
    """
    try:
        return os.open("/proc/self/fd/%d" % handle, os.O_WRONLY | os.O_CLOEXEC | flags)
    except OSError:
        return -1
