"""Repair a complete file with a wrong digest cheaply, and find the cause.

The disk has been compared with the journal, so it has the bytes that were delivered. Each source is
read once more, in one pass, and compared with the disk:

* it is read in many short ranges, because a fault may flip a bit in every long answer;
* where it differs, its bytes are recorded in a patch, and the file is right as soon as the digest
  agrees (a flipped bit takes a part of a pass, not a second download);
* disputed pieces are read again, each time over a new connection; two equal readings decide;
* a small file is read once more as a whole even if two readings agree;
* if a source delivers different bytes each time, the connection to it is to blame;
* a source whose whole content differs is dropped and reported.

A patch is applied only if the digest has proved it: a source that may be wrong never overwrites a
partial file that may be right.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Set

from ..system import atomic
from .disk.journal import Mark
from .disk.partial import Partial, write_at
from .faults import SourceFault, from_exception
from .request import FetchRequest, Progress
from .source_ledger import Ledger
from .sources.link import Link

PIECE = 1024 * 1024
#: Limits for reading disputed pieces again: their number, the rounds, and the sample if there are
#: more.
_DISPUTES = 64
_ROUNDS = 3
_SAMPLE = 4
#: Up to this size, two equal but wrong readings are not enough.
_SMALL = 64 * 1024 * 1024
_SPANS = 256
_LONGEST_SPAN = 16 * 1024 * 1024
#: How often in a pass the rest of the disk is hashed after a difference.
_EARLY_CHECKS = 2
_PROGRESS_SECONDS = 0.2


@dataclass(frozen=True)
class Dispute:
    """A piece that was delivered in two versions, by their digests."""

    start: int
    end: int
    first: str
    second: str


class Delivery:
    """The content of one source in order, across connections and temporary faults.

    No byte from ``end`` (0: the size) on is requested.
    """

    def __init__(self, source: Any, request: FetchRequest, size: int, end: int = 0) -> None:
        self.source = source
        self.received = 0
        self._size = size
        self._end = end or size
        self._span = min(_LONGEST_SPAN, -(-size // (_SPANS * PIECE)) * PIECE)
        self._link = Link(request.network, request.patience)
        self._ledger = Ledger([source], request.patience)
        self._body: Any = None

    def read(self, view: memoryview, position: int) -> None:
        """Fill ``view`` with the bytes at ``position``. Raises SourceFault."""
        filled = 0
        while filled < len(view):
            try:
                filled += self._some(view[filled:], position + filled)
            except SourceFault as fault:
                self._close_body()
                self._ledger.failed(self.source, fault)
                if self._ledger.current() is None:
                    raise
                time.sleep(self._ledger.pause())

    def close(self) -> None:
        """Close the connection; the next read opens a new one."""
        self._close_body()
        self._link.close()

    def _some(self, view: memoryview, position: int) -> int:
        if self._body is None or position != self._body.position or position == self._body.end:
            self._close_body()
            end = min(self._end, (position // self._span + 1) * self._span)
            try:
                self._body = self.source.open(self._link, position, end, self._size)
            except Exception as error:
                raise from_exception(error) from error
            while self._body.position < position:
                self._take(view[: position - self._body.position])
        return self._take(view)

    def _take(self, view: memoryview) -> int:
        count: int = self._body.readinto(view)
        if not count:
            raise SourceFault("TRUNCATED", "the response ended at byte %d" % self._body.position)
        self.received += count
        self._ledger.progressed(self.source, count)
        return count

    def _close_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


class Patch:
    """Pieces that would correct the partial file, kept separately until that is proved.

    ``in_place`` writes them to the partial file immediately, if nothing can be lost.
    """

    def __init__(self, partial: Partial, in_place: bool) -> None:
        self._partial = partial
        self._pieces: Dict[int, int] = {}
        self._handle = partial.handle if in_place else -1
        self._in_place = in_place

    def put(self, start: int, piece: memoryview) -> None:
        """Record that ``piece`` belongs at ``start``. Raises DiskError."""
        try:
            if self._handle < 0:
                self._handle = self._anonymous()
            if self._in_place:
                self._partial.write(piece, start)
            else:
                write_at(self._handle, piece, start)
        except OSError as error:
            raise atomic.translate(error, self._partial.path) from error
        self._pieces[start] = start + len(piece)

    def read(self, view: memoryview, start: int) -> memoryview:
        """Return the bytes at ``start`` with the patch applied."""
        handle = self._handle if start in self._pieces else self._partial.handle
        try:
            return view[: os.preadv(handle, [view], start)]
        except OSError as error:
            raise atomic.translate(error, self._partial.path) from error

    def apply(self) -> None:
        """Write the recorded pieces to the partial file. Raises DiskError."""
        if self._in_place:
            return
        buffer = memoryview(bytearray(PIECE))
        for start, end in self._pieces.items():
            piece = self.read(buffer[: end - start], start)
            try:
                self._partial.write(piece, start)
            except OSError as error:
                raise atomic.translate(error, self._partial.path) from error

    def close(self) -> None:
        """Drop the recorded pieces; an anonymous file is deleted with its handle."""
        if self._handle >= 0 and not self._in_place:
            os.close(self._handle)

    def _anonymous(self) -> int:
        path = self._partial.path + ".patch"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return handle


class Repair:
    """Find the source whose content has the right digest, and repair the partial file."""

    def __init__(
        self,
        request: FetchRequest,
        partial: Partial,
        ledger: Ledger,
        before: Sequence[Mark],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.received = 0
        #: Whether every source delivers the same each time, and the sources that do.
        self.consistent = True
        self.refuted: List[str] = []
        self._request = request
        self._partial = partial
        self._ledger = ledger
        self._on_progress = on_progress
        # Only if one source delivered everything can its second delivery replace the first.
        self._in_place = not before and len(ledger.delivered) == 1
        self._before = before
        self._size = partial.journal.binding.size_bytes
        self._buffer = memoryview(bytearray(PIECE))
        self._mine = memoryview(bytearray(PIECE))
        self._reported = 0.0
        self._delivered = ""
        # For the current source: the pieces that differ each time they are read.
        self._unsteady: Set[int] = set()

    def run(self, sources: Sequence[Any]) -> str:
        """Return the label of the source with the right content, or ``""``.

        The others are recorded in the ledger. Sources that have not delivered yet are read first.
        Raises DiskError.
        """
        if self._in_place:
            self._partial.journal.put_on_trial(self._size)
        for source in sorted(sources, key=lambda source: source.label in self._ledger.delivered):
            fault = self._try(source)
            if fault is None:
                return str(source.label)
            self._ledger.drop(source, fault)
        return ""

    def _try(self, source: Any) -> Optional[SourceFault]:
        delivery = Delivery(source, self._request, self._size)
        patch = Patch(self._partial, self._in_place)
        self._unsteady = set()
        try:
            disputes = self._compare_delivery(delivery, patch)
            if disputes == [] and self._size <= _SMALL:
                delivery.close()
                disputes = self._compare_delivery(delivery, patch)
            if disputes is None or self._settle(delivery, disputes, patch):
                patch.apply()
                return None
            return self._blame(source, disputes)
        except SourceFault as fault:
            self.consistent = self.consistent and fault.code == "DIGEST_MISMATCH"
            return fault
        finally:
            self.received += delivery.received
            patch.close()
            delivery.close()

    def _blame(self, source: Any, disputes: Sequence[Dispute]) -> SourceFault:
        """Return the fault for the wrong digest: of the source, or of the connection."""
        if self._unsteady:
            self.consistent = False
            what = "the connection corrupts data: %d of %d MiB differ in each reading" % (
                max(len(self._unsteady), len(disputes)),
                -(-self._size // PIECE),
            )
            return SourceFault("CONNECTION_CORRUPTS", what)
        if source.label in self._ledger.delivered and self._contradicts_itself(disputes):
            self.consistent = False
        self._partial.journal.validator(source.label, source.validator, source.identity)
        self.refuted.append(source.label)
        what = "its content has a different sha256, %s" % self._delivered
        return SourceFault("DIGEST_MISMATCH", what, stale=True)

    def _contradicts_itself(self, disputes: Sequence[Dispute]) -> bool:
        """Return whether a disputed piece was delivered in this run, not before it."""
        return any(
            all(mark.end <= dispute.start or mark.start >= dispute.end for mark in self._before)
            for dispute in disputes
        )

    def _compare_delivery(self, delivery: Delivery, patch: Patch) -> Optional[List[Dispute]]:
        """Compare one delivery with the disk; None means that the patch corrects it."""
        disputes: List[Dispute] = []
        whole, checks, differed = hashlib.sha256(), _EARLY_CHECKS, False
        for start in range(0, self._size, PIECE):
            end = min(start + PIECE, self._size)
            piece = self._buffer[: end - start]
            delivery.read(piece, start)
            dispute = self._compare(start, end, piece)
            if dispute:
                disputes.append(dispute)
                patch.put(start, piece)
            elif differed and checks:
                checks -= 1
                if self._is_right(patch, whole.copy(), start):
                    return None
            differed = dispute is not None
            whole.update(piece)
            self._say(end, delivery.source.label)
        self._delivered = whole.hexdigest()
        return None if self._delivered == self._request.sha256 else disputes

    def _compare(self, start: int, end: int, piece: memoryview) -> Optional[Dispute]:
        try:
            mine = self._mine[: end - start]
            mine = mine[: os.preadv(self._partial.handle, [mine], start)]
        except OSError as error:
            raise atomic.translate(error, self._partial.path) from error
        if mine == piece:
            return None
        return Dispute(start, end, _digest(mine), _digest(piece))

    def _settle(self, delivery: Delivery, disputes: List[Dispute], patch: Patch) -> bool:
        """Read disputed pieces until two readings agree; return whether all is right then."""
        few = len(disputes) <= _DISPUTES
        open_ones = disputes if few else disputes[:: len(disputes) // _SAMPLE]
        seen = {one.start: {one.first, one.second} for one in open_ones}
        for _ in range(_ROUNDS if few else 1):
            delivery.close()
            known = [one for one in open_ones if self._read_again(delivery, one, seen, patch)]
            open_ones = [one for one in open_ones if one not in known]
            if few and known and self._is_right(patch, hashlib.sha256(), 0):
                return True
            if not open_ones:
                break
        return False

    def _read_again(
        self, delivery: Delivery, dispute: Dispute, seen: Dict[int, Set[str]], patch: Patch
    ) -> bool:
        """Read a disputed piece again; return whether it equals an earlier reading."""
        piece = self._buffer[: dispute.end - dispute.start]
        delivery.read(piece, dispute.start)
        digest = _digest(piece)
        if digest != dispute.second:
            self._unsteady.add(dispute.start)
        if digest not in seen[dispute.start]:
            seen[dispute.start].add(digest)
            return False
        patch.put(dispute.start, piece)
        return True

    def _is_right(self, patch: Patch, running: Any, start: int) -> bool:
        while start < self._size:
            end = min(start + PIECE, self._size)
            running.update(patch.read(self._mine[: end - start], start))
            start = end
        return bool(running.hexdigest() == self._request.sha256)

    def _say(self, done: int, label: str) -> None:
        now = time.monotonic()
        if now - self._reported >= _PROGRESS_SECONDS:
            self._reported = now
            note = "wrong digest; comparing with %s" % label
            self._on_progress(Progress(done, self._size, 0.0, note))


def _digest(piece: memoryview) -> str:
    return hashlib.sha256(piece).hexdigest()
