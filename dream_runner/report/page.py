"""Render the report as one page: no network, no script, all text escaped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import jinja2

from .. import wording
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.printable import printable
from ..run.results import STATES, Group, groups
from . import charts
from .comparison import changes, compared, phases_of_fleet, slowest
from .host_facts import choices, facts_of_host, findings, notices, rules
from .read import Phase, ReportedHost, Run, Transfer

#: With more rows, a timeline is collapsed and its rows are thin.
_MANY = 40
_FEW_SAMPLES = 3
#: Maximum height in pixels of rows that are printed together.
_SHEET_PIXELS = 800
_WORST_FIRST = ("failed", "interrupted", "reboot", "degraded", "done", "unchanged", "untouched")


def render(run: Run) -> str:
    """Return the page of a run."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dream_runner", "html"),
        autoescape=True,
        finalize=_safe,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=wording.size,
        duration=wording.duration,
        plural=wording.plural,
        moment=_moment,
        share=_share,
    )
    return environment.get_template("report.html.j2").render(**content(run))


def _safe(value: Any) -> Any:
    """Return a value for the page with control characters removed; our own markup stays."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def content(run: Run) -> dict[str, Any]:
    """Return the variables of the template."""
    scale = charts.Scale(run.first, run.last)
    transfers = [item for host in run.hosts for item in host.transfers.values()]
    one = None if run.is_fleet else run.hosts[0]
    rows = compared(one) if one else []
    samples = max((len(item.points) for item in transfers), default=0)
    return {
        "run": run,
        "one": one,
        "state": state_of(run),
        "counts": [(state, n) for state in STATES if (n := _count(run.hosts, state))],
        "tiles": _tiles(run, transfers),
        "failures": _failures(run),
        "changes": changes(one) if one else [],
        "scale": scale,
        "timelines": _timelines(run, scale),
        # A curve of one or two samples is meaningless.
        "curve": charts.of_rates(transfers) if samples > _FEW_SAMPLES else None,
        "transfers": sorted(map(_transfer, transfers), key=lambda row: row.rate or 0.0),
        "many": _MANY,
        "compared": [row for row in rows if row.is_news],
        "folded": [row for row in rows if not row.is_news],
        "phases": phases_of_fleet(run.hosts) if run.is_fleet else [],
        "facts": facts_of_host(one.plan) if one else [],
        "choices": choices(one.plan) if one else [],
        "rules": rules(run.hosts),
        "findings": findings(run.hosts),
        "notices": notices(run.hosts),
        "slowest": slowest(run.hosts),
    }


def state_of(run: Run) -> str:
    """Return the state of the run in a word; without a fleet, that of the machine."""
    if run.is_fleet:
        return run.outcome or "no end recorded"
    state = run.hosts[0].result.state
    return "no end recorded" if state == "interrupted" and not run.outcome else state


def _count(hosts: Iterable[ReportedHost], state: str) -> int:
    return sum(host.result.state == state for host in hosts)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _share(count: float, total: float) -> str:
    return f"{100 * count / total:.3f}" if total else "0"


def _tiles(run: Run, transfers: Sequence[Transfer]) -> list[tuple[str, str]]:
    phases = [phase for host in run.hosts for phase in host.phases.values()]
    fetched = sum(moved_bytes(item) for item in transfers)
    tiles = [("took", wording.duration(run.seconds))]
    if run.is_fleet:
        tiles.append(("hosts", str(len(run.hosts))))
    tiles.append(("changes", str(sum(host.changed for host in run.hosts))))
    if not run.is_fleet:
        rested = sum(phase.state == "unchanged" for phase in phases)
        tiles += [("phases run", f"{len(phases) - rested - _contexts(phases)} of {len(PHASES)}")]
    if fetched:
        tiles.append(("downloaded", wording.size(fetched)))
    if run.traffic.get("served_bytes"):
        tiles.append(("from the origin", wording.size(run.traffic.get("origin_bytes", 0))))
    return tiles


def _contexts(phases: Iterable[Phase]) -> int:
    return sum(phase.name not in PHASES for phase in phases)


def _failures(run: Run) -> list[Group]:
    found = groups(host.result for host in run.hosts)
    # An error of the whole run belongs to no host.
    if run.error and not found and run.error.code != "INTERRUPTED":
        return [Group(run.error, ())]
    return found


# --- timelines -----------------------------------------------------------------------


@dataclass(frozen=True)
class Timeline:
    """Rows with the same state; ``names`` are hosts without anything to draw."""

    title: str
    rows: Sequence[charts.Row]
    names: Sequence[str] = ()

    @property
    def is_folded(self) -> bool:
        """Tell whether the timeline is collapsed: long, and without failures."""
        return len(self.rows) > _MANY and self.title not in ("failed", "interrupted")

    @property
    def parts(self) -> list[Sequence[charts.Row]]:
        """Return the rows in parts that fit a sheet of paper."""
        most = _SHEET_PIXELS // self.height
        return [self.rows[at : at + most] for at in range(0, len(self.rows), most)]

    @property
    def longest(self) -> int:
        """Return the length of the longest name, to align all parts."""
        return max((len(row.label) for row in self.rows), default=0)

    @property
    def height(self) -> int:
        """Return the height of a row in pixels."""
        return 16 if len(self.rows) > _MANY else 26


def _timelines(run: Run, scale: charts.Scale) -> list[Timeline]:
    if not run.is_fleet:
        rows = charts.of_phases(run.hosts[0], scale)
        return [Timeline("", rows)] if rows else []
    made = []
    for state in _WORST_FIRST:
        hosts = [host for host in run.hosts if host.result.state == state]
        drawn = sorted((host for host in hosts if host.first), key=lambda host: host.first)
        if hosts:
            idle = [host.name for host in hosts if not host.first]
            made.append(Timeline(state, charts.of_hosts(drawn, scale), idle))
    return made


# --- transfers -----------------------------------------------------------------------


@dataclass(frozen=True)
class Fetched:
    """A row of the table of downloads."""

    host: str
    what: str
    total: int
    moved: int
    seconds: float
    rate: float | None
    best: float | None


def moved_bytes(item: Transfer) -> int:
    """Return the bytes that a transfer has added since its start."""
    return sum(max(0, after - before) for (_, before), (_, after) in pairwise(item.points))


def _transfer(item: Transfer) -> Fetched:
    moved = moved_bytes(item)
    seconds = item.points[-1][0] - item.points[0][0] if item.points else 0.0
    rates = [(b - a) / (end - start) for (start, a), (end, b) in pairwise(item.points)
             if end > start and b > a]  # fmt: skip
    rate = moved / seconds if moved and seconds > 0 else None
    return Fetched(item.host, item.what, item.total, moved, seconds, rate, max(rates, default=None))
