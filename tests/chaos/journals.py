"""What runs have told so far, read while they are at it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any


def newest(state_dir: Path) -> list[dict[str, Any]]:
    """Return the events of the newest run, as far as they are written.

    By the time of the last word in its journal: names are of clocks that the cases set.
    """
    found = (state_dir / "runs").glob("*/events.jsonl")
    latest = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return of_run(latest.parent) if latest else []


def of_run(run: Path) -> list[dict[str, Any]]:
    """Return the events in the directory of one run; none where there is no journal."""
    with contextlib.suppress(OSError):
        lines = (run / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]
    return []
