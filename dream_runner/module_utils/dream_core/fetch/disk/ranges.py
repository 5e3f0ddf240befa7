"""Sets of byte ranges: present and missing bytes. Pure."""

from __future__ import annotations

import bisect
from typing import Iterator, List, Optional, Tuple

Range = Tuple[int, int]


class RangeSet:
    """A set of disjoint, sorted, half-open ranges ``[start, end)``."""

    def __init__(self) -> None:
        self._ranges: List[Range] = []

    def __iter__(self) -> Iterator[Range]:
        return iter(list(self._ranges))

    def total(self) -> int:
        """Return the number of bytes in the set."""
        return sum(end - start for start, end in self._ranges)

    def add(self, start: int, end: int) -> None:
        """Add ``[start, end)`` and join adjacent ranges."""
        if start >= end:
            return
        low = bisect.bisect_left(self._ranges, (start, start))
        if low and self._ranges[low - 1][1] >= start:
            low -= 1
        high = low
        while high < len(self._ranges) and self._ranges[high][0] <= end:
            start = min(start, self._ranges[high][0])
            end = max(end, self._ranges[high][1])
            high += 1
        self._ranges[low:high] = [(start, end)]

    def remove(self, start: int, end: int) -> None:
        """Remove ``[start, end)`` and split ranges if needed."""
        if start >= end:
            return
        kept: List[Range] = []
        for low, high in self._ranges:
            if high <= start or low >= end:
                kept.append((low, high))
                continue
            if low < start:
                kept.append((low, start))
            if high > end:
                kept.append((end, high))
        self._ranges = kept

    def end_of(self, position: int) -> int:
        """Return the end of the range that contains ``position``, or ``position``."""
        index = bisect.bisect_right(self._ranges, (position, 1 << 62)) - 1
        if index >= 0 and self._ranges[index][0] <= position < self._ranges[index][1]:
            return self._ranges[index][1]
        return position

    def first_gap(self, size: Optional[int]) -> Optional[Tuple[int, Optional[int]]]:
        """Return the first missing ``(start, end)`` below ``size``, or None.

        If the size is unknown, the last gap is open: its end is None.
        """
        position = 0
        for start, end in self._ranges:
            if start > position:
                return position, start
            position = end
        if size is None or position < size:
            return position, size
        return None
