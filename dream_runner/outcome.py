"""What a failed task means to a person: one error with an exit code and a hint.

Our own modules say it themselves (``dream_error``). For everything else the
message decides, then the phase; rules are data, the first match wins.
"""

from __future__ import annotations

import re

from .events import TaskFinished
from .module_utils.dream_core.errors import (
    DiskError,
    DreamError,
    EngineError,
    NetworkError,
    PrivilegeError,
)

_RULES: tuple[tuple[str, type[DreamError], str, str], ...] = (
    (
        r"No space left on device|Disk quota exceeded|not enough free space",
        DiskError,
        "DISK_FULL",
        "free some space, then run again: what is done stays done",
    ),
    (r"Read-only file system", DiskError, "READ_ONLY", "remount the filesystem read-write"),
    (
        r"sudo: (a password|a terminal) is required|Missing sudo password|must have a tty to run"
        r"|Premature end of stream waiting for become",
        PrivilegeError,
        "SUDO_MISJUDGED",
        "ask it with 'sudo -k -n /bin/sh -c :'; if it wants a password, run the same command in a "
        "terminal and without --yes, or as root",
    ),
    (
        r"not in the sudoers|sudo: not found|not allowed to execute|may not run sudo"
        r"|incorrect .* password|Permission denied|are you root",
        PrivilegeError,
        "NOT_PERMITTED",
        "run as root, or as a user who may use sudo",
    ),
    (
        r"Temporary failure resolving|Could not resolve|Failed to fetch|Network is unreachable"
        r"|Connection (timed out|refused|reset)|Failed to update apt cache",
        NetworkError,
        "NETWORK_FAILED",
        "check the connection or the proxy, then run again: it continues",
    ),
    (
        r"Could not get lock|Unable to acquire the dpkg frontend lock|locked by another process",
        DreamError,
        "PACKAGE_MANAGER_BUSY",
        "another program installs packages; wait for it, then run again",
    ),
)
#: Where the tool's own words would lead a reader astray.
_WORDS = {
    "SUDO_MISJUDGED": "sudo refused a task although it let us through when this run began: "
    "dream-runner judged it wrongly, or its rules changed",
}
_PHASE_CLASSES: dict[str, tuple[type[DreamError], str]] = {
    "docker": (EngineError, "ENGINE_SETUP_FAILED"),
    "images": (EngineError, "IMAGE_FAILED"),
    "services": (EngineError, "SERVICE_FAILED"),
    "health": (EngineError, "ENGINE_NO_ANSWER"),
}


def error_of_task(event: TaskFinished) -> DreamError:
    """Return the error of a failed or unreachable task, with phase and task as its place."""
    where = f"phase {event.phase or 'context'}, task {event.task!r}"
    if event.error is not None:
        event.error.where = event.error.where or where
        return event.error
    message = event.message or "the task failed and its output is hidden"
    if event.status == "unreachable":
        return NetworkError(
            message,
            code="HOST_UNREACHABLE",
            where=where,
            hint="check that the host is up and that you can log in to it",
        )
    for pattern, cls, code, hint in _RULES:
        if re.search(pattern, message, re.IGNORECASE):
            return cls(_WORDS.get(code, message), code=code, where=where, hint=hint)
    cls, code = _PHASE_CLASSES.get(event.phase, (DreamError, "TASK_FAILED"))
    hint = "log.txt of this run has the whole output; run again after mending the cause"
    return cls(message, code=code, where=where, hint=hint)
