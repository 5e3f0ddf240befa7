"""Compute the sha256 of the whole file in a separate thread while data arrives.

Buffers that arrive in order are hashed from memory; data that arrived ahead, or in an earlier run,
is read back from the file in its turn. Bytes of an earlier run are compared with the marks of the
journal: a failing mark identifies the damaged piece, and only that piece is fetched again.
"""

from __future__ import annotations

import collections
import hashlib
import os
import threading
import time
import zlib
from typing import Any, Callable, Deque, List, Optional, Sequence, Tuple

from ..errors import DiskError
from ..system import atomic
from .claims import Board
from .disk.journal import Journal, Mark

#: Bytes between two prefix digests in the journal; on a slow connection, seconds.
STEP = 1024 * 1024
_STEP_SECONDS = 0.1
#: Maximum number of buffers that wait for the hash before their worker has to wait.
QUEUE = 2
_CHUNK = 1024 * 1024


class Hasher(threading.Thread):
    """Hash a partial file from its first byte to its last; ``digest`` is set at the end."""

    def __init__(
        self,
        handle: int,
        board: Board,
        journal: Journal,
        marks: Sequence[Mark],
        release: Callable[[memoryview], None],
    ) -> None:
        super().__init__(name="fetch-hash", daemon=True)
        self.digest: Optional[str] = None
        self.position = 0
        #: How often a worker had to wait, which shows that the hash is the bottleneck.
        self.held = 0
        #: Pieces of an earlier run that differ from the journal.
        self.rotten: List[Tuple[int, int]] = []
        self._descriptor = handle
        self._board = board
        self._journal = journal
        self._release = release
        self._marks: Deque[Mark] = collections.deque(marks)
        self._retried: Optional[Mark] = None
        self._whole = hashlib.sha256()
        self._piece = 0
        self._saved: Any = self._whole.copy()
        self._tail = 0
        self._queue: Deque[memoryview] = collections.deque()
        self._noted = journal.prefix_end
        self._noted_at = 0.0
        self._buffer = memoryview(bytearray(_CHUNK))

    def offer(self, start: int, view: memoryview) -> bool:
        """Take a buffer of bytes that are on disk at ``start``, if they are next.

        Returns False if they are not next; the caller then keeps the buffer. Waits while the queue
        is full.
        """
        changed = self._board.changed
        with changed:
            if start != self._tail:
                return False
            self._tail += len(view)
            self._queue.append(view)
            changed.notify_all()
            if len(self._queue) > QUEUE:
                self.held += 1
            while len(self._queue) > QUEUE and not self._board.stopping:
                changed.wait(1.0)
            return True

    def run(self) -> None:
        """Hash to the end of the file, or until the transfer stops."""
        try:
            while not self._finished() and self._step():
                pass
            # Record what an interrupted transfer has hashed so far.
            if self.digest is None and not self._marks and self.position > self._noted:
                self._note()
        except BaseException as error:
            self._board.fail(error)

    def _step(self) -> bool:
        view, queued = self._next()
        if view is None:
            return not self._board.stopping
        if not queued:
            self._read_back(view)
        self._update(view)
        if queued:
            self._release(view)
        return True

    def _next(self) -> Tuple[Optional[memoryview], bool]:
        """Return the next bytes in order, and whether they are a worker's buffer."""
        changed = self._board.changed
        with changed:
            while True:
                if self._queue:
                    changed.notify_all()
                    return self._queue.popleft(), True
                if self._board.stopping:
                    return None, False
                ready = self._board.done.end_of(self._tail) - self._tail
                if ready > 0:
                    count = min(ready, _CHUNK)
                    self._tail += count
                    return self._buffer[:count], False
                if self._board.size is not None and self.position == self._board.size:
                    return None, False
                changed.wait(1.0)

    def _read_back(self, view: memoryview) -> None:
        filled = 0
        while filled < len(view):
            try:
                count = os.preadv(self._descriptor, [view[filled:]], self.position + filled)
            except OSError as error:
                raise atomic.translate(error, self._journal.path) from error
            if not count:
                raise DiskError(
                    "%s became shorter while it was written" % self._journal.path,
                    code="PARTIAL_CHANGED",
                    hint="another program is writing to the partial file; stop it, then run again",
                )
            filled += count

    def _update(self, view: memoryview) -> None:
        """Hash ``view``, and compare at the end of each mark."""
        while len(view):
            count = min(len(view), self._border() - self.position)
            piece, view = view[:count], view[count:]
            self._whole.update(piece)
            if self._marks and not self._marks[0].prefix:
                self._piece = zlib.crc32(piece, self._piece)
            self.position += count
            if self._marks and self.position == self._marks[0].end and not self._compare():
                return
        fresh = self.position - self._noted
        if fresh >= STEP or (fresh > 0 and time.monotonic() - self._noted_at >= _STEP_SECONDS):
            self._note()

    def _border(self) -> int:
        if not self._marks:
            return 1 << 62
        mark = self._marks[0]
        if self.position < mark.start:
            return mark.start
        if self.position == mark.start:
            self._saved = self._whole.copy()
            self._piece = 0
        return mark.end

    def _compare(self) -> bool:
        """Check the mark that ends here; return False if the hash was reset."""
        mark = self._marks[0]
        found = self._whole.copy().hexdigest() if mark.prefix else "%08x" % self._piece
        if found == mark.digest:
            self._marks.popleft()
            return True
        if mark is self._retried:
            self._drop_marks(mark)
            return True
        self._retried = mark
        self.rotten.append((mark.start, mark.end))
        self._reset_to(mark)
        return False

    def _reset_to(self, mark: Mark) -> None:
        self._journal.forget(mark.start, mark.end)
        self._whole = self._saved.copy()
        with self._board.changed:
            self.position = self._tail = mark.start
            while self._queue:
                self._release(self._queue.popleft())
        self._board.lost(mark.start, mark.end)

    def _drop_marks(self, mark: Mark) -> None:
        """Drop a mark that new bytes contradict; the digest of the whole file decides.

        Every later prefix digest depends on the contradicted one.
        """
        if not mark.prefix:
            self._marks.popleft()
            return
        while self._marks and self._marks[0].prefix:
            self._marks.popleft()
        self._note()

    def _note(self) -> None:
        self._journal.prefix(self.position, self._whole.copy().hexdigest())
        self._noted, self._noted_at = self.position, time.monotonic()

    def _finished(self) -> bool:
        if self._board.size is None or self.position != self._board.size:
            return False
        if self.position > self._noted:
            self._note()
        self.digest = self._whole.hexdigest()
        self._board.stop()
        return True
