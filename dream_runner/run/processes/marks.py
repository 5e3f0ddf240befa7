"""The mark in the environment of every process of a run.

Any process can set any variable, so a mark counts only on processes of this account. The mark
also names the wrapper of the run by process id and start time. While the wrapper is
running, the run is active, even if its lock file was deleted.
"""

from __future__ import annotations

import os
from collections.abc import Collection

import psutil

from ...module_utils.dream_core.system.processes import started_at

#: The run id, by which a later run finds the processes.
RUN_ID_VARIABLE = "DREAM_RUN_ID"
#: The wrapper of the run, as ``PID:START``.
OWNER_VARIABLE = "DREAM_RUN_OWNER"
#: The folder of the run, in the state directory of its target.
FOLDER_VARIABLE = "DREAM_RUN_FOLDER"


def of_this_wrapper(run_id: str, folder: str) -> dict[str, str]:
    """Return the variables that mark the processes of a run that this process starts."""
    pid = os.getpid()
    owner = f"{pid}:{started_at(pid)}"
    return {RUN_ID_VARIABLE: run_id, OWNER_VARIABLE: owner, FOLDER_VARIABLE: folder}


def is_marked(process: psutil.Process, run_ids: Collection[str], runs_dir: str = "") -> bool:
    """Tell whether a process of this account has the mark of one of the runs.

    A run below ``runs_dir`` counts too, even if its folder was deleted.
    """
    try:
        # Checked before its environment is read: other users can write anything into theirs.
        if process.uids().real != os.geteuid() or process.pid == os.getpid():
            return False
        environment = process.environ()
    except (psutil.Error, OSError):
        return False
    is_below = runs_dir and environment.get(FOLDER_VARIABLE, "").startswith(runs_dir + "/")
    is_of = environment.get(RUN_ID_VARIABLE) in run_ids or is_below
    return bool(is_of and _can_be_of(process, environment))


def _can_be_of(process: psutil.Process, environment: dict[str, str]) -> bool:
    """Tell whether the process was started after the wrapper that it names."""
    _, _, began = environment.get(OWNER_VARIABLE, "").partition(":")
    started = started_at(process.pid)
    is_known = began.isdecimal() and started.isdecimal()
    return not is_known or int(started) >= int(began)


def living_owner(process: psutil.Process) -> int:
    """Return the process id of a marked process's wrapper; 0 if it has ended."""
    try:
        pid, _, began = process.environ().get(OWNER_VARIABLE, "").partition(":")
    except (psutil.Error, OSError):
        return 0
    if not (pid.isdecimal() and began) or int(pid) == os.getpid():
        return 0
    return int(pid) if started_at(int(pid)) == began else 0
