"""What was planned and what was done: by phase, over a fleet, and the slowest tasks."""

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

#: A table of what took longest, not of everything.
_SLOWEST = 15


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


def changes(host: ReportedHost) -> list[tuple[str, str, list[str]]]:
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
        for step in dicts(plan.get("steps"))
    }


def compared(host: ReportedHost) -> list[Compared]:
    """Return each phase of a host: what was planned, and what was done."""
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


def phases_of_fleet(hosts: Sequence[ReportedHost]) -> list[PhaseOfFleet]:
    """Return each phase over all hosts: how it ended and how long it took."""
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
    """Return the tasks that took longest, with their seconds and hosts."""
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
