"""Write files atomically: a crash leaves either the old or the new content.

Order: temporary file in the same directory, content, fsync, rename, fsync of
the directory. Python's documentation for ``os.replace`` promises the rename is
atomic on POSIX; only the two fsyncs make it survive a power loss.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Dict, Tuple, Type

from ..errors import DiskError, DreamError, PrivilegeError, UsageError

#: The prefix of all temporary files, by which a later run finds those of a killed run.
TEMP_PREFIX = ".dream-tmp-"


def fsync_dir(path: str) -> None:
    """Make renames and removals in the directory ``path`` durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some filesystems (9p, a few FUSE ones) cannot sync a directory.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def write_bytes(path: str, content: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` with ``content`` and exactly ``mode``.

    Raises DiskError or PrivilegeError; the old file is then unchanged and no temporary file is
    left.
    """
    directory = os.path.dirname(os.path.abspath(path))
    temporary = os.path.join(directory, TEMP_PREFIX + os.path.basename(path))
    _refuse_special(path)
    try:
        _write_durably(temporary, content, mode)
        os.replace(temporary, path)
        fsync_dir(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise translate(error, path) from error


def _refuse_special(path: str) -> None:
    """Refuse to replace a device, pipe or socket, which a rename would do.

    A link to one is refused as well: /dev/stdout is such a link.
    """
    try:
        kinds = {stat.S_IFMT(look(path).st_mode) for look in (os.lstat, os.stat)}
    except OSError:
        return
    if kinds & {stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK}:
        raise DiskError(
            "%s is a device, a pipe or a socket, not a regular file" % path,
            code="NOT_A_FILE",
            where=path,
            hint="use the name of a file",
        )


def _write_durably(path: str, content: bytes, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    # O_EXCL and O_NOFOLLOW: an object that is already there is not ours.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fchmod(handle.fileno(), mode)
        os.fsync(handle.fileno())


#: The error class and hint for an errno. Errors about a name differ from those of a disk; an
#: unlisted errno counts as a disk failure.
_MEANINGS: Dict[int, Tuple[Type[DreamError], str, str]] = {
    number: meaning
    for numbers, meaning in (
        (
            (errno.EACCES, errno.EPERM),
            (
                PrivilegeError,
                "NOT_PERMITTED",
                "check the owner and mode of the directory, or choose another one",
            ),
        ),
        (
            (errno.ENOSPC, errno.EDQUOT),
            (DiskError, "DISK_FULL", "free some space, then run again"),
        ),
        (
            (errno.EROFS,),
            (
                DiskError,
                "READ_ONLY",
                "remount the filesystem read-write, or choose another directory",
            ),
        ),
        (
            (errno.ENAMETOOLONG, errno.EILSEQ),
            (UsageError, "BAD_NAME", "choose a shorter name with plain letters"),
        ),
        (
            (errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.ENOTEMPTY),
            (DiskError, "NOT_A_FILE", "move it away, or choose another name"),
        ),
        (
            (errno.ENOTDIR,),
            (
                DiskError,
                "NOT_A_DIRECTORY",
                "move away the file that is in place of a directory, or choose another path",
            ),
        ),
        (
            (errno.ENOENT,),
            (DiskError, "PATH_GONE", "check that its directory exists, then run again"),
        ),
        (
            (errno.EFBIG, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK),
            (
                DiskError,
                "FILESYSTEM_LIMIT",
                "choose a directory on another filesystem; this one does not support it (FAT: no "
                "files of 4 GiB, no ':' in names)",
            ),
        ),
        (
            (errno.EBUSY, errno.ETXTBSY),
            (DiskError, "IN_USE", "stop the program that uses it, then run again"),
        ),
        (
            (errno.EMFILE, errno.ENFILE),
            (DiskError, "TOO_MANY_FILES", "raise the limit (ulimit -n), then run again"),
        ),
        (
            (errno.ESTALE, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.EREMOTEIO),
            (DiskError, "MOUNT_LOST", "mount the network filesystem again, then run again"),
        ),
    )
    for number in numbers
}
_BROKEN = (DiskError, "DISK_ERROR", "check the disk and the kernel log (dmesg)")


def translate(error: OSError, path: str) -> DreamError:
    """Return the DreamError for an OSError on ``path``."""
    cls, code, hint = _MEANINGS.get(error.errno or 0, _BROKEN)
    what = "%s: %s" % (path, error.strerror or type(error).__name__)
    return cls(what, code=code, where=path, hint=hint)
