"""Compare plan and result: by phase, over a fleet, and the slowest tasks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .. import wording
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.records.due_phases import Reason
from ..ui.plain import TITLES
from .read import Phase, ReportedHost, Task, dicts

#: Number of tasks in the table of the slowest.
_SLOWEST = 15


@dataclass(frozen=True)
class Compared:
    """A phase: plan, result, and verdict."""

    phase: str
    planned: str
    done: str
    state: str
    verdict: str

    @property
    def is_news(self) -> bool:
        """Tell whether the phase changed something, failed, or deviated from the plan."""
        return self.state not in ("ok", "unchanged") or self.verdict not in ("as planned", "")


def changes(host: ReportedHost) -> list[tuple[str, str, list[str]]]:
    """Return the phases with changes: title, duration, and changed tasks."""
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
        for step in dicts(plan.get("steps"))
    }


def compared(host: ReportedHost) -> list[Compared]:
    """Return the comparison of each phase of a host."""
    steps = _steps(host.plan)
    names = [name for name in PHASES if name in steps or name in host.phases]
    return [_compare(name, steps.get(name), host.phases.get(name), host.last) for name in names]


def _compare(name: str, step: tuple[str, str] | None, phase: Phase | None, last: float) -> Compared:
    is_due = step is not None and Reason(step[0]).is_due
    ran = phase is not None and phase.state != "unchanged"
    planned = "" if step is None else "skip: up to date"
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
        verdict = "as planned" if is_due == ran else "ran anyway" if ran else "not needed"
    return Compared(name, planned, _done(phase, last), phase.state, verdict)


def _done(phase: Phase, last: float) -> str:
    took = wording.duration(max(0.0, (phase.end or last) - phase.start))
    words = {
        "unchanged": "skipped",
        "ok": f"nothing to change, {took}",
        "changed": f"{wording.plural(phase.changed, 'change')}, {took}",
    }
    return words.get(phase.state, f"{phase.state} after {took}")


@dataclass(frozen=True)
class PhaseOfFleet:
    """Statistics of a phase over all hosts."""

    name: str
    counts: Sequence[tuple[str, int]]
    median: float
    longest: float
    slowest: str


_PHASE_STATES = ("failed", "interrupted", "changed", "ok", "unchanged")


def phases_of_fleet(hosts: Sequence[ReportedHost]) -> list[PhaseOfFleet]:
    """Return the statistics of each phase: states and durations."""
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


def slowest(hosts: Sequence[ReportedHost]) -> list[tuple[float, Task, ReportedHost]]:
    """Return the slowest tasks, with seconds and hosts."""
    tasks = [
        ((task.end or host.last) - task.start, task, host)
        for host in hosts
        for phase in host.phases.values()
        for task in phase.tasks
        if not task.name.startswith(_INTERNAL)
    ]
    return sorted(tasks, key=lambda row: -row[0])[:_SLOWEST]


#: Tasks that only write the installer's own records.
_INTERNAL = ("Record that the phase", "Record the ", "Validating arguments against")
