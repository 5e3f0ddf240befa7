"""Read the journal, plan and outcome of a run; each may be missing or truncated."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from .. import wording
from ..module_utils.dream_core.errors import DreamError, Interrupted, from_dict
from ..module_utils.dream_core.files import json_file
from ..module_utils.dream_core.health import access
from ..module_utils.dream_core.types.access import Access
from ..module_utils.dream_core.types.upgrade import UpgradeSeen
from ..module_utils.dream_core.upgrade import progress
from ..run.events import (
    Event,
    Notice,
    PhaseFinished,
    PhaseStarted,
    Progress,
    RunFinished,
    TaskFinished,
    TaskStarted,
    parse,
)
from ..run.results import HostResult, state_of
from ..run.task_errors import error_of_task
from .record import PLAN, REPORT

#: The part of a run before its first phase.
CONTEXT = "context"
#: Allowed types of an event's field, by its annotation.
_KINDS: dict[str, Any] = {"str": str, "float": (int, float), "int": int}
_LIMIT_BYTES = 64 * 1024 * 1024


@dataclass
class Task:
    """A task; ``end`` is None if its end was not recorded."""

    phase: str
    name: str
    start: float
    end: float | None = None
    status: str = "interrupted"
    module: str = ""
    message: str = ""


@dataclass
class Phase:
    """A phase on a host: state is ok, changed, failed, unchanged or interrupted."""

    name: str
    start: float
    end: float | None = None
    state: str = "interrupted"
    changed: int = 0
    why: str = ""
    tasks: list[Task] = field(default_factory=list)


@dataclass
class Transfer:
    """A download: recorded points (time, bytes done)."""

    host: str
    what: str
    total: int = 0
    points: list[tuple[float, int]] = field(default_factory=list)


@dataclass
class ReportedHost:
    """A host's part of a run; ``plan`` has its facts and its planned steps."""

    name: str
    result: HostResult
    plan: Mapping[str, Any] = field(default_factory=dict)
    phases: dict[str, Phase] = field(default_factory=dict)
    transfers: dict[str, Transfer] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    error: DreamError | None = None
    changed: int = 0
    last: float = 0.0
    is_over: bool = False

    @property
    def first(self) -> float:
        """Return when the host was started, 0 if it was not."""
        return min((phase.start for phase in self.phases.values()), default=0.0)

    def take(self, event: Event) -> None:
        """Add one event. Events are added in the order of the journal."""
        self.last = max(self.last, event.time)
        if isinstance(event, PhaseStarted):
            self._phase(event.phase, event.time)
        elif isinstance(event, PhaseFinished):
            self._finish_phase(event)
        elif isinstance(event, TaskStarted):
            phase = self._phase(event.phase, event.time)
            phase.tasks.append(Task(phase.name, _title(event.task, event.phase), event.time))
        elif isinstance(event, TaskFinished):
            self._finish_task(event)
        elif isinstance(event, Progress):
            self._transfer(event)
        elif isinstance(event, Notice):
            self.notices.append(event)
        elif isinstance(event, RunFinished):
            self.is_over = True

    def _phase(self, name: str, time: float) -> Phase:
        return self.phases.setdefault(name or CONTEXT, Phase(name or CONTEXT, time))

    def _finish_phase(self, event: PhaseFinished) -> None:
        phase = self._phase(event.phase, event.time - event.seconds)
        phase.end, phase.state, phase.why = event.time, event.state, event.why
        phase.changed = event.changed
        self.changed += event.changed

    def _finish_task(self, event: TaskFinished) -> None:
        title = _title(event.task, event.phase)
        # "Skip the phase on hosts that need no change" only decides whether a phase starts.
        if (event.phase or CONTEXT) not in self.phases and event.status == "skipped":
            return
        phase = self._phase(event.phase, event.time - event.seconds)
        task = next((item for item in reversed(phase.tasks) if item.name == title), None)
        if task is None or task.end is not None:
            task = Task(phase.name, title, event.time - event.seconds)
            phase.tasks.append(task)
        task.end, task.status, task.module = event.time, event.status, event.module
        task.message = event.message
        if phase.name == CONTEXT:
            phase.end, phase.state = event.time, "ok"
        if event.status in ("failed", "unreachable"):
            phase.state = "failed"
            self.error = error_of_task(event)

    def _transfer(self, event: Progress) -> None:
        found = self.transfers.setdefault(event.what, Transfer(self.name, event.what))
        if not found.points:
            found.points.append(self._begin(event))
        found.total = max(found.total, event.total, event.done)
        found.points.append((event.time, event.done))

    def _begin(self, event: Progress) -> tuple[float, int]:
        """Estimate start time and initial bytes of a transfer: its first report comes later."""
        phase = self.phases.get(event.phase)
        latest = event.time - _LEAST_SECONDS
        began = min(latest, max(phase.start if phase else latest, event.time - _REPORT_SECONDS))
        planned = _present(self.plan, event.what)
        if planned is not None:
            return began, min(planned, event.done)
        # An existing file is verified, not downloaded.
        is_here = event.done == event.total and event.note.startswith("checking")
        return began, event.done if is_here else 0


#: Minimum and maximum seconds between the start of a transfer and its first report.
_LEAST_SECONDS, _REPORT_SECONDS = 0.1, 1.0


