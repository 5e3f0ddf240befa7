"""Write a partial file to the disk while it arrives, so that little is left at the end.

By default the kernel keeps gigabytes in memory, and the ``fsync`` before the rename waits for all
of them; a full sync in between blocks all writes. So the kernel is told every few megabytes to
start writing, without waiting; the syncs then have little to do.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time

from ...system import atomic
from ..claims import Board
from ..hasher import Hasher
from .partial import Partial

_TICK_SECONDS = 0.02
_PUSH_BYTES = 8 * 1024 * 1024
#: Seconds after which bytes and journal are durable.
_SYNC_SECONDS = 2.0
#: linux/fs.h: start to write dirty pages without waiting.
_SYNC_FILE_RANGE_WRITE = 2


class Writeback(threading.Thread):
    """A thread that follows the hash, behind which every byte is written."""

    def __init__(self, partial: Partial, board: Board, hasher: Hasher) -> None:
        super().__init__(name="fetch-sync", daemon=True)
        self._partial = partial
        self._board = board
        self._hasher = hasher
        self._pushed = 0

    def run(self) -> None:
        """Write back and sync; a disk failure ends the transfer."""
        synced = time.monotonic()
        while not self._board.ended.wait(_TICK_SECONDS):
            self._push()
            if time.monotonic() - synced < _SYNC_SECONDS:
                continue
            try:
                os.fdatasync(self._partial.handle)
                self._partial.journal.sync()
            except OSError as error:
                self._board.fail(atomic.translate(error, self._partial.path))
            synced = time.monotonic()

    def _push(self) -> None:
        position = self._hasher.position
        if 0 <= position - self._pushed < _PUSH_BYTES:
            return
        if position > self._pushed:
            _begin_writing(self._partial.handle, self._pushed, position - self._pushed)
        self._pushed = position


def _begin_writing(handle: int, start: int, count: int) -> None:
    """Start to write a range to the disk; do nothing if that is not supported."""
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(handle, ctypes.c_int64(start), ctypes.c_int64(count), _SYNC_FILE_RANGE_WRITE)
