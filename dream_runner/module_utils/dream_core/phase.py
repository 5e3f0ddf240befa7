"""Record on the host that a phase begins or ends."""

from __future__ import annotations

import time
from typing import Any, Dict, List, Optional

from . import receipt, survey


def record(
    *,
    state_dir: str,
    phase: str,
    state: str,
    resources: Optional[List[Dict[str, Any]]] = None,
    facts: Optional[Dict[str, Any]] = None,
    stamp: Optional[Dict[str, Any]] = None,
    write: bool = True,
) -> Dict[str, Any]:
    """Write the receipt of ``phase`` and return what the role needs to know.

    ``stamp`` carries version, run_id and install_dir. The result is
    ``{interrupted, warnings}``: interrupted tells that the phase was found
    ``running``, so that handlers that were due then are due now.
    """
    receipts, _ = receipt.read_all(state_dir)
    before = receipts.get(phase)
    was_interrupted = bool(before) and before["state"] == "running"  # type: ignore[index]
    if state == "running":
        wanted = resources or []
        after = receipt.begin(
            before,
            phase=phase,
            resources=wanted,
            exists=[receipt.exists(item) for item in wanted],
            stamp=dict(stamp or {}, started_at=now()),
        )
    else:
        base = before or receipt.begin(
            None, phase=phase, resources=[], exists=[], stamp=dict(stamp or {}, started_at=now())
        )
        base["resources"] = survey.observe_all(base["resources"])
        after = receipt.finish(base, state=state, facts=facts or {}, finished_at=now())
    warning = receipt.write(state_dir, after) if write else None
    return {"interrupted": was_interrupted, "warnings": [warning] if warning else []}


def now() -> str:
    """Return the present time as UTC in ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
