"""Look at a host: everything that the decisions of a run are made from."""

from __future__ import annotations

import os
from typing import Any, Dict, List, Sequence

from . import live, receipt
from .facts import load_or_gather
from .session import gather_session


def look(
    *,
    state_dir: str,
    install_dir: str,
    version: str,
    force: bool = False,
    save: bool = True,
) -> Dict[str, Any]:
    """Return facts, session, receipts, listeners and our own processes among them.

    ``force`` gathers the facts anew whatever the cache says; ``save`` False
    writes nothing at all. ``notes`` are lines for the user.
    """
    facts, origin = load_or_gather(
        state_dir, version, install_dir=install_dir, force=force, save=save
    )
    receipts, warnings = receipt.read_all(state_dir)
    listeners = live.listeners()
    return {
        "facts": facts,
        "facts_source": origin["source"],
        "session": gather_session(),
        "receipts": receipts,
        "listeners": listeners,
        "own_pids": own_pids(listeners, install_dir),
        "notes": [line for line in [origin.get("why", "")] if line] + warnings,
    }


def own_pids(listeners: Sequence[Dict[str, Any]], install_dir: str) -> List[int]:
    """Return the processes among ``listeners`` that run out of ``install_dir``.

    Told by an argument that is a file below it, because a recorded process id
    may by now belong to another program.
    """
    below = install_dir.rstrip("/") + "/"
    pids = {item["pid"] for item in listeners if item.get("pid")}
    return sorted(pid for pid in pids if any(a.startswith(below) for a in _arguments(pid)))


def _arguments(pid: int) -> List[str]:
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as handle:
            return [os.fsdecode(part) for part in handle.read().split(b"\0")]
    except OSError:
        return []
