"""One pass over a partial file: workers fill it, the hasher follows, and this supervises both."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, Callable, List, Optional, Sequence

from ..errors import DiskError
from .claims import Board
from .disk.direct_io import DirectWriter
from .disk.journal import Mark
from .disk.partial import Partial, require_space
from .disk.writeback import Writeback
from .faults import SourceFault
from .hasher import Hasher
from .request import FetchRequest, Progress
from .source_ledger import Ledger
from .sources.link import Link
from .tuner import Tuner
from .worker import Shared, Worker

_TICK_SECONDS = 0.02
_SMOOTHING = 0.25
_PROGRESS_SECONDS = 0.2
_JOIN_SECONDS = 5.0
_LARGEST_BLOCK = 32 * 1024 * 1024
_SMALLEST_BLOCK = 1024 * 1024
#: A claim lasts this many round trips, and at least this long, so that requests take at most 5 % of
#: the time.
_BLOCK_ROUND_TRIPS = 20.0
_BLOCK_SECONDS = 0.25


class Transfer:
    """Fill the gaps of a partial file and hash all of it.

    ``run`` returns the digest of the whole file, or None if the sources failed; the fetched bytes
    are then in the partial file and its journal.
    """

    def __init__(
        self,
        request: FetchRequest,
        partial: Partial,
        ledger: Ledger,
        on_size: Callable[[int], None],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.received = 0
        self.rotten: List[Any] = []
        self.connections = 0
        self._request = request
        self._partial = partial
        self._ledger = ledger
        self._on_size = on_size
        self._on_progress = on_progress
        self._board = Board(partial.journal.binding.size_bytes)
        self._workers: List[Worker] = []
        self._read_before = 0
        #: Bytes per second of one tick, smoothed over a few.
        self._pace = 0.0
        self._tuner = Tuner(request.connections)
        self._shared = Shared(
            partial,
            self._board,
            ledger,
            self._learn_size,
            self._require_space,
        )

    def run(self, marks: Sequence[Mark], here: int = 0) -> Optional[str]:
        """Transfer the bytes that ``marks`` (and the first ``here`` bytes) do not cover.

        Raises DreamError for problems that no source can solve, such as a full disk.
        """
        self._board.done.add(0, here)
        for mark in marks:
            self._board.done.add(mark.start, mark.end)
        hasher = Hasher(
            self._partial.handle, self._board, self._partial.journal, marks, self._shared.free
        )
        self._shared.hasher = hasher
        writeback = Writeback(self._partial, self._board, hasher)
        self._shared.writer = DirectWriter(self._partial.handle)
        try:
            hasher.start()
            writeback.start()
            self._watch()
        finally:
            self._wind_up([hasher, writeback])
            self._shared.writer.close()
        if self._board.error is not None:
            raise self._board.error
        self.rotten = hasher.rotten
        return hasher.digest

    def _require_space(self, count: int) -> None:
        """Keep the reserve while a file of unknown size arrives. Raises DiskError."""
        if not self._board.size:
            directory = os.path.dirname(self._partial.path)
            require_space(directory, count, self._request.reserve_bytes)

    def _learn_size(self, size: int) -> None:
        with self._board.changed:
            if self._board.size:
                return
            try:
                self._on_size(size)
            except DiskError as error:
                # Only this source states the size; another one may state less.
                raise SourceFault(error.code, error.what, permanent=True) from error
            self._partial.journal.learn_size(size)
            self._board.learn_size(size)

    def _watch(self) -> None:
        reported_at, reported = time.monotonic(), self._board.bytes_done()
        ticked, read = reported_at, 0
        while True:
            self._staff()
            if self._board.ended.wait(_TICK_SECONDS):
                break
            now, before, read = time.monotonic(), read, self._read_bytes()
            self._pace += ((read - before) / (now - ticked) - self._pace) * _SMOOTHING
            self._shared.pace, ticked = self._pace, now
            if now - reported_at >= _PROGRESS_SECONDS:
                done = self._board.bytes_done()
                self._report(done, max(0, done - reported) / (now - reported_at))
                reported_at, reported = now, done
        self._report(self._board.bytes_done(), 0.0)

    def _report(self, done: int, rate: float) -> None:
        total = self._board.size or 0
        note = ""
        if self._ledger.pause() > 0:
            note = "waiting %d s for the server" % (self._ledger.pause() + 1)
        elif total and done == total and self._board.error is None:
            note = "checking the sha256"
        self._on_progress(Progress(min(done, total) if total else done, total, rate, note))

    def _staff(self) -> None:
        """Start and stop workers as the tuner and the source require."""
        source = self._ledger.current()
        if source is None:
            # A complete file needs no source any more, only the rest of its hash.
            if not self._board.complete():
                self._board.ended.set()
            return
        wanted = self._advice() if source.parallel and self._board.size else 1
        if wanted > 1:
            self._shared.block = self._block(wanted)
            if self._shared.wanted == 1:
                self._board.limit(self._shared.block)
        self._shared.wanted = wanted
        self._read_before += sum(one.read_bytes for one in self._workers if not one.is_alive())
        self._workers = [worker for worker in self._workers if worker.is_alive()]
        taken = {worker.number for worker in self._workers}
        for number in range(wanted):
            if number not in taken:
                self._hire(number)
        self.connections = max(self.connections, wanted)

    def _hire(self, number: int) -> None:
        link = Link(self._request.network, self._request.patience)
        worker = Worker(number, self._shared, link)
        self._workers.append(worker)
        worker.start()

    def _advice(self) -> int:
        now = time.monotonic()
        if self._ledger.pause() > 0:
            self._tuner.shrink(now)
        return self._tuner.advise(now, self._read_bytes(), self._busy(), self._latency())

    def _read_bytes(self) -> int:
        """Return the bytes that workers have read, which are known before they are stored."""
        return self._read_before + sum(worker.read_bytes for worker in self._workers)

    def _busy(self) -> float:
        """Return the CPU seconds of the first connection, or an equivalent value.

        A worker that waits for the hash counts as busy, because the hash is the limit.
        """
        hasher = self._shared.hasher
        held = float(self._shared.held + (hasher.held if hasher else 0))
        return held + sum(one.cpu_seconds() for one in self._workers if not one.number)

    def _latency(self) -> float:
        return max((worker.link.latency for worker in self._workers), default=0.0)

    def _block(self, wanted: int) -> int:
        """Return how many bytes each of several workers claims at once.

        Small blocks keep the bytes near the hash, and shorten the end of the transfer.
        """
        seconds = max(_BLOCK_SECONDS, _BLOCK_ROUND_TRIPS * self._latency())
        left = (self._board.size or 0) - self._board.bytes_done()
        block = min(_LARGEST_BLOCK, int(self._pace / wanted * seconds), left // (2 * wanted))
        return max(_SMALLEST_BLOCK, block)

    def _wind_up(self, others: Sequence[threading.Thread]) -> None:
        self._board.stop()
        for worker in self._workers:
            worker.link.abort()
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in [*self._workers, *others]:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        self.received = self._board.received
