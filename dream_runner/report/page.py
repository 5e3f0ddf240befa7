"""The report as one page: no network, no script, everything that is shown escaped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import jinja2

from .. import wording
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.printable import printable
from ..module_utils.dream_core.records.due_phases import Reason
from ..run.results import STATES, Group, groups
from ..ui.plain import TITLES
from . import charts
from .read import Host, Phase, Run, Task, Transfer

#: More rows than this stay folded, and are drawn thin.
_MANY = 40
#: A table of what took longest, not of everything.
_SLOWEST = 15
_FEW_SAMPLES = 3
#: Rows that stand together on paper are as high as this at most.
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
    """Return a value for the page; markup of our own charts is not text from outside."""
    return printable(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def content(run: Run) -> dict[str, Any]:
    """Return all that the template shows."""
    scale = charts.Scale(run.first, run.last)
    transfers = [item for host in run.hosts for item in host.transfers.values()]
    one = None if run.is_fleet else run.hosts[0]
    rows = _compared(one) if one else []
    samples = max((len(item.points) for item in transfers), default=0)
    return {
        "run": run,
        "one": one,
        "state": state_of(run),
        "counts": [(state, n) for state in STATES if (n := _count(run.hosts, state))],
        "tiles": _tiles(run, transfers),
        "failures": _failures(run),
        "changes": _changes(one) if one else [],
        "scale": scale,
        "timelines": _timelines(run, scale),
        # One or two samples would be a block that says nothing.
        "curve": charts.of_rates(transfers) if samples > _FEW_SAMPLES else None,
        "transfers": sorted(map(_transfer, transfers), key=lambda row: row.rate or 0.0),
        "many": _MANY,
        "compared": [row for row in rows if row.is_news],
        "folded": [row for row in rows if not row.is_news],
        "phases": _phases(run.hosts) if run.is_fleet else [],
        "facts": _facts(one.plan) if one else [],
        "choices": _choices(one.plan) if one else [],
        "rules": _rules(run.hosts),
        "findings": _findings(run.hosts),
        "notices": _notices(run.hosts),
        "slowest": _slowest(run.hosts),
    }


def state_of(run: Run) -> str:
    """Return how the run ended in a word; one of one machine is told by that machine."""
    if run.is_fleet:
        return run.outcome or "no end recorded"
    state = run.hosts[0].result.state
    return "no end recorded" if state == "interrupted" and not run.outcome else state


def _count(hosts: Iterable[Host], state: str) -> int:
    return sum(host.result.state == state for host in hosts)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))


def _share(count: float, total: float) -> str:
    return f"{100 * count / total:.3f}" if total else "0"


def _tiles(run: Run, transfers: Sequence[Transfer]) -> list[tuple[str, str]]:
    phases = [phase for host in run.hosts for phase in host.phases.values()]
    fetched = sum(_moved(item) for item in transfers)
    tiles = [("took", wording.duration(run.seconds))]
    if run.is_fleet:
        tiles.append(("hosts", str(len(run.hosts))))
    tiles.append(("changes", str(sum(host.changed for host in run.hosts))))
    if not run.is_fleet:
        rested = sum(phase.state == "unchanged" for phase in phases)
        tiles += [("phases run", f"{len(phases) - rested - _contexts(phases)} of {len(PHASES)}")]
    if fetched:
        tiles.append(("fetched", wording.size(fetched)))
    if run.traffic.get("served_bytes"):
        tiles.append(("from the origin", wording.size(run.traffic.get("origin_bytes", 0))))
    return tiles


def _contexts(phases: Iterable[Phase]) -> int:
    return sum(phase.name not in PHASES for phase in phases)


def _failures(run: Run) -> list[Group]:
    found = groups(host.result for host in run.hosts)
    # What stopped the whole run is no host's own failure.
    if run.error and not found and run.error.code != "INTERRUPTED":
        return [Group(run.error, ())]
    return found


# --- timelines -----------------------------------------------------------------------


@dataclass(frozen=True)
class Timeline:
    """Rows of a kind; ``names`` are those that have nothing to draw."""

    title: str
    rows: Sequence[charts.Row]
    names: Sequence[str] = ()

    @property
    def is_folded(self) -> bool:
        """Tell whether there is more than fits a screen, and nothing alarming in it."""
        return len(self.rows) > _MANY and self.title not in ("failed", "interrupted")

    @property
    def parts(self) -> list[Sequence[charts.Row]]:
        """Return the rows in pieces that fit a sheet of paper, each with its scale."""
        most = _SHEET_PIXELS // self.height
        return [self.rows[at : at + most] for at in range(0, len(self.rows), most)]

    @property
    def longest(self) -> int:
        """Return the length of the longest name: all pieces begin at the same place."""
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
    """A row of the table of what was fetched."""

    host: str
    what: str
    total: int
    moved: int
    seconds: float
    rate: float | None
    best: float | None


def _moved(item: Transfer) -> int:
    return sum(max(0, after - before) for (_, before), (_, after) in pairwise(item.points))


def _transfer(item: Transfer) -> Fetched:
    moved = _moved(item)
    seconds = item.points[-1][0] - item.points[0][0] if item.points else 0.0
    rates = [(b - a) / (end - start) for (start, a), (end, b) in pairwise(item.points)
             if end > start and b > a]  # fmt: skip
    rate = moved / seconds if moved and seconds > 0 else None
    return Fetched(item.host, item.what, item.total, moved, seconds, rate, max(rates, default=None))


# --- plan and done -------------------------------------------------------------------


@dataclass(frozen=True)
class Compared:
    """A phase: what was planned, what was done, and whether that is the same."""

    phase: str
    planned: str
    done: str
    state: str
    verdict: str

    @property
    def is_news(self) -> bool:
        """Tell whether something was changed, failed, or went another way than planned."""
        return self.state not in ("ok", "unchanged") or self.verdict not in ("as planned", "")


def _changes(host: Host) -> list[tuple[str, str, list[str]]]:
    """Return what changed: what the phase does, how long it took, and its tasks that did."""
    return [
        (
            TITLES.get(phase.name, phase.name),
            wording.duration(max(0.0, (phase.end or host.last) - phase.start)),
            [
                task.name
                for task in phase.tasks
                if task.status == "changed" and task.name != TITLES.get(phase.name)
            ],
        )
        for phase in host.phases.values()
        if phase.changed
    ]


def _steps(plan: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        str(step.get("phase")): (str(step.get("why", "")), str(step.get("detail", "")))
        for step in _dicts(plan.get("steps"))
    }


def _compared(host: Host) -> list[Compared]:
    steps = _steps(host.plan)
    names = [name for name in PHASES if name in steps or name in host.phases]
    return [_compare(name, steps.get(name), host.phases.get(name), host.last) for name in names]


def _compare(name: str, step: tuple[str, str] | None, phase: Phase | None, last: float) -> Compared:
    is_due = step is not None and Reason(step[0]).is_due
    ran = phase is not None and phase.state != "unchanged"
    planned = "" if step is None else "rest: nothing differs"
    if step and is_due:
        planned = "run: " + ", ".join(filter(None, step))
    if phase is None:
        verdict = "not reached" if is_due else ""
        return Compared(name, planned, "not reached", "untouched", verdict)
    if phase.state in ("failed", "interrupted"):
        verdict = phase.state
    elif step is None:
        verdict = ""
    else:
        verdict = "as planned" if is_due == ran else "ran all the same" if ran else "not needed"
    return Compared(name, planned, _done(phase, last), phase.state, verdict)


def _done(phase: Phase, last: float) -> str:
    took = wording.duration(max(0.0, (phase.end or last) - phase.start))
    words = {
        "unchanged": "rested",
        "ok": f"nothing to change, {took}",
        "changed": f"{wording.plural(phase.changed, 'change')}, {took}",
    }
    return words.get(phase.state, f"{phase.state} after {took}")


@dataclass(frozen=True)
class PhaseOfFleet:
    """A phase over all hosts."""

    name: str
    counts: Sequence[tuple[str, int]]
    median: float
    longest: float
    slowest: str


_PHASE_STATES = ("failed", "interrupted", "changed", "ok", "unchanged")


def _phases(hosts: Sequence[Host]) -> list[PhaseOfFleet]:
    made = []
    for name in PHASES:
        found = [(host, host.phases[name]) for host in hosts if name in host.phases]
        states = Counter(phase.state for _, phase in found)
        times = [
            (max(0.0, (phase.end or host.last) - phase.start), host.name)
            for host, phase in found
            if phase.state != "unchanged"
        ]
        if found:
            longest, slowest = max(times, default=(0.0, ""))
            counts = [(state, states[state]) for state in _PHASE_STATES if states[state]]
            middle = median(seconds for seconds, _ in times) if times else 0.0
            made.append(PhaseOfFleet(name, counts, middle, longest, slowest))
    return made


def _slowest(hosts: Sequence[Host]) -> list[tuple[float, Task, Host]]:
    tasks = [
        ((task.end or host.last) - task.start, task, host)
        for host in hosts
        for phase in host.phases.values()
        for task in phase.tasks
        if not task.name.startswith(_INTERNAL)
    ]
    return sorted(tasks, key=lambda row: -row[0])[:_SLOWEST]


#: Tasks that keep the records of the installer itself.
_INTERNAL = ("Record that the phase", "Record the ", "Validating arguments against")


# --- what the hosts are ---------------------------------------------------------------


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _facts(plan: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a host is; what is not known is said so, and is never 0."""
    facts = _part(plan, "facts")
    if not facts:
        return []
    system, cpu, memory = (_part(facts, name) for name in ("os", "cpu", "memory"))
    cores = f"{_or(cpu.get('cores'))} cores, {_or(cpu.get('threads'))} threads"
    inside = f" in {system['container']}" if system.get("container") else ""
    rows = [
        ("System", f"{_or(system.get('pretty_name'))}{inside}"),
        ("Kernel", f"{_or(system.get('kernel'))}, {_or(facts.get('arch'))}"),
        ("Processor", f"{_or(cpu.get('model'))}, {cores}"),
        ("Memory", _megabytes(memory.get("total_mb"))),
    ]
    rows += [("GPU", _gpu(gpu)) for gpu in _dicts(facts.get("gpus"))]
    return [*rows, ("Computes on", _or(facts.get("backend")))]


