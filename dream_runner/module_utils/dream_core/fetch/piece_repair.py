"""Repair a complete file with a wrong digest by the digests of its pieces.

If a peer of the run has them (``blob_server.py``; in a fleet the controller, which has the verified
file), only wrong pieces are fetched again. The digests are not trusted: the sha256 of the whole
file decides as always, and if it is wrong the caller continues without them.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, Callable, Iterator, List, Sequence, Tuple

from ..system import atomic
from .disk.partial import Partial
from .faults import SourceFault
from .repair import PIECE, Delivery
from .request import FetchRequest
from .source_ledger import Ledger
from .sources.link import Link
from .sources.web import HttpSource

_DIGEST_BYTES = 32


class PieceRepair:
    """Repair a partial file in place; ``received`` counts the fetched bytes.

    ``say`` is called with the position and the current source.
    """

    def __init__(
        self,
        request: FetchRequest,
        partial: Partial,
        ledger: Ledger,
        say: Callable[[int, str], None],
    ) -> None:
        self.received = 0
        self._request = request
        self._partial = partial
        self._ledger = ledger
        self._say = say
        self._size = partial.journal.binding.size_bytes
        self._buffer = memoryview(bytearray(PIECE))
        self._digests = b""

    def run(self, sources: Sequence[Any]) -> str:
        """Return the label of the source of the last piece, or ``""``. Raises DiskError."""
        self._digests = self._told(sources)
        wrong = self._wrong() if self._digests else []
        if not wrong:
            return ""
        # From here on, a run after a kill finds unverified bytes and repairs the rest.
        self._partial.journal.put_on_trial(self._size)
        # A source that has not delivered yet is not to blame.
        order = sorted(sources, key=lambda source: source.label in self._ledger.delivered)
        label = self._fetch(wrong, order)
        return label if label and self._is_right() else ""

    def _told(self, sources: Sequence[Any]) -> bytes:
        """Return the digests of all pieces from the last peer, which is the controller."""
        peers = [item for item in sources if isinstance(item, HttpSource) and item.is_peer]
        if not peers:
            return b""
        link = Link(self._request.network, self._request.patience)
        try:
            return peers[-1].pieces(link, -(-self._size // PIECE))
        finally:
            link.close()

    def _wrong(self) -> List[Tuple[int, int]]:
        """Return the wrong ranges of the file, in whole pieces."""
        found: List[Tuple[int, int]] = []
        for start, end in self._pieces():
            if self._is_as_told(start, self._read(start, end)):
                continue
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], end)
            else:
                found.append((start, end))
        return found

    def _fetch(self, wrong: List[Tuple[int, int]], sources: Sequence[Any]) -> str:
        """Fetch the ranges ``wrong`` from the first source that has them right; "" if none has."""
        left, label = list(wrong), ""
        for source in sources:
            while left:
                delivery = Delivery(source, self._request, self._size, left[0][1])
                try:
                    start = self._take(delivery, *left[0])
                except SourceFault as fault:
                    self._ledger.drop(source, fault)
                    break
                finally:
                    self.received += delivery.received
                    delivery.close()
                label = source.label
                if start < left[0][1]:
                    what = "the content from byte %d on differs from the controller's" % start
                    self._ledger.drop(source, SourceFault("DIGEST_MISMATCH", what, stale=True))
                    left[0] = (start, left[0][1])
                    break
                left.pop(0)
        return "" if left else label

    def _take(self, delivery: Delivery, start: int, end: int) -> int:
        """Write the pieces of a range; return the position of the first wrong one, or ``end``."""
        for begin, stop in self._pieces(start, end):
            piece = self._buffer[: stop - begin]
            delivery.read(piece, begin)
            if not self._is_as_told(begin, piece):
                return begin
            try:
                self._partial.write(piece, begin)
            except OSError as error:
                raise atomic.translate(error, self._partial.path) from error
            self._say(stop, delivery.source.label)
        return end

    def _is_right(self) -> bool:
        whole = hashlib.sha256()
        for start, end in self._pieces():
            whole.update(self._read(start, end))
        return whole.hexdigest() == self._request.sha256

    def _pieces(self, start: int = 0, end: int = 0) -> Iterator[Tuple[int, int]]:
        end = end or self._size
        return ((begin, min(begin + PIECE, end)) for begin in range(start, end, PIECE))

    def _read(self, start: int, end: int) -> memoryview:
        try:
            piece = self._buffer[: end - start]
            return piece[: os.preadv(self._partial.handle, [piece], start)]
        except OSError as error:
            raise atomic.translate(error, self._partial.path) from error

    def _is_as_told(self, start: int, piece: memoryview) -> bool:
        place = start // PIECE * _DIGEST_BYTES
        return hashlib.sha256(piece).digest() == self._digests[place : place + _DIGEST_BYTES]
