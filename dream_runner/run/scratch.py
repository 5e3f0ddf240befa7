"""Private temporary directories of a run, with enough space and file locks.

Ansible locks files in its temporary directory; a home on a cluster filesystem may lack locks.
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

#: Upper limit of what Ansible writes into the working directory of a run.
ROOM_BYTES = 8 * 1024 * 1024
#: Paths in which Ansible expands or splits nothing (variables, templates, configparser's %).
_IS_PLAIN = re.compile(r"[\w/. @+=-]+")
#: Maximum length of a Unix socket path on Linux (unix(7)), without the final NUL.
_LONGEST_SOCKET = 107
#: Longest path below a run's directory: in its TMPDIR, the socket of Python's
#: ``multiprocessing.managers``, which ansible-core 2.20 and newer uses for its workers.
SOCKET = "/tmp/pymp-12345678/listener-12345678"  # noqa: S108 - a length, not a place
#: Prefix of the temporary working directories; the process id of the owner follows.
PREFIX = "dream-runner-run-"


def require(directory: str | Path) -> None:
    """Raise OSError if ``directory`` lacks space or file locks, or has an unsuitable name."""
    _require_plain(directory)
    _require_short(directory)
    require_room(directory)
    if not file_lock.has_locks(str(directory)):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(directory))


def _require_plain(directory: str | Path) -> None:
    """Raise OSError for a path that Ansible would expand or split."""
    if not _IS_PLAIN.fullmatch(str(directory)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(directory))


def _require_short(directory: str | Path) -> None:
    """Raise OSError for a path that is too long for a socket below it."""
    if len(os.fsencode(directory)) + len(SOCKET) > _LONGEST_SOCKET:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), str(directory))


def require_room(directory: str | Path) -> None:
    """Raise OSError if Ansible cannot write its files to ``directory``."""
    status = os.statvfs(directory)
    if status.f_bavail * status.f_frsize < ROOM_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def make() -> Path:
    """Return a new private directory outside the state directory. The caller removes it.

    Raises DreamError if no location is suitable.
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


@contextlib.contextmanager
def directory_of(run_dir: Path) -> Iterator[Path]:
    """Yield a private working directory that is removed afterwards.

    If the state directory is not writable, is full, lacks file locks, or has a name that Ansible
    would misread, a temporary directory is used.
    """
    work = run_dir / "work"
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        work.mkdir(mode=0o700)
        require(work)
    except OSError:
        with contextlib.suppress(OSError):
            work.rmdir()
        work = make()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def write(path: Path, text: str) -> None:
    """Write a new file of mode 0600. Raises DiskError or PrivilegeError."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
    except OSError as error:
        raise atomic.translate(error, str(path)) from error


def places() -> Iterator[str]:
    """Return the directories for temporary files, the usual one first."""
    with contextlib.suppress(OSError):
        yield tempfile.gettempdir()
    yield from ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - mkdtemp makes it private


def _nowhere(problem: OSError | None) -> DreamError:
    if problem is None or problem.errno == errno.ENOLCK:
        return DiskError(
            f"no directory for temporary files supports file locks: {', '.join(places())}",
            code="NO_SCRATCH",
            hint="set TMPDIR to a directory on a local filesystem",
        )
    return atomic.translate(problem, str(problem.filename or tempfile.gettempdir()))


def sweep(prefix: str = PREFIX) -> None:
    """Remove this user's temporary directories with that prefix whose process has ended."""
    for place in dict.fromkeys(places()):
        for directory in Path(place).glob(prefix + "*"):
            pid = directory.name.removeprefix(prefix).split("-")[0]
            with contextlib.suppress(OSError):
                is_mine = directory.lstat().st_uid == os.getuid() and not directory.is_symlink()
                if is_mine and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
                    shutil.rmtree(directory, ignore_errors=True)