def _choices(plan: Mapping[str, Any]) -> list[list[str]]:
    columns = ("name", "value", "origin", "why")
    return [[_words(row.get(key)) for key in columns] for row in _dicts(plan.get("choices"))]


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")


def _gpu(gpu: Mapping[str, Any]) -> str:
    name = gpu.get("name") or f"{_or(gpu.get('vendor'))} {gpu.get('pci_id') or ''}".strip()
    shared = gpu.get("memory_class") not in (None, "discrete")
    words = f"{name}, {'shared memory' if shared else _megabytes(gpu.get('memory_mb'))}"
    return words if gpu.get("usable", True) else f"{words}; not used: {_or(gpu.get('why_not'))}"


def _megabytes(value: Any) -> str:
    # As the rules say it: they compare these numbers.
    return f"{value} MB" if isinstance(value, int) else "unknown"


def _or(value: Any) -> str:
    return "unknown" if value in (None, "") else str(value)


@dataclass(frozen=True)
class Rule:
    """The rule of the tiers that fired, and the model it led to, with the hosts it holds for."""

    tier: str
    rule: str
    reason: str
    model: str
    why: str
    hosts: Sequence[str]


def _rules(hosts: Iterable[Host]) -> list[Rule]:
    found: dict[tuple[str, str, str, str, str], list[str]] = {}
    for host in hosts:
        tier, model = _part(host.plan, "tier"), _part(host.plan, "model")
        if tier:
            key = (
                _or(tier.get("name") or tier.get("id")),
                _or(tier.get("rule")),
                str(tier.get("reason") or ""),
                str(model.get("name") or model.get("id") or ""),
                str(model.get("why") or ""),
            )
            found.setdefault(key, []).append(host.name)
    return [Rule(*key, names) for key, names in found.items()]


@dataclass(frozen=True)
class Said:
    """Something found or said, with the hosts it was said of."""

    level: str
    what: str
    hint: str
    hosts: Sequence[str]


def _findings(hosts: Iterable[Host]) -> list[Said]:
    return _together(
        (
            str(item.get("severity", "")),
            str(item.get("what", "")),
            str(item.get("hint") or ""),
            name,
        )
        for name, plan in ((host.name, host.plan) for host in hosts)
        for item in _dicts(_part(plan, "facts").get("findings"))
    )


def _notices(hosts: Iterable[Host]) -> list[Said]:
    return _together(
        (notice.level, notice.text, "", host.name) for host in hosts for notice in host.notices
    )


def _together(rows: Iterable[tuple[str, str, str, str]]) -> list[Said]:
    found: dict[tuple[str, str, str], dict[str, None]] = {}
    for level, what, hint, host in rows:
        found.setdefault((level, what, hint), {})[host] = None
    order = {"error": 0, "warning": 1}
    made = [Said(*key, hosts=list(names)) for key, names in found.items()]
    return sorted(made, key=lambda said: order.get(said.level, 2))
