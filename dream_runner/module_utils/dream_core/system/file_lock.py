"""Try to lock a file: one opinion on filesystems that have no locks.

``flock`` is released by the kernel however its holder ends. Some network filesystems have none
(Lustre without ``-o flock``, CIFS, some FUSE): there the work goes on unlocked, and says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import tempfile
import time
from enum import Enum

_HELD = frozenset((errno.EWOULDBLOCK, errno.EACCES))
#: EOPNOTSUPP is ENOTSUP on Linux.
_NO_LOCKS = frozenset((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))
_POLL_SECONDS = 0.2


class Lock(Enum):
    """What came of the attempt."""

    OURS = "ours"
    HELD = "held"
    #: The filesystem has no locks; nobody can hold one.
    IMPOSSIBLE = "impossible"


def opened(path: str) -> int:
    """Open a lock file, which is created if need be. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "it is not a regular file")


def is_current(handle: int, path: str) -> bool:
    """Return whether ``path`` still is the file that was opened: a deleted one excludes nobody."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def attempt(handle: int, *, shared: bool = False, seconds: float = 0) -> Lock:
    """Lock the open file ``handle``, waiting up to ``seconds`` for another holder.

    Raises OSError for what is neither another holder nor a filesystem without locks.
    """
    deadline = time.monotonic() + seconds
    how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    while True:
        try:
            fcntl.flock(handle, how)
            return Lock.OURS
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return Lock.IMPOSSIBLE
            if error.errno not in _HELD:
                raise
        if time.monotonic() >= deadline:
            return Lock.HELD
        time.sleep(_POLL_SECONDS)


def has_locks(directory: str) -> bool:
    """Return whether files in ``directory`` can be locked. Raises OSError if it is not writable."""
    with tempfile.TemporaryFile(dir=directory) as stream:
        return attempt(stream.fileno()) is Lock.OURS
