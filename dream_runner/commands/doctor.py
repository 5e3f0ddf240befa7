"""``dream-runner doctor``: independent checks, each with evidence and a remedy.

One check that breaks is a finding of its own and stops no other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .. import answers, lock
from ..module_utils.dream_core import live
from ..module_utils.dream_core.receipt import interrupted, read_all
from ..module_utils.dream_core.survey import survey
from ..run import new_run_id
from ..ui import text
from . import status as status_command

#: Less free space than this and the next log line may be the last.
_LOW_DISK_BYTES = 1_000_000_000
#: A certificate is refused, and a log misread, long before this; 2026 is when this was written.
_EARLIEST_CLOCK = 1_767_225_600

OK, WARNING, ERROR = "ok", "warning", "error"


@dataclass(frozen=True)
class Finding:
    """What one check saw: a stable id, how bad it is, the evidence, and what to do."""

    id: str
    severity: str
    evidence: str
    remedy: str = ""


@dataclass(frozen=True)
class Place:
    """What the checks look at."""

    state_dir: str
    receipts: Mapping[str, Any]
    warnings: tuple[str, ...]


Check = Callable[[Place], Iterator[Finding]]


def run(state_dir: str) -> list[Finding]:
    """Return what every check found, the worst first."""
    receipts, warnings = read_all(state_dir)
    place = Place(state_dir, receipts, tuple(warnings))
    found = [finding for name, check in CHECKS.items() for finding in _findings(name, check, place)]
    order = (ERROR, WARNING, OK)
    return sorted(found, key=lambda finding: order.index(finding.severity))


def _findings(name: str, check: Check, place: Place) -> list[Finding]:
    try:
        return list(check(place)) or [Finding(name, OK, "")]
    except Exception as error:  # one broken check must not hide the others
        return [Finding(name, WARNING, f"the check itself broke: {error!r}", "please report it")]


def exit_code(findings: list[Finding]) -> int:
    """Return 3 for errors, 11 for warnings only, else 0."""
    severities = {finding.severity for finding in findings}
    return 3 if ERROR in severities else 11 if WARNING in severities else 0


def _state(place: Place) -> Iterator[Finding]:
    remedy = "the next 'dream-runner install' looks at the host again and writes it anew"
    for warning in place.warnings:
        yield Finding("state", WARNING, warning, remedy)
    _, problems = answers.read_saved(place.state_dir)
    for problem in problems:
        yield Finding("state", WARNING, problem, "give your choices again with the next install")


def _writable(place: Place) -> Iterator[Finding]:
    there = live.existing_parent(place.state_dir)
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = f"make {there} writable for this user; until then nothing can be recorded"
        yield Finding("state-writable", ERROR, f"{there} cannot be written", remedy)


def _unfinished(place: Place) -> Iterator[Finding]:
    for phase in interrupted(dict(place.receipts)):
        yield Finding(
            "interrupted", WARNING, f"phase {phase} did not end", "run 'dream-runner install'"
        )
    for phase, receipt in place.receipts.items():
        if receipt["state"] == "failed":
            remedy = "see the newest log below runs/ in the state directory, then install again"
            yield Finding("failed", ERROR, f"phase {phase} failed", remedy)


def _leftovers(place: Place) -> Iterator[Finding]:
    found = lock.leftovers(place.state_dir)
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        yield Finding(
            "leftovers",
            WARNING,
            f"processes of a run: {pids}",
            "none if an install is active now; else the next install ends them",
        )


def _disk(place: Place) -> Iterator[Finding]:
    install_dirs = {str(item.get("install_dir") or "") for item in place.receipts.values()}
    for path in sorted({place.state_dir, *install_dirs} - {""}):
        filesystem = live.filesystem(path)
        if filesystem["read_only"]:
            yield Finding("disk", ERROR, f"{path} is read-only", "see the kernel log: dmesg")
        free = filesystem["free_bytes"]
        if free is not None and free < _LOW_DISK_BYTES:
            yield Finding("disk", WARNING, f"{path}: {text.size(free)} free", "free some space")


def _resources(place: Place) -> Iterator[Finding]:
    for phase, drift in survey(dict(place.receipts)).items():
        if place.receipts[phase]["state"] != "done":
            continue
        for item in drift:
            evidence = f"{item['what']} of phase {phase}: {item['found']}"
            yield Finding("resources", ERROR, evidence, "run 'dream-runner install'")


def _secrets(place: Place) -> Iterator[Finding]:
    for receipt in place.receipts.values():
        for resource in receipt.get("resources", []):
            path = resource.get("path", "")
            if resource.get("secret") and os.path.exists(path) and os.stat(path).st_mode & 0o077:
                yield Finding(
                    "secrets", ERROR, f"{path} can be read by others", f"chmod 600 {path}"
                )


def _engine(place: Place) -> Iterator[Finding]:
    status = status_command.run(place.state_dir)
    if status.state == "absent":
        yield Finding("engine", OK, status.detail)
    elif status.state == "ready":
        yield Finding("engine", OK, f"{status.engine.url} answers")
    elif status.state != "interrupted":
        severity = ERROR if status.state == "stopped" else WARNING
        yield Finding("engine", severity, status.detail, "run 'dream-runner install'")


def _clock(place: Place) -> Iterator[Finding]:
    if time.time() < _EARLIEST_CLOCK:
        yield Finding(
            "clock", ERROR, f"the clock says {new_run_id()[:8]}", "set it: downloads need the date"
        )


CHECKS: dict[str, Check] = {
    "state": _state,
    "state-writable": _writable,
    "interrupted": _unfinished,
    "leftovers": _leftovers,
    "disk": _disk,
    "resources": _resources,
    "secrets": _secrets,
    "engine": _engine,
    "clock": _clock,
}


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings as the data that ``--json`` prints."""
    return {"findings": [asdict(item) for item in findings], "exit_code": exit_code(findings)}


def as_text(findings: list[Finding]) -> str:
    """Return a line a finding, and what to do about it."""
    lines = []
    for finding in findings:
        line = f"{finding.severity:8}{finding.id}"
        lines.append(f"{line}: {finding.evidence}" if finding.evidence else line)
        lines += [f"        remedy: {finding.remedy}"] if finding.remedy else []
    return "\n".join(lines)
