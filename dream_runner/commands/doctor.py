"""``dream-runner doctor``: independent checks, each with evidence and a fix."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Mapping
from typing import Any

from .. import wording
from ..diagnose.checks import examine
from ..diagnose.finding import ERROR, OK, WARNING, Check, Finding, Place, exit_code
from ..module_utils.dream_core.health import feature_probes
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.upgrade import progress
from ..run import prerequisites
from ..run.processes import lock
from ..settings import answers
from .status import NOTHING_INSTALLED

__all__ = ["CHECKS", "Finding", "Place", "as_json", "as_text", "exit_code", "run", "write_archive"]

#: Error code of a variable that points to an unusable certificate file.
_BAD_FILE = "BAD_CA_FILE"
#: Python packages that an install needs.
_PARTS = ("ansible", "ansible_runner", "psutil", "requests", "yaml", "jsonschema", "rich")


def run(state_dir: str, *, deep: bool = False) -> list[Finding]:
    """Run every check and return the findings, worst first. ``deep`` also tests each feature."""
    return examine(state_dir, {**CHECKS, "features": _features} if deep else CHECKS)


def _features(place: Place) -> Iterator[Finding]:
    """Test each feature once, as the health phase does."""
    facts = {name: receipt.get("facts") or {} for name, receipt in place.receipts.items()}
    proof = facts.get("health", {}).get("proof") or {}
    pages = facts.get("health", {}).get("pages") or []
    if proof.get("profile") != "full" and not pages:
        yield Finding("features", OK, "the native profile has only the chat page")
        return
    settings = facts.get("features", {}).get("settings") or {}
    found = feature_probes.run(
        [*(proof.get("services") or []), *pages],
        str(proof.get("model") or ""),
        feature_probes.read_env(str(facts.get("directories", {}).get("env_file") or "")),
        offline=bool(settings.get("offline")),
        upgrading=bool(progress.pending(place.receipts)),
    )
    for name, reason in sorted(found["failed"].items()):
        logs = "the directory logs" if pages else "'docker compose logs'"
        remedy = f"see {logs} in the install directory, then run 'dream-runner install'"
        yield Finding("features", ERROR, f"{name} failed: {reason}", remedy)
    for name, reason in sorted(found["unproven"].items()):
        yield Finding("features", WARNING, f"{name} was not tested: {reason}")
    if found["passed"]:
        yield Finding("features", OK, "ready: " + " ".join(found["passed"]))


def write_archive(
    target: str, state_dir: str, findings: list[Finding], environment: Mapping[str, str]
) -> list[str]:
    """Write the support archive and return the names of its files."""
    from ..diagnose import support_archive

    return support_archive.write(
        target, state_dir, [item._asdict() for item in findings], environment
    )


def _settings(place: Place) -> Iterator[Finding]:
    _, problems = answers.read_saved(place.state_dir)
    for problem in problems:
        yield Finding(
            "settings", WARNING, problem, "pass your settings again with the next install"
        )


def _program(place: Place) -> Iterator[Finding]:
    for name in _PARTS:
        if importlib.util.find_spec(name) is None:
            remedy = "run install.sh again: it recreates the Python environment"
            yield Finding("program", ERROR, f"the Python package {name} is missing", remedy)


def _ansible(place: Place) -> Iterator[Finding]:
    for problem in prerequisites.problems():
        yield Finding("ansible", ERROR, problem.what, problem.hint)


def _processes(place: Place) -> Iterator[Finding]:
    found = lock.leftovers(place.state_dir)
    if found:
        pids = ", ".join(str(process.pid) for process in found)
        remedy = "none needed if an install is running; otherwise the next install stops them"
        yield Finding("processes", WARNING, f"processes of a run are still active: {pids}", remedy)


def _network_variables(place: Place) -> Iterator[Finding]:
    return (
        _bad("network-variables", item) for item in _network_problems() if item.code != _BAD_FILE
    )


def _certificate_files(place: Place) -> Iterator[Finding]:
    return (
        _bad("certificate-files", item) for item in _network_problems() if item.code == _BAD_FILE
    )


def _network_problems() -> list[network_env.Problem]:
    return network_env.problems(os.environ)


def _bad(identity: str, problem: network_env.Problem) -> Finding:
    return Finding(identity, ERROR, f"{problem.variable} {problem.what}", problem.hint)


def _engine(place: Place) -> Iterator[Finding]:
    from . import status as status_command

    status = status_command.run(place.state_dir)
    if status.state == "absent":
        yield Finding("engine", OK, NOTHING_INSTALLED)
    elif status.state == "ready":
        yield Finding("engine", OK, f"{status.engine.url} answers")
    elif status.state != "interrupted":
        severity = ERROR if status.state == "stopped" else WARNING
        yield Finding("engine", severity, status.detail, "run 'dream-runner install'")


#: The checks that need the wrapper. All others are in dream_runner/diagnose/checks.py.
CHECKS: dict[str, Check] = {
    "settings": _settings,
    "program": _program,
    "ansible": _ansible,
    "processes": _processes,
    "network-variables": _network_variables,
    "certificate-files": _certificate_files,
    "engine": _engine,
}


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings as the data that ``--json`` prints."""
    return {"findings": [item._asdict() for item in findings], "exit_code": exit_code(findings)}


def as_text(findings: list[Finding]) -> str:
    """Return the problems, grouped by remedy, or one line if there are none."""
    bad = [item for item in findings if item.severity != OK]
    passed = wording.plural(len(findings) - len(bad), "check")
    if not bad:
        return _clean(findings)
    blocks = [f"{wording.plural(len(bad), 'problem')} found; {passed} passed."]
    for remedy in dict.fromkeys(item.remedy for item in bad):
        lines = [_line(item) for item in bad if item.remedy == remedy]
        blocks.append("\n".join([*lines, *([f"    {_sentence(remedy)}"] if remedy else [])]))
    return "\n\n".join(blocks)


def _clean(findings: list[Finding]) -> str:
    if any(item.evidence == NOTHING_INSTALLED for item in findings):
        return f"{NOTHING_INSTALLED} All checks of this machine passed."
    return f"All {len(findings)} checks passed."


def _line(finding: Finding) -> str:
    return f"{finding.severity:8} {finding.id}: {finding.evidence}"


def _sentence(remedy: str) -> str:
    return remedy[0].upper() + remedy[1:] + ("" if remedy.endswith(".") else ".")
