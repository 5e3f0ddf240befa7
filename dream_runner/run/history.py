"""The folders of past runs. Each contains a journal and a log."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from . import scratch
from .processes.stopper import processes_of

#: Number of runs that are kept.
KEPT = 10


def directory(state_dir: Path, run_id: str) -> Path:
    """Return the folder of one run."""
    return state_dir / "runs" / run_id


def sweep(state_dir: Path) -> None:
    """Remove leftovers of killed runs, and all but the newest runs.

    Names start with the time, so they sort by age. A folder that cannot be removed stays:
    cleaning up must not stop an install.
    """
    scratch.sweep()
    root = state_dir / "runs"
    with contextlib.suppress(OSError):
        folders = sorted((item for item in root.iterdir() if item.is_dir()), reverse=True)
        for position, folder in enumerate(folders):
            doomed = folder if position >= KEPT else folder / "work"
            # Searching processes reads all of /proc, so do it only if there is something to remove.
            if not os.path.lexists(doomed) or processes_of(folder.name):
                continue
            if doomed.is_symlink():
                os.unlink(doomed)
            else:
                shutil.rmtree(doomed, ignore_errors=True)
