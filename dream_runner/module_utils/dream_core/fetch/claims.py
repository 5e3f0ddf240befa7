"""Assign the missing bytes of a partial file to workers, under one lock."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import List, Optional

from .disk.ranges import RangeSet

#: Another worker's claim is split only if its rest would take longer than this many seconds,
#: because the connection and the data in transit are lost.
_STEAL_SECONDS = 2.0
_LEAST_HALF = 512 * 1024


@dataclass(eq=False)
class Claim:
    """The bytes ``[position, end)`` of one worker; an ``end`` of None is open.

    The board may lower ``end`` while the worker reads. Bytes up to ``reached`` are read; those from
    ``position`` on are not written yet.
    """

    start: int
    position: int
    end: Optional[int]
    since: float = 0.0
    reached: int = 0


class Board:
    """The shared state of one transfer. Every method locks ``changed`` itself."""

    def __init__(self, size: int) -> None:
        self.changed = threading.Condition()
        self.size: Optional[int] = size or None
        self.done = RangeSet()
        self.received = 0
        self.error: Optional[BaseException] = None
        self.stopping = False
        #: Set when the transfer ends in any way; the supervisor waits for it.
        self.ended = threading.Event()
        self._claims: List[Claim] = []

    def claim(self, block: Optional[int]) -> Optional[Claim]:
        """Claim at most ``block`` bytes of the next gap without a worker.

        Returns None if nothing is left to do now. Claims in order keep the bytes close to the hash;
        near the end the largest claim is split.
        """
        with self.changed:
            claim = self._next_gap(block)
            if claim is None and block is not None:
                claim = self._steal()
            if claim is not None:
                claim.since = time.monotonic()
                claim.reached = claim.position
                self._claims.append(claim)
            return claim

    def release(self, claim: Claim) -> None:
        """Release the rest of ``claim``."""
        with self.changed:
            if claim in self._claims:
                self._claims.remove(claim)
            self.changed.notify_all()

    def limit(self, block: int) -> None:
        """Limit every claim to ``block`` more bytes, to make room for new workers."""
        with self.changed:
            for claim in self._claims:
                if claim.end is not None:
                    claim.end = min(claim.end, claim.reached + block)

    def stored(self, claim: Claim, count: int) -> None:
        """Record that ``count`` bytes at the claim's position are on disk."""
        with self.changed:
            self.done.add(claim.position, claim.position + count)
            claim.position += count
            self.received += count
            self.changed.notify_all()

    def lost(self, start: int, end: int) -> None:
        """Record that bytes on disk are wrong and must be fetched again."""
        with self.changed:
            self.done.remove(start, end)
            self.changed.notify_all()

    def learn_size(self, size: int) -> None:
        """Record the size of the file if it was unknown."""
        with self.changed:
            self.size = size
            for claim in self._claims:
                if claim.end is None:
                    claim.end = size
            self.changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End the transfer with ``error``; only the first error counts."""
        with self.changed:
            self.error = self.error or error
            self.stopping = True
            self.ended.set()
            self.changed.notify_all()

    def stop(self) -> None:
        """End the transfer; all threads return soon."""
        with self.changed:
            self.stopping = True
            self.ended.set()
            self.changed.notify_all()

    def complete(self) -> bool:
        """Return whether every byte is on disk."""
        with self.changed:
            return self.size is not None and self.done.first_gap(self.size) is None

    def bytes_done(self) -> int:
        """Return the number of bytes on disk."""
        with self.changed:
            return self.done.total()

    def _next_gap(self, block: Optional[int]) -> Optional[Claim]:
        taken = RangeSet()
        for start, end in self.done:
            taken.add(start, end)
        for claim in self._claims:
            if claim.end is None:
                return None
            taken.add(claim.position, claim.end)
        gap = taken.first_gap(self.size)
        if gap is None:
            return None
        start, stop = gap
        if stop is not None and block is not None:
            stop = min(stop, start + block)
        return Claim(start, start, stop)

    def _steal(self) -> Optional[Claim]:
        now = time.monotonic()
        victim = max(self._claims, key=lambda claim: _seconds_left(claim, now), default=None)
        if victim is None or victim.end is None or _left(victim) < 2 * _LEAST_HALF:
            return None
        if _seconds_left(victim, now) < _STEAL_SECONDS:
            return None
        middle = victim.position + _left(victim) // 2
        stolen = Claim(middle, middle, victim.end)
        victim.end = middle
        return stolen


def _seconds_left(claim: Claim, now: float) -> float:
    rate = (claim.position - claim.start) / max(0.001, now - claim.since)
    return _left(claim) / max(1.0, rate)


def _left(claim: Claim) -> int:
    return 0 if claim.end is None else claim.end - claim.position
