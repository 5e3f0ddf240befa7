"""The thread of one connection: claim a gap, read it, write it, confirm it."""

from __future__ import annotations

import collections
import math
import threading
import time
import zlib
from typing import Any, Callable, Deque, List, Optional

from ..system import atomic
from .claims import Board, Claim
from .disk.direct_io import DEPTH, PAGE, DirectWriter, Write, aligned_buffer
from .disk.partial import Partial
from .faults import SourceFault, from_exception
from .hasher import Hasher
from .source_ledger import Ledger
from .sources.link import Link

_BUFFER = 1024 * 1024
#: The maximum of bytes that a kill -9 loses for all workers: read, but not yet in the journal.
_AT_RISK = 4 * 1024 * 1024
_LEAST = 128 * 1024
#: On a slow connection, a buffer is limited to the bytes of this many seconds, because it is
#: confirmed only when it and the earlier ones are full, on disk and hashed.
_MOMENT_SECONDS = 0.02
#: Seconds after which a buffer is passed on even if it is not full.
_HAND_ON_SECONDS = 0.25


class Shared:
    """The shared state of the workers of one transfer."""

    def __init__(
        self,
        partial: Partial,
        board: Board,
        ledger: Ledger,
        on_size: Callable[[int], None],
        require_space: Callable[[int], None],
    ) -> None:
        self.path = partial.path
        self.partial = partial
        self.board = board
        self.journal = partial.journal
        self.ledger = ledger
        self.on_size = on_size
        self.require_space = require_space
        self.hasher: Optional[Hasher] = None
        self.writer: Optional[DirectWriter] = None
        #: How often a worker had to wait for the disk, which is then the limit.
        self.held = 0
        #: The wanted number of workers, and the size of a claim for several workers.
        self.wanted = 1
        #: Recent bytes per second of all workers; unknown at first.
        self.pace = math.inf
        self.block = 8 * 1024 * 1024
        self._spare: List[memoryview] = []

    def buffer(self) -> memoryview:
        """Return a free buffer, or a new one."""
        try:
            return self._spare.pop()
        except IndexError:
            return aligned_buffer(_BUFFER)

    def free(self, view: memoryview) -> None:
        """Return a buffer to the pool; any slice of it is accepted."""
        self._spare.append(memoryview(view.obj))

    def portion(self) -> int:
        """Return how many bytes a worker reads before it passes them on: whole pages."""
        most = min(_BUFFER, _AT_RISK // (2 * self.wanted))
        moment = min(most, self.pace / self.wanted * _MOMENT_SECONDS)
        # The next one must be page-aligned.
        return max(_LEAST, int(moment) // PAGE * PAGE)


class Worker(threading.Thread):
    """Fetch claims until nothing is left, the worker is not needed, or the transfer ends."""

    def __init__(self, number: int, shared: Shared, link: Link) -> None:
        super().__init__(name="fetch-%d" % number, daemon=True)
        self.link = link
        self.number = number
        #: Bytes read so far, including unwritten ones.
        self.read_bytes = 0
        self._shared = shared
        self._source: Any = None
        self._body: Any = None
        self._fault: Optional[SourceFault] = None
        self._ahead = 0
        self._ahead_start = 0
        self._ahead_bytes = 0
        self._flight: Deque[Write] = collections.deque()

    def run(self) -> None:
        """Run the worker; any failure except a source's ends the transfer."""
        try:
            while self._wanted() and self._turn():
                pass
        except BaseException as error:
            self._shared.board.fail(error)
        finally:
            self._drop_body()
            self.link.close()

    def cpu_seconds(self) -> float:
        """Return the CPU time of this thread plus its time in the run queue.

        On a busy host the waiting time is larger, and more connections would not help.
        """
        try:
            path = "/proc/self/task/%s/schedstat" % self.native_id
            with open(path, "rb", buffering=0) as stream:
                used, waited = stream.read(100).split()[:2]
            return (int(used) + int(waited)) / 1e9
        except (OSError, ValueError):
            return 0.0  # The thread has ended, or /proc is missing.

    def _wanted(self) -> bool:
        shared = self._shared
        return not shared.board.stopping and self.number < shared.wanted

    def _turn(self) -> bool:
        shared = self._shared
        source = shared.ledger.current()
        if source is None:
            return False  # The supervisor notices this too and decides.
        if not source.parallel and self.number > 0:
            return False
        if self._rest(shared.ledger.pause()):
            return True
        alone = shared.wanted == 1 or not source.parallel
        claim = shared.board.claim(None if alone else shared.block)
        if claim is None:
            self._rest(0.1)
            return True
        try:
            self._fetch(source, claim)
        except SourceFault as fault:
            self._drop_body()
            shared.ledger.failed(source, fault)
        finally:
            shared.board.release(claim)
        return True

    def _rest(self, seconds: float) -> bool:
        """Wait, at most until the end of the transfer; return whether it waited."""
        if seconds <= 0:
            return False
        with self._shared.board.changed:
            if not self._shared.board.stopping:
                self._shared.board.changed.wait(min(seconds, 1.0))
        return True

    def _fetch(self, source: Any, claim: Claim) -> None:
        self._open(source, claim)
        self._skip(claim)
        self._ahead_bytes = 0
        try:
            # Stopping in the middle of a block would lose the data in transit.
            while self._body.position == claim.reached and not self._shared.board.stopping:
                if claim.end is not None and claim.reached >= claim.end:
                    break
                if not self._portion(source, claim):
                    break
        finally:
            self._land(source, claim)
            self._confirm()
        if self._body.end is not None and self._body.position >= self._body.end:
            self._drop_body()

    def _open(self, source: Any, claim: Claim) -> None:
        if self._body is not None and self._source is source:
            position = self._body.position
            if position == claim.position or (not source.parallel and position <= claim.position):
                return
        self._drop_body()
        size = self._shared.board.size or 0
        try:
            self._body = source.open(self.link, claim.position, claim.end, size)
        except Exception as error:
            raise from_exception(error) from error
        self._source = source
        self._shared.journal.validator(source.label, source.validator, source.identity)
        if not size and self._body.total:
            self._shared.on_size(self._body.total)

    def _skip(self, claim: Claim) -> None:
        """Skip bytes that are already present, for a server without ranges."""
        view = self._shared.buffer()
        try:
            while self._body.position < claim.position and self._wanted():
                left = claim.position - self._body.position
                if not self._read(view[: min(left, len(view))]):
                    raise SourceFault("TRUNCATED", "the response ended before the missing part")
        finally:
            self._shared.free(view)

    def _portion(self, source: Any, claim: Claim) -> bool:
        """Fetch one buffer; return False at the end of a body of unknown length."""
        shared = self._shared
        buffer = shared.buffer()
        most = shared.portion() - claim.reached % PAGE
        if claim.end is not None:
            most = min(most, claim.end - claim.reached)
        count = self._fill(buffer[:most])
        if not count:
            shared.free(buffer)
            self._land(source, claim)
            return self._at_end(claim)
        if shared.board.stopping:
            return (
                False  # The partial file may be closed, and its handle may belong to another file.
            )
        self._store(source, claim, buffer[:count], count == most)
        return True

    def _store(self, source: Any, claim: Claim, view: memoryview, full: bool) -> None:
        """Write ``view``; bypass the cache if the hash will not read it back.

        A buffer that is not ``full`` belongs to a slow connection, and is written immediately.
        """
        shared, position = self._shared, claim.reached
        assert shared.writer is not None
        shared.require_space(len(view))
        direct = full and shared.wanted == 1 and position % PAGE == 0 and shared.writer.usable
        if direct:
            claim.reached += len(view)
            watch = shared.partial.watch
            watch.begin()
            self._flight.append(shared.writer.submit(view, position, watch.end))
            self._land(source, claim, DEPTH)
            return
        self._land(source, claim)
        self._write(view, position)
        claim.reached += len(view)
        self._stored(source, claim, view)

    def _land(self, source: Any, claim: Claim, most: int = 0) -> None:
        """Confirm finished writes in order, until at most ``most`` are pending."""
        flight = self._flight
        while flight and (len(flight) > most or flight[0].over.is_set()):
            write = flight.popleft()
            if most and not write.over.is_set():
                self._shared.held += 1
            try:
                write.wait()
            except OSError as error:
                raise atomic.translate(error, self._shared.path) from error
            self._stored(source, claim, write.view)

    def _stored(self, source: Any, claim: Claim, view: memoryview) -> None:
        count = len(view)
        if not self._hand_on(claim, view):
            self._shared.free(view)
        self._shared.board.stored(claim, count)
        self._shared.ledger.progressed(source, count)

    def _at_end(self, claim: Claim) -> bool:
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault
        if claim.end is None and self._body.end in (None, self._body.position):
            self._shared.on_size(claim.position)
            return False
        raise SourceFault("TRUNCATED", "the response ended at byte %d" % self._body.position)

    def _fill(self, view: memoryview) -> int:
        """Read until ``view`` is full, the time is over, or the body ends or fails.

        A failure after some bytes is kept for the next call, so that no byte is lost.
        """
        if self._fault is not None:
            return 0
        filled, deadline = 0, time.monotonic() + _HAND_ON_SECONDS
        try:
            while filled < len(view):
                count = self._read(view[filled:])
                filled += count
                if not count or time.monotonic() >= deadline:
                    break
        except SourceFault as fault:
            self._fault = fault
        return filled

    def _read(self, view: memoryview) -> int:
        count: int = self._body.readinto(view)
        self.read_bytes += count
        return count

    def _write(self, view: memoryview, position: int) -> None:
        try:
            self._shared.partial.write(view, position)
        except OSError as error:
            raise atomic.translate(error, self._shared.path) from error

    def _hand_on(self, claim: Claim, view: memoryview) -> bool:
        """Pass ``view`` to the hash, or confirm it with its own checksum.

        A CRC-32 detects damage on disk; only the sha256 of the whole file decides.
        """
        assert self._shared.hasher is not None
        if self._shared.hasher.offer(claim.position, view):
            # The hash has covered everything before this, too.
            self._ahead_bytes = 0
            return True
        if not self._ahead_bytes:
            self._ahead, self._ahead_start = 0, claim.position
        self._ahead = zlib.crc32(view, self._ahead)
        self._ahead_bytes += len(view)
        if self._ahead_bytes >= self._shared.portion():
            self._confirm()
        return False

    def _confirm(self) -> None:
        if self._ahead_bytes:
            end = self._ahead_start + self._ahead_bytes
            self._shared.journal.segment(self._ahead_start, end, "%08x" % self._ahead)
            self._ahead_bytes = 0

    def _drop_body(self) -> None:
        self._fault = None
        if self._body is not None:
            self._body.close()
            self._body = None
