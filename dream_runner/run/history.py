"""The folders of past runs: each holds its journal and log."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from . import scratch
from .processes.stopper import processes_of

#: How many runs are kept to look back at.
KEPT = 10


def directory(state_dir: Path, run_id: str) -> Path:
    """Return the folder of one run."""
    return state_dir / "runs" / run_id


def sweep(state_dir: Path) -> None:
    """Drop what killed runs left half-way, and all but the newest runs.

    Names begin with the time, so that their order is their age. A folder that
    cannot be removed stays: this is tidying, not part of an install.
    """
    scratch.sweep()
    root = state_dir / "runs"
    with contextlib.suppress(OSError):
        folders = sorted((item for item in root.iterdir() if item.is_dir()), reverse=True)
        for position, folder in enumerate(folders):
            doomed = folder if position >= KEPT else folder / "work"
            # Looking for processes reads all of /proc: only where something would go.
            if not os.path.lexists(doomed) or processes_of(folder.name):
                continue
            if doomed.is_symlink():
                os.unlink(doomed)
            else:
                shutil.rmtree(doomed, ignore_errors=True)