def _present(plan: Mapping[str, Any], what: str) -> int | None:
    """Return the bytes of a download that were present at planning time; 0 without a plan."""
    for row in plan.get("downloads") or []:
        if isinstance(row, dict) and row.get("what") == what:
            present = row.get("present_bytes")
            return present if isinstance(present, int) else 0
    return None


#: Suffix of task names that is only for developers.
_ASIDE = re.compile(r" \((?:needed|due): [^)]*\)$")


def _title(task: str, phase: str) -> str:
    return _ASIDE.sub("", task.removeprefix(f"{phase} : "))


@dataclass(frozen=True)
class Run:
    """A run of one machine or of a fleet; ``outcome`` is empty if no end was recorded."""

    id: str
    verb: str
    is_fleet: bool
    outcome: str
    exit_code: int | None
    error: DreamError | None
    version: str
    seconds: float
    hosts: tuple[ReportedHost, ...]
    stopped: str = ""
    traffic: Mapping[str, int] = field(default_factory=dict)
    #: The addresses of the AI, as shown at the end of the install.
    reached: tuple[tuple[str, str], ...] = ()

    @property
    def first(self) -> float:
        """Return when the first host was started."""
        return min((host.first for host in self.hosts if host.first), default=0.0)

    @property
    def last(self) -> float:
        """Return the time of the last event of any host."""
        return max((host.last for host in self.hosts), default=0.0)


def read(run_dir: Path) -> Run:
    """Return everything that is recorded about a run, however little that is."""
    report = _document(run_dir / REPORT)
    folders = run_dir / "hosts"
    is_fleet = folders.is_dir() or "hosts" in report
    hosts = _fleet_hosts(folders, report) if is_fleet else [_host(run_dir, "", report)]
    plans = [host.plan for host in hosts if host.plan]
    first = min((host.first for host in hosts if host.first), default=0.0)
    last = max((host.last for host in hosts), default=0.0)
    return Run(
        id=run_dir.name,
        verb=str(report.get("verb") or ("install" if plans else "run")),
        is_fleet=is_fleet,
        outcome=str(report.get("outcome") or ""),
        exit_code=report.get("exit_code"),
        error=from_dict(report.get("error")),
        version=str(report.get("version") or next((p.get("version") for p in plans), "")),
        seconds=_number(report.get("seconds")) or last - first,
        hosts=tuple(hosts),
        stopped=str(report.get("stopped") or ""),
        traffic=_dictionary(report.get("traffic")),
        reached=_reached(report),
    )


def _reached(report: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    document = cast("Access", _dictionary(_dictionary(report.get("summary")).get("access")))
    pending = cast("UpgradeSeen", _dictionary(report.get("upgrade")))
    try:
        said = progress.sentence(pending, wording.size) if pending else ""
        return tuple(access.rows(document, said)) if document else ()
    except (KeyError, TypeError, ValueError):
        # A damaged file only leaves gaps in the report.
        return ()


def _fleet_hosts(folders: Path, report: Mapping[str, Any]) -> list[ReportedHost]:
    rows = {str(row.get("host")): row for row in report.get("hosts") or [] if isinstance(row, dict)}
    told = {name.replace(os.sep, "_"): name for name in rows}
    found = sorted(item.name for item in folders.iterdir()) if folders.is_dir() else []
    names = [*rows, *(name for name in found if name not in told)]
    return [_host(folders / name.replace(os.sep, "_"), name, rows.get(name, {})) for name in names]


def _host(folder: Path, name: str, row: Mapping[str, Any]) -> ReportedHost:
    plan = _document(folder / PLAN)
    name = name or str(plan.get("host") or "this machine")
    host = ReportedHost(name, HostResult(name, "untouched"), plan)
    for event in events(folder / "events.jsonl"):
        host.take(event)
    host.error = from_dict(row.get("error")) or host.error
    host.result = HostResult(
        name,
        _state(host, row),
        str(row.get("stage") or ""),
        host.error,
        host.changed,
        0,
        _number(row.get("seconds")) or max(0.0, host.last - host.first),
    )
    return host


def _state(host: ReportedHost, row: Mapping[str, Any]) -> str:
    """Return the recorded result of a host, else the one that the journal shows."""
    if row.get("state"):
        return str(row["state"])
    if isinstance(host.error, Interrupted):
        return "interrupted"
    if row or host.error or host.is_over:
        return state_of(host.error, host.changed)
    return "interrupted" if host.phases else "untouched"


def events(path: Path) -> Iterator[Event]:
    """Yield the events of a journal; truncated or unknown lines are skipped."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            lines = stream.read(_LIMIT_BYTES).decode("utf-8", "replace").split("\n")
    except OSError:
        return
    for line in lines:
        try:
            event = parse(json.loads(line))
        except (ValueError, RecursionError):
            continue
        if event is not None and _is_sound(event):
            yield event


def _is_sound(event: Event) -> bool:
    """Tell whether every field has the right type: a damaged journal must not raise."""
    return all(
        isinstance(getattr(event, item.name), _KINDS.get(str(item.type), object))
        for item in event.__dataclass_fields__.values()
    )


def _document(path: Path) -> dict[str, Any]:
    return _dictionary(json_file.read_json(str(path))[0])


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _dictionary(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts(value: Any) -> list[dict[str, Any]]:
    """Return the dictionaries in a list; a report may be from any version."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def part(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a dictionary in a document; an empty one if the value has another type."""
    found = document.get(name)
    return found if isinstance(found, dict) else {}
