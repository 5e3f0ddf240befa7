"""Decide which source is tried next, when, and when it is given up."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, List, Optional, Sequence, Tuple

from .faults import SourceFault, backoff
from .request import Patience

#: The minimum of new bytes since the last failure that counts as progress.
_PROGRESS = 64 * 1024


class Ledger:
    """The sources in order, with the failures of each. Thread-safe.

    Failures at the same time count once: if a server resets eight connections, that is one failure.
    """

    def __init__(
        self,
        sources: Sequence[Any],
        patience: Patience,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.faults: List[Tuple[str, SourceFault]] = []
        self.delivered: List[str] = []
        self._sources = list(sources)
        self._later = 0
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._fresh = 0
        self._not_before = 0.0

    def current(self) -> Optional[Any]:
        """Return the current source, or None if all are given up."""
        with self._lock:
            return self._sources[0] if self._sources else None

    def offer(self, sources: Sequence[Any], later: int) -> None:
        """Set the sources to try now; ``later`` is the number of further sources."""
        with self._lock:
            self._sources, self._later = list(sources), later
            self._failures, self._fresh, self._not_before = 0, 0, 0.0

    def forgive(self, source: Any) -> None:
        """Forget the faults of ``source`` and try it again."""
        with self._lock:
            self.faults = [item for item in self.faults if item[0] != source.label]
            self._sources = [source]
            self._failures, self._fresh, self._not_before = 0, 0, 0.0

    def pause(self) -> float:
        """Return the seconds to wait before the next request."""
        return max(0.0, self._not_before - self._clock())

    def progressed(self, source: Any, count: int) -> None:
        """Record ``count`` new bytes; enough of them clear the failures."""
        with self._lock:
            if source.label not in self.delivered:
                self.delivered.append(source.label)
            self._fresh += count
            if self._fresh >= _PROGRESS:
                self._failures = 0

    def failed(self, source: Any, fault: SourceFault) -> bool:
        """Record a failure of ``source``; return whether it counted."""
        with self._lock:
            if not self._sources or source is not self._sources[0]:
                return False
            if fault.permanent:
                self._drop(source, fault)
                return True
            if self._clock() < self._not_before:
                return False
            self._failures += 1
            self._fresh = 0
            if self._failures >= self._allowed(source, fault) or self._asks_too_much(fault):
                self._drop(source, fault)
            else:
                self._not_before = self._clock() + self._wait(fault)
            return True

    def drop(self, source: Any, fault: SourceFault) -> None:
        """Give up ``source`` because of ``fault``."""
        with self._lock:
            if source in self._sources:
                self._drop(source, fault)

    def of_another_size(self, sources: Sequence[Any]) -> List[Any]:
        """Return the sources that were given up because they state another size."""
        found = {label for label, fault in self.faults if fault.code == "SIZE_MISMATCH"}
        return [source for source in sources if source.label in found]

    def _drop(self, source: Any, fault: SourceFault) -> None:
        self.faults.append((source.label, fault))
        self._sources.remove(source)
        self._failures, self._fresh, self._not_before = 0, 0, 0.0

    def _allowed(self, source: Any, fault: SourceFault) -> int:
        attempts = self._patience.attempts
        if source.is_spare:
            return 1
        if fault.seldom:
            return min(3, attempts)
        # If there is another source, do not wait minutes for a dead mirror.
        if self._others():
            return max(2, attempts // 3)
        # If no server has ever answered, wait only as long as a restart takes.
        if fault.code == "CONNECTION_REFUSED" and not self.delivered:
            return max(2, attempts * 7 // 10)
        return attempts

    def _asks_too_much(self, fault: SourceFault) -> bool:
        wish = fault.retry_after or 0.0
        return self._others() and wish > self._patience.backoff_cap_seconds

    def _others(self) -> bool:
        return len(self._sources) + self._later > 1

    def _wait(self, fault: SourceFault) -> float:
        if fault.retry_after is not None:
            return min(fault.retry_after, self._patience.retry_after_cap_seconds)
        patience = self._patience
        return backoff(self._failures, patience.backoff_seconds, patience.backoff_cap_seconds)
