"""Check an output file before a command starts."""

from __future__ import annotations

import errno
import os

from ..module_utils.dream_core.fetch.disk import target
from ..module_utils.dream_core.system import atomic


def require(path: str) -> str:
    """Return the absolute path of ``path`` if a file can be written there.

    Raises UsageError, DiskError or PrivilegeError for a directory, device, pipe or link, a name
    that is too long, and a folder that is missing or not writable.
    """
    absolute = os.path.abspath(os.path.expanduser(path))
    folder = os.path.dirname(absolute)
    number = 0
    if not os.path.isdir(folder):
        number = errno.ENOTDIR if os.path.lexists(folder) else errno.ENOENT
    elif not os.access(folder, os.W_OK | os.X_OK):
        number = errno.EROFS if os.statvfs(folder).f_flag & os.ST_RDONLY else errno.EACCES
    if number:
        raise atomic.translate(OSError(number, os.strerror(number)), folder)
    target.require_usable(absolute if os.path.basename(path.rstrip()) else absolute + "/")
    return absolute
