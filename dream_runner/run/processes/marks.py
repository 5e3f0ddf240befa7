"""The mark that every process of a run carries in its environment, and who may rely on it.

A process can claim anything of itself, so that a mark counts only on a process of this account:
the environment of others is their own. The mark also names the wrapper that started the run by
process id and start time; while that one lives, the run is active, whatever became of its lock.
"""

from __future__ import annotations

import os
from collections.abc import Collection

import psutil

from ...module_utils.dream_core.system.processes import started_at

#: Marks every process of a run, so that a later one finds them.
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
    """Tell whether a process of this account carries the mark of one of the runs.

    A run below ``runs_dir`` counts as well, also where its folder was deleted.
    """
    try:
        # Before its environment is read: another user may write into that what they like.
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
    """Return the process id of the wrapper that a marked process belongs to; 0 if it has ended."""
    try:
        pid, _, began = process.environ().get(OWNER_VARIABLE, "").partition(":")
    except (psutil.Error, OSError):
        return 0
    if not (pid.isdecimal() and began) or int(pid) == os.getpid():
        return 0
    return int(pid) if started_at(int(pid)) == began else 0
