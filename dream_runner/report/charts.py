"""Compute the positions of bars, ticks and curves in the report's charts. Pure.

Horizontal positions are percentages, so that a chart fits any page without a script.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .. import wording
from .read import Phase, ReportedHost, Transfer

#: Minimum visible width, in percent.
_LEAST = 0.15
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600)
_BUCKETS = 120


@dataclass(frozen=True)
class Scale:
    """The time range of a chart, in seconds since the epoch."""

    first: float
    last: float

    @property
    def seconds(self) -> float:
        """Return the length of the range, never 0."""
        return max(self.last - self.first, 0.1)

    def at(self, time: float) -> float:
        """Return the position of a moment, in percent of the width."""
        return round(min(100.0, max(0.0, 100 * (time - self.first) / self.seconds)), 3)

    def ticks(self) -> list[tuple[float, str]]:
        """Return six to eight round moments with their labels."""
        rough = self.seconds / 7
        step = next((item for item in _STEPS if item >= rough), 86400 * (rough // 86400 + 1))
        count = int(self.seconds / step)
        return [(self.at(self.first + n * step), _clock(n * step)) for n in range(count + 1)]


def _clock(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s" if seconds else "0"
    number, rest, unit = (
        (*divmod(round(seconds), 60), "min")
        if seconds < 3600
        else (*divmod(round(seconds / 60), 60), "h")
    )
    return f"{number}:{rest:02d} {unit}" if rest else f"{number} {unit}"


@dataclass(frozen=True)
class Bar:
    """A time span: position and width in percent, state, and title."""

    x: float
    width: float
    state: str
    name: str
    title: str


@dataclass(frozen=True)
class Row:
    """A row of a timeline; ``words`` are shown after its end."""

    label: str
    state: str
    bars: Sequence[Bar]
    parts: Sequence[Bar] = ()
    words: str = ""
    end: float = 0.0


def _bar(scale: Scale, start: float, end: float, state: str, name: str, note: str = "") -> Bar:
    x = scale.at(start)
    width = max(_LEAST, scale.at(end) - x)
    title = f"{name}: {state}, {wording.duration(max(0.0, end - start))}"
    return Bar(min(x, 100 - _LEAST), round(width, 3), state, name, title + note)


def of_phases(host: ReportedHost, scale: Scale) -> list[Row]:
    """Return a row for each phase that ran on a host, with its tasks as parts."""
    rows = []
    for phase in _by_time(host):
        end = phase.end or host.last
        tasks = [
            _bar(scale, task.start, task.end or host.last, task.status, task.name)
            for task in phase.tasks
        ]
        words = wording.duration(max(0.0, end - phase.start))
        words += f", {wording.plural(phase.changed, 'change')}" if phase.changed else ""
        words += f", {phase.state}" if phase.state in ("failed", "interrupted") else ""
        bar = _bar(scale, phase.start, end, phase.state, phase.name)
        rows.append(Row(phase.name, phase.state, [bar], tasks, words, scale.at(end)))
    return rows


def of_hosts(hosts: Iterable[ReportedHost], scale: Scale) -> list[Row]:
    """Return a row for each host, with its phases as bars."""
    rows = []
    for host in hosts:
        bars = [
            _bar(scale, phase.start, phase.end or host.last, phase.state, phase.name)
            for phase in _by_time(host)
        ]
        bad = [bar.name for bar in bars if bar.state in ("failed", "interrupted")]
        words = wording.duration(host.last - host.first) + (f", {bad[0]}" if bad else "")
        rows.append(Row(host.name, host.result.state, bars, (), words, scale.at(host.last)))
    return rows


def _by_time(host: ReportedHost) -> list[Phase]:
    ran = [phase for phase in host.phases.values() if phase.state != "unchanged"]
    return sorted(ran, key=lambda phase: phase.start)


@dataclass(frozen=True)
class Curve:
    """The total download rate in bytes per second, as points of a polygon of 100 by 100."""

    points: str
    top: float
    ticks: Sequence[tuple[float, str]]
    levels: Sequence[tuple[float, str]]


def of_rates(transfers: Iterable[Transfer]) -> Curve | None:
    """Return the sum of all rates over time, or None without enough data."""
    spans = [
        (start, end, after - before)
        for item in transfers
        for (start, before), (end, after) in pairwise(item.points)
        if after > before and end > start
    ]
    if not spans:
        return None
    scale = Scale(min(span[0] for span in spans), max(span[1] for span in spans))
    width = scale.seconds / _BUCKETS
    rates = [0.0] * _BUCKETS
    for start, end, count in spans:
        _spread(rates, (start - scale.first) / width, (end - scale.first) / width, count / width)
    top = _round_up(max(rates))
    steps = [
        f"{_x(number)},{100 - 100 * rate / top:.2f} {_x(number + 1)},{100 - 100 * rate / top:.2f}"
        for number, rate in enumerate(rates)
    ]
    levels = [(100 - 50 * n, f"{wording.size(top * n / 2)}/s") for n in (1, 2)]
    return Curve(f"0,100 {' '.join(steps)} 100,100", top, scale.ticks(), levels)


def _x(number: int) -> str:
    return f"{100 * number / _BUCKETS:.3f}"


def _spread(rates: list[float], start: float, end: float, amount: float) -> None:
    """Distribute ``amount`` over the buckets between two positions."""
    length = max(end - start, 1e-9)
    for number in range(max(0, int(start)), min(_BUCKETS, int(end) + 1)):
        overlap = min(end, number + 1) - max(start, number)
        rates[number] += amount * max(0.0, overlap) / length


def _round_up(rate: float) -> float:
    """Return the next number that is 1, 2, 2.5 or 5 times a power of ten."""
    unit = 10.0 ** (len(str(int(max(rate, 1)))) - 1)
    return next(unit * step for step in (1, 2, 2.5, 5, 10) if unit * step >= rate)
