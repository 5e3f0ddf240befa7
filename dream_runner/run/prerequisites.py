"""Check what ansible-playbook needs before its first task, and find its error message.

According to ansible-core's source (cli/__init__.py, executor/task_queue_manager.py,
executor/module_common.py), it needs an existing UTF-8 locale, blocking standard streams,
semaphores in /dev/shm, a writable temporary directory with file locks, and a user name.
environment.py and launch.py set what can be set. The rest is checked here, before a run and
by ``doctor``.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pwd
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..module_utils.dream_core.errors import DreamError, RequirementError

#: C.UTF-8 is in glibc since 2.35 and in Debian's before; names differ by distribution.
_LOCALES = ("C.UTF-8", "C.utf8", "en_US.UTF-8", "en_US.utf8")
#: glibc's LC_ALL_MASK; musl accepts every name.
_LC_ALL_MASK = 0x1FBF

_TAIL_BYTES = 64 * 1024
_LONGEST = 300
_ERROR = re.compile(r"^\[?ERROR[]:!]*:? *(?=\S)")
#: The last line of a traceback.
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt): ")


@cache
def utf8_locale() -> str | None:
    """Return the name of a UTF-8 locale that this machine has."""
    return next(filter(_exists, _LOCALES), None)


def _exists(name: str) -> bool:
    # newlocale does not change the locale of this process.
    libc = ctypes.CDLL(None, use_errno=True)
    libc.newlocale.restype = ctypes.c_void_p
    libc.newlocale.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
    libc.freelocale.argtypes = (ctypes.c_void_p,)
    found = libc.newlocale(_LC_ALL_MASK, name.encode(), None)
    if found:
        libc.freelocale(found)
    return bool(found)


def locale_environment() -> dict[str, str]:
    """Return the variables that select an existing UTF-8 locale."""
    name = utf8_locale() or "C"
    return {"LANG": name, "LC_ALL": name}


def is_locale(name: str) -> bool:
    """Tell whether the variable selects a locale."""
    return name in ("LANG", "LANGUAGE") or name.startswith("LC_")


def user_environment() -> dict[str, str]:
    """Return variables with the user's name; Ansible needs one even without an account entry."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return {"LOGNAME": name, "USER": name}


def problems() -> Iterator[DreamError]:
    """Yield an error for each requirement of Ansible that this machine lacks."""
    if utf8_locale() is None:
        yield RequirementError(
            f"this machine has no UTF-8 locale (looked for {', '.join(_LOCALES)})",
            code="LOCALE_MISSING",
            hint="run as root: localedef -i POSIX -f UTF-8 C.UTF-8",
        )
    problem = _semaphore_problem()
    if problem:
        yield RequirementError(
            f"cannot create semaphores in /dev/shm: {problem}",
            code="SHARED_MEMORY_MISSING",
            hint="run as root: mount -t tmpfs -o mode=1777 tmpfs /dev/shm",
        )


def _semaphore_problem() -> str:
    try:
        multiprocessing.get_context("fork").Lock()
    except (ImportError, OSError) as error:
        return str(error)
    return ""


def require() -> None:
    """Raise the first of ``problems``."""
    for problem in problems():
        raise problem


def last_words(log: Path) -> str:
    """Return Ansible's last error in ``log``, else its last line, else an empty string."""
    try:
        with open(log, "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - _TAIL_BYTES))
            lines = stream.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    told = [line.strip() for line in lines if line.strip()]
    errors = [_ERROR.sub("", line) for line in told if _ERROR.match(line)]
    raised = [line for line in told if _EXCEPTION.match(line)]
    return next((found[-1][:_LONGEST] for found in (errors, raised, told) if found), "")
