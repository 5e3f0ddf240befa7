"""How many connections: as few as are as fast as many."""

from __future__ import annotations

from typing import Optional

#: No more than this many connections to one server.
MOST = 16
#: More connections have to bring at least this much to be kept.
_GAIN = 1.4
#: So many times more are tried at once.
_STEP = 4
#: Share of a core from which on a connection's thread, not the server, is the limit.
_BUSY = 0.5
#: Bytes per second from which on nobody throttles a connection any more.
_PLENTY = 200e6
_SHORTEST_WINDOW = 0.035
_LONGEST_WINDOW = 3.0
#: Round trips that a new connection needs to reach its rate (TCP slow start).
_ROUND_TRIPS = 10.0
#: A choice is looked at again after this, then after twice that, and so on.
_FIRST_LOOK_SECONDS = 0.5
_LAST_LOOK_SECONDS = 30.0


class Tuner:
    """Multiplies the connections while that pays, then settles; tries again later.

    Soon at first: the first choice rests on a few hundredths of a second, in which the
    host may have been busy, or the server generous.

    Fed with the clock, the bytes received and the CPU seconds of one connection, as
    running totals. A fixed number is simply kept.
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
        """Return the number of connections to use from ``now`` on."""
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
        """Use half as many connections: the server does not like this many."""
        if not self._fixed and self.target > 1:
            self.target //= 2
            self._patience = _LAST_LOOK_SECONDS
            self._settle(now)

    def _open_window(self, now: float, received: int, cpu: float) -> None:
        self._start, self._bytes, self._cpu = now, received, cpu

    def _judge(self, now: float, rate: float, busy: float) -> None:
        if self._settled_at is not None:
            # A look again after a while: the same climb from where it settled.
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
