"""Turn a failed task into one error with an exit code and a hint.

Our own modules return the error (``dream_error``). For all others, rules match the message, then
the phase; the first match is used.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence

from ..module_utils.dream_core.errors import (
    DiskError,
    DreamError,
    EngineError,
    NetworkError,
    PrivilegeError,
    RequirementError,
)
from .events import TaskFinished

#: Pattern of a message, and the class, code and hint of its error.
Rule = tuple[str, type[DreamError], str, str]

_RULES: tuple[Rule, ...] = (
    (
        r"No space left on device|Disk quota exceeded|not enough free space",
        DiskError,
        "DISK_FULL",
        "free some disk space, then run this again; completed work is kept",
    ),
    (r"Read-only file system", DiskError, "READ_ONLY", "remount the filesystem read-write"),
    (
        r"sudo: (a password|a terminal) is required|Missing sudo password|must have a tty to run"
        r"|Premature end of stream waiting for become",
        PrivilegeError,
        "SUDO_MISJUDGED",
        "check with 'sudo -k -n /bin/sh -c :'; if sudo wants a password, run the same command in a "
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
        r"407\s+Proxy Authentication Required",
        NetworkError,
        "PROXY_REFUSED",
        "check the user and password of the proxy in HTTPS_PROXY or HTTP_PROXY",
    ),
    (
        r"Temporary failure resolving|Could not resolve|Failed to fetch|Network is unreachable"
        r"|Connection (timed out|refused|reset)|Failed to update apt cache",
        NetworkError,
        "NETWORK_FAILED",
        "check the connection or the proxy, then run this again to continue",
    ),
    (
        r"Unable to locate package|has no installation candidate",
        RequirementError,
        "PACKAGE_NOT_FOUND",
        "check the package sources of this host; 'apt-get update' shows the problems",
    ),
    (
        r"Could not get lock|Unable to acquire the dpkg frontend lock|locked by another process",
        DreamError,
        "PACKAGE_MANAGER_BUSY",
        "another program is installing packages; wait for it, then run this again",
    ),
)
#: Replacements for misleading messages of tools.
_WORDS = {
    "SUDO_MISJUDGED": "sudo refused a task although it allowed one when this run began: "
    "its rules may have changed",
}
_PHASE_CLASSES: dict[str, tuple[type[DreamError], str]] = {
    "docker": (EngineError, "ENGINE_SETUP_FAILED"),
    "images": (EngineError, "IMAGE_FAILED"),
    "services": (EngineError, "SERVICE_FAILED"),
    "health": (EngineError, "ENGINE_NO_ANSWER"),
}


def error_of_task(event: TaskFinished) -> DreamError:
    """Return the error of a failed or unreachable task; ``where`` has phase and task."""
    where = f"phase {event.phase or 'context'}, task {event.task!r}"
    if event.error is not None:
        event.error.where = event.error.where or where
        return event.error
    message = _FRAME.sub("", event.message) or "the task failed and its output is hidden"
    if event.status == "unreachable":
        return NetworkError(
            message,
            code="HOST_UNREACHABLE",
            where=where,
            hint="check that the host is up and that you can log in to it",
        )
    known = _match(_RULES, message, where)
    if known is not None:
        return known
    cls, code = _PHASE_CLASSES.get(event.phase, (DreamError, "TASK_FAILED"))
    hint = "fix the cause, then run the same command again to continue"
    return _foreign(cls(message, code=code, where=where, hint=hint))


#: Ansible's prefix of a module's message.
_FRAME = re.compile(r"^(?:Task failed: )?(?:(?:Action|Module) failed: )?")


def _foreign(error: DreamError) -> DreamError:
    error.is_foreign = True
    return error


#: Errors of ansible-playbook outside tasks; the rules for tasks follow.
_START_RULES: tuple[Rule, ...] = (
    (
        r"preferred locale|locale encoding",
        RequirementError,
        "LOCALE_MISSING",
        "run as root: localedef -i POSIX -f UTF-8 C.UTF-8",
    ),
    (
        r"lack of access to /dev/shm|Unable to use multiprocessing",
        RequirementError,
        "SHARED_MEMORY_MISSING",
        "run as root: mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
    ),
    (
        r"Cannot allocate memory|Resource temporarily unavailable|MemoryError|new thread"
        r"|Too many open files",
        RequirementError,
        "RESOURCE_LIMIT",
        "stop other programs or raise the limits ('ulimit -a' shows them), then run this again",
    ),
)


def error_of_start(rc: int, words: str) -> DreamError:
    """Return why ansible-playbook ended with ``rc`` without a failed task.

    ``words`` is its last message.
    """
    known = _match((*_START_RULES, *_RULES), words, "ansible-playbook")
    if known is not None:
        return known
    # ansible-runner reports a signal as a negative status, a shell as 128 plus the signal.
    if rc in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return RequirementError(
            "ansible-playbook was killed, probably because memory ran out",
            code="RESOURCE_LIMIT",
            hint="'dmesg' shows what was killed; stop other programs, then run this again",
        )
    said = f": {words}" if words else "; it left no message"
    return _foreign(
        DreamError(
            f"ansible-playbook ended with status {rc}{said}",
            code="ANSIBLE_FAILED",
            hint="see log.txt of this run for the whole output",
        )
    )


def _match(rules: Sequence[Rule], message: str, where: str) -> DreamError | None:
    for pattern, cls, code, hint in rules:
        if re.search(pattern, message, re.IGNORECASE):
            return cls(_WORDS.get(code, message), code=code, where=where, hint=hint)
    return None
