"""Private directories for what a run writes on the way: with room, with file locks, swept later.

Ansible locks files in its scratch, and a home on a cluster's filesystem may have no locks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..module_utils.dream_core.errors import DiskError, DreamError
from ..module_utils.dream_core.system import atomic, file_lock

#: What Ansible writes into the working directory of a run, generously.
ROOM_BYTES = 8 * 1024 * 1024
#: What Ansible neither expands (variables, templates, configparser's %) nor splits in a path.
_IS_PLAIN = re.compile(r"[\w/. @+=-]+")
#: The longest address of a Unix socket on Linux (unix(7)), without the byte that ends it.
_LONGEST_SOCKET = 107
#: What comes below a run's directory: its TMPDIR, and there the socket of Python's
#: ``multiprocessing.managers``, by which ansible-core 2.20 and newer talks to its workers.
_SOCKET = "/tmp/pymp-12345678/listener-12345678"  # noqa: S108 - a length, not a place
#: The temporary working directories of runs; the process id of their owner follows.
PREFIX = "dream-runner-run-"


def require(directory: str | Path) -> None:
    """Raise OSError where ``directory`` has no room, no file locks, or an unsuitable name."""
    _require_plain(directory)
    _require_short(directory)
    require_room(directory)
    if not file_lock.has_locks(str(directory)):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(directory))


def _require_plain(directory: str | Path) -> None:
    """Raise OSError for a path in which Ansible would expand or split something."""
    if not _IS_PLAIN.fullmatch(str(directory)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(directory))


def _require_short(directory: str | Path) -> None:
    """Raise OSError for a path that leaves no room for the name of a socket."""
    if len(os.fsencode(directory)) + len(_SOCKET) > _LONGEST_SOCKET:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(directory))


def require_room(directory: str | Path) -> None:
    """Raise OSError where Ansible could not write its files to ``directory``."""
    status = os.statvfs(directory)
    if status.f_bavail * status.f_frsize < ROOM_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def make() -> Path:
    """Return a new private directory outside of the state directory; the caller removes it.

    Raises DreamError where no place will do.
    """
    problem: OSError | None = None
    for place in places():
        try:
            directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=place))
        except OSError as error:
            problem = problem or error
            continue
        try:
            require(directory)
        except OSError as error:
            directory.rmdir()
            problem = problem or error
            continue
        return directory
    raise _nowhere(problem)


def places() -> Iterator[str]:
    """Give the directories that temporary files may go to, the usual one first."""
    with contextlib.suppress(OSError):
        yield tempfile.gettempdir()
    yield from ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - mkdtemp makes it private


def _nowhere(problem: OSError | None) -> DreamError:
    if problem is None or problem.errno == errno.ENOLCK:
        return DiskError(
            f"no directory with file locks was found for temporary files: {', '.join(places())}",
            code="NO_SCRATCH",
            hint="set TMPDIR to a directory on a local filesystem",
        )
    return atomic.translate(problem, str(problem.filename or tempfile.gettempdir()))


def sweep(prefix: str = PREFIX) -> None:
    """Remove this user's temporary directories of that prefix whose process has ended."""
    for place in dict.fromkeys(places()):
        for directory in Path(place).glob(prefix + "*"):
            pid = directory.name.removeprefix(prefix).split("-")[0]
            with contextlib.suppress(OSError):
                is_mine = directory.lstat().st_uid == os.getuid() and not directory.is_symlink()
                if is_mine and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                    shutil.rmtree(directory, ignore_errors=True)
