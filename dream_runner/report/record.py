"""Write the files of a run that its report needs, besides the journal.

``plan.json`` is written before anything is changed, so that a killed run has it too: facts, tier
rule, steps. ``report.json`` has the outcome. Both contain only what ``plan`` and ``--json``
print, so no secrets.
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

#: The facts that a report shows. Mounts and devices are private.
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
    """Write the facts and the planned steps of a host."""
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
    """Write the outcome of a run of one machine."""
    schema = "dream-runner.run-report/1"
    _write(run_dir / REPORT, {**outcome, "schema": schema, "version": __version__, "verb": verb})


def _write(path: Path, document: Mapping[str, object]) -> None:
    """Write a file that only its owner can read. Errors are ignored: a report is optional.

    Not synced: a truncated file only leaves gaps in the report.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as stream:
            json.dump(document, stream, default=str)
    except (OSError, ValueError):
        return
