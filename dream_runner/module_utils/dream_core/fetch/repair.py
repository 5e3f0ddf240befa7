"""A complete file with the wrong digest: whose fault, and how to mend it cheaply.

By now the disk was compared with the journal, so the bytes are what was delivered.
Each source is then asked once more, in one pass, and compared with the disk:

* it is asked in many short ranges, because what flips a bit in one long answer may do so again;
* where it differs, its bytes are noted in a patch, and the whole is right as soon as the
  digest says so (a flipped bit costs a part of a pass, not a second download);
* disputed pieces are read again, each time over a new connection: what was seen twice counts;
* a small file is read once more as a whole even if two readings agree;
* a source that says something else each time is not to blame, the way to it is;
* a source whose whole content is another is dropped and named.

A patch is applied only when the digest has proved it: a partial that may be right is
never overwritten by a source that may be wrong.
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
#: So many disputed pieces are read again, so often; of more only a few, to see who is to blame.
_DISPUTES = 64
_ROUNDS = 3
_SAMPLE = 4
#: Up to this size two readings that agree, and are wrong, are not enough.
_SMALL = 64 * 1024 * 1024
_SPANS = 256
_LONGEST_SPAN = 16 * 1024 * 1024
#: After a difference the rest of the disk is hashed, at most so often in a pass.
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
    """The content of one source in order, across connections and passing faults.

    ``end`` (0: the whole) is where nothing more will be asked for.
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
        """Close the connection; another one is made for what is read after it."""
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
            raise SourceFault("TRUNCATED", "the body ended at byte %d" % self._body.position)
        self.received += count
        self._ledger.progressed(self.source, count)
        return count

    def _close_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


class Patch:
    """Pieces that would make the partial right, kept apart until that is proved.

    ``in_place`` writes them to the partial at once, for when nothing can be lost.
    """

    def __init__(self, partial: Partial, in_place: bool) -> None:
        self._partial = partial
        self._pieces: Dict[int, int] = {}
        self._handle = partial.handle if in_place else -1
        self._in_place = in_place

    def put(self, start: int, piece: memoryview) -> None:
        """Note that ``piece`` belongs at ``start``. Raises DiskError."""
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
        """Return the bytes at ``start`` as they would be with the patch applied."""
        handle = self._handle if start in self._pieces else self._partial.handle
        try:
            return view[: os.preadv(handle, [view], start)]
        except OSError as error:
            raise atomic.translate(error, self._partial.path) from error

    def apply(self) -> None:
        """Write the noted pieces to the partial. Raises DiskError."""
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
        """Drop what was noted; an anonymous file vanishes with its handle."""
        if self._handle >= 0 and not self._in_place:
            os.close(self._handle)

    def _anonymous(self) -> int:
        path = self._partial.path + ".patch"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return handle


class Repair:
    """Finds the source whose content has the right digest and mends the partial."""

    def __init__(
        self,
        request: FetchRequest,
        partial: Partial,
        ledger: Ledger,
        before: Sequence[Mark],
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.received = 0
        #: Whether every source says the same whenever asked; and those that do.
        self.consistent = True
        self.refuted: List[str] = []
        self._request = request
        self._partial = partial
        self._ledger = ledger
        self._on_progress = on_progress
        # Only when one source delivered everything can its second word replace its first.
        self._in_place = not before and len(ledger.delivered) == 1
        self._before = before
        self._size = partial.journal.binding.size_bytes
        self._buffer = memoryview(bytearray(PIECE))
        self._mine = memoryview(bytearray(PIECE))
        self._reported = 0.0
        self._heard = ""
        # Of the source that is being heard: the pieces that differ each time they are read.
        self._unsteady: Set[int] = set()

    def run(self, sources: Sequence[Any]) -> str:
        """Return the label of the source that proved right, or ``""``.

        Every source that did not is noted in the ledger. Sources that have not
        delivered yet are heard first. Raises DiskError.
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
            disputes = self._hear(delivery, patch)
            if disputes == [] and self._size <= _SMALL:
                delivery.close()
                disputes = self._hear(delivery, patch)
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
        """Return whose fault the wrong digest is: the source's, or the way's."""
        if self._unsteady:
            self.consistent = False
            what = "the connection corrupts data: %d of %d MiB differ each time they are read" % (
                max(len(self._unsteady), len(disputes)),
                -(-self._size // PIECE),
            )
            return SourceFault("CONNECTION_CORRUPTS", what)
        if source.label in self._ledger.delivered and self._contradicts_itself(disputes):
            self.consistent = False
        self._partial.journal.validator(source.label, source.validator, source.identity)
        self.refuted.append(source.label)
        what = "its content has another sha256, %s" % self._heard
        return SourceFault("DIGEST_MISMATCH", what, stale=True)

    def _contradicts_itself(self, disputes: Sequence[Dispute]) -> bool:
        """Return whether a disputed piece was delivered in this run, not before it."""
        return any(
            all(mark.end <= dispute.start or mark.start >= dispute.end for mark in self._before)
            for dispute in disputes
        )

    def _hear(self, delivery: Delivery, patch: Patch) -> Optional[List[Dispute]]:
        """Compare one delivery with the disk; None means that the patch makes it right."""
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
        self._heard = whole.hexdigest()
        return None if self._heard == self._request.sha256 else disputes

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
        """Read disputed pieces again until each was the same twice; say if all is right then."""
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
        """Return whether a disputed piece is one that was seen before; it then is the right one."""
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
