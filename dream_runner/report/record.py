"""What a run leaves for its report, beside its journal.

``plan.json`` is written before anything is done, so that a run that was killed has it
too: what the host is, the rule that fired, what was to be done. ``report.json`` says
how the run ended. Both hold what the plan prints and what ``--json`` prints, so no secret.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..module_utils.dream_core.types.choice import Choice
from ..module_utils.dream_core.types.facts import Facts
from ..version import __version__

if TYPE_CHECKING:
    from ..decide.plan import Plan, Step

PLAN = "plan.json"
REPORT = "report.json"

#: What a report shows of the facts; mounts and devices of a host are nobody's business.
_FACTS = ("os", "arch", "init", "cpu", "memory", "gpus", "backend", "findings", "gathered_at")
_MODEL = ("id", "name", "why", "size_bytes", "context_tokens")
_PLAN = ("install_dir", "choices", "downloads", "packages", "privileged", "ports")


def planned(
    run_dir: Path,
    facts: Facts,
    choice: Choice,
    steps: Iterable[Step],
    plan: Plan | None = None,
    *,
    host: str = "",
) -> None:
    """Leave what was found on a host and what is to be done there."""
    full = plan.to_dict() if plan else {}
    document = {
        "schema": "dream-runner.run-plan/1",
        "version": __version__,
        "host": host or platform.node(),
        "facts": {key: facts.get(key) for key in _FACTS},
        "tier": dict(choice["tier"]),
        "model": {key: choice["model"].get(key) for key in _MODEL},
        "steps": [asdict(step) for step in steps],
        **{key: full[key] for key in _PLAN if key in full},
    }
    _write(run_dir / PLAN, document)


def ended(run_dir: Path, verb: str, outcome: Mapping[str, object]) -> None:
    """Leave how a run of one machine ended."""
    schema = "dream-runner.run-report/1"
    _write(run_dir / REPORT, {**outcome, "schema": schema, "version": __version__, "verb": verb})


def _write(path: Path, document: Mapping[str, object]) -> None:
    """Write a file for its owner; reporting never changes how a run goes.

    Without fsync: a torn one only makes the report poorer.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
            json.dump(document, stream, default=str)
    except (OSError, ValueError):
        return
