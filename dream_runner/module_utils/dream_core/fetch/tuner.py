"""Choose the number of connections: the smallest number with full speed."""

from __future__ import annotations

from typing import Optional

#: No more than this many connections to one server.
MOST = 16
#: The minimum gain for which more connections are kept.
_GAIN = 1.4
#: The factor by which the number of connections grows.
_STEP = 4
#: The share of a core above which a connection's thread is the limit, not the server.
_BUSY = 0.5
#: Bytes per second above which servers do not throttle a connection.
_PLENTY = 200e6
_SHORTEST_WINDOW = 0.035
_LONGEST_WINDOW = 3.0
#: Round trips that a new connection needs to reach its rate (TCP slow start).
_ROUND_TRIPS = 10.0
#: Seconds until a choice is tested again; the interval then doubles each time.
_FIRST_LOOK_SECONDS = 0.5
_LAST_LOOK_SECONDS = 30.0


class Tuner:
    """Increase the connections while that helps, then keep the number; try again later.

    The first test is soon, because the first choice depends on a few hundredths of a second, in
    which the host may have been busy or the server faster than usual.

    Its input is the time, the received bytes and the CPU seconds of one connection, as running
    totals. A fixed number is kept.
    """

    def __init__(self, fixed: int = 0, most: int = MOST) -> None:
        self.target = fixed or 1
        self._fixed = bool(fixed)
        self._most = most
        self._best = 0.0
        self._settled_at: Optional[float] = None
        self._patience = _FIRST_LOOK_SECONDS
        self._start: Optional[float] = None
        self._bytes = 0
        self._cpu = 0.0

    def advise(self, now: float, received: int, cpu: float, latency: float) -> int:
        """Return the number of connections to use at ``now``."""
        if self._fixed:
            return self.target
        if self._settled_at is not None and now - self._settled_at < self._patience:
            return self.target
        if self._start is None or received <= 0:
            self._open_window(now, received, cpu)
            return self.target
        elapsed = now - self._start
        if elapsed >= min(_LONGEST_WINDOW, max(_SHORTEST_WINDOW, _ROUND_TRIPS * latency)):
            self._judge(now, (received - self._bytes) / elapsed, (cpu - self._cpu) / elapsed)
            self._open_window(now, received, cpu)
        return self.target

    def shrink(self, now: float) -> None:
        """Halve the connections, because the server rejects this many."""
        if not self._fixed and self.target > 1:
            self.target //= 2
            self._patience = _LAST_LOOK_SECONDS
            self._settle(now)

    def _open_window(self, now: float, received: int, cpu: float) -> None:
        self._start, self._bytes, self._cpu = now, received, cpu

    def _judge(self, now: float, rate: float, busy: float) -> None:
        if self._settled_at is not None:
            # A later test: start again from the current number.
            self._settled_at, self._best = None, 0.0
            self._patience = min(_LAST_LOOK_SECONDS, 2 * self._patience)
        if rate < self._best * _GAIN:
            self.target = max(1, self.target // _STEP)
            self._settle(now)
            return
        self._best = rate
        if busy >= _BUSY or rate >= _PLENTY * self.target or self.target >= self._most:
            self._settle(now)
            return
        self.target = min(self._most, self.target * _STEP)

    def _settle(self, now: float) -> None:
        self._settled_at = now
