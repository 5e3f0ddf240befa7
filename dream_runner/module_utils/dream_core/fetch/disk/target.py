"""Check before the first byte that the target can be created at the end.

The last step is a rename. It would replace anything with that name, even a device, and it would
fail after gigabytes if the name is a directory, too long, or protected.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat as stat_module
import struct
from typing import Optional, Union

from ...errors import DiskError, DreamError, PrivilegeError, UsageError
from ...system import atomic, filesystems
from .names import longest_name

_KINDS = (
    (stat_module.S_ISDIR, "a directory"),
    (stat_module.S_ISLNK, "a symbolic link"),
    (stat_module.S_ISCHR, "a device"),
    (stat_module.S_ISBLK, "a device"),
    (stat_module.S_ISFIFO, "a named pipe"),
    (stat_module.S_ISSOCK, "a socket"),
)
#: linux/fs.h: _IOR('f', 1, long), FS_IMMUTABLE_FL and FS_APPEND_FL.
_GET_FLAGS = 0x80086601
_PROTECTED = 0x10 | 0x20


def require_usable(path: str) -> None:
    """Raise DiskError, PrivilegeError or UsageError if ``path`` cannot be created."""
    directory, name = os.path.split(path)
    if name in ("", ".", ".."):
        raise _not_a_file(path, "a directory")
    most = longest_name(directory)
    if len(os.fsencode(name)) > most:
        raise UsageError(
            "the name of %s has %d bytes; this filesystem allows %d"
            % (path, len(os.fsencode(name)), most),
            code="BAD_NAME",
            where=path,
            hint="choose a shorter name",
        )
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise atomic.translate(error, path) from error
    if not stat_module.S_ISREG(status.st_mode):
        kinds = (kind for is_kind, kind in _KINDS if is_kind(status.st_mode))
        raise _not_a_file(path, next(kinds, "not a regular file"))
    why = _obstacle(path, directory, status)
    if why:
        raise PrivilegeError(
            "%s cannot be replaced: %s" % (path, why),
            code="NOT_PERMITTED",
            where=path,
            hint="choose another name, or remove the file first",
        )


def _not_a_file(path: str, kind: str) -> DreamError:
    hint = "use the name of a file"
    if kind == "a symbolic link":
        hint = "use the target of the link, or remove the link"
    elif kind == "a directory":
        hint = "use the name of a file in it: %s/NAME" % path.rstrip("/")
    what = "%s is %s, not a regular file" % (path, kind)
    return DiskError(what, code="NOT_A_FILE", where=path, hint=hint)


def _obstacle(path: str, directory: str, status: os.stat_result) -> Optional[str]:
    """Return why a rename over an existing file would fail, or None."""
    if _is_mounted(path):
        return "it is a mount point"
    if _is_protected(path):
        return "it is immutable (chattr -i)"
    with contextlib.suppress(OSError):
        parent, me = os.stat(directory), os.geteuid()
        is_sticky = bool(parent.st_mode & stat_module.S_ISVTX)
        if is_sticky and me not in (0, status.st_uid, parent.st_uid):
            return "it belongs to another user, in a directory with the sticky bit"
    return None


def _is_mounted(path: str) -> bool:
    return os.path.realpath(path) in filesystems.mount_points()


def _is_protected(path: str) -> bool:
    with contextlib.suppress(OSError, struct.error):
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            answer = fcntl.ioctl(handle, _GET_FLAGS, bytes(8))
            return bool(struct.unpack_from("i", answer)[0] & _PROTECTED)
        finally:
            os.close(handle)
    return False


def give_access(
    file: Union[int, str], status: os.stat_result, uid: int, gid: int, mode: int
) -> bool:
    """Set owner, group (-1: keep) and mode of a file; return whether anything changed."""
    owned = uid in (-1, status.st_uid) and gid in (-1, status.st_gid)
    if not owned:
        # First, because it clears the setuid bits.
        os.chown(file, uid, gid)
    if owned and status.st_mode & 0o7777 == mode:
        return False
    os.chmod(file, mode)
    return True
