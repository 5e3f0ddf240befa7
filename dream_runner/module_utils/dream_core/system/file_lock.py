"""Lock files, with one policy for filesystems without locks.

The kernel releases ``flock`` however its holder ends. Some network filesystems have no locks
(Lustre without ``-o flock``, CIFS, some FUSE): there the work continues without a lock, with a
message.
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
    """The result of an attempt to lock."""

    OURS = "ours"
    HELD = "held"
    #: The filesystem does not support locks.
    IMPOSSIBLE = "impossible"


def opened(path: str) -> int:
    """Open a lock file and create it if needed. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    handle = os.open(path, flags, 0o600)
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "it is not a regular file")


def is_current(handle: int, path: str) -> bool:
    """Return whether ``path`` is still the open file; a lock on a deleted file has no effect."""
    try:
        return os.path.samestat(os.fstat(handle), os.lstat(path))
    except OSError:
        return False


def attempt(handle: int, *, shared: bool = False, seconds: float = 0) -> Lock:
    """Lock the open file ``handle``, waiting up to ``seconds`` for another holder.

    Raises OSError unless the reason is another holder or a filesystem without locks.
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
