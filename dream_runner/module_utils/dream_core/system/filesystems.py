"""The filesystem of a path: its free space and its features."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import socket
import stat
import tempfile
from typing import Dict, List, Optional, Tuple

from ..types.host import Filesystem
from . import file_lock
from .atomic import TEMP_PREFIX

#: Filesystems that are known to support modes, links and case, so that no write test is needed.
SOUND_FILESYSTEMS = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "bcachefs", "jfs")
)


#: The features that ``probe_semantics`` tests.
SEMANTICS = ("chmod", "symlink", "case", "lock", "socket")


def existing_parent(path: str) -> str:
    """Return ``path``, or its nearest existing ancestor."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def filesystem(path: str, mountinfo: str = "/proc/self/mountinfo") -> Filesystem:
    """Describe the filesystem of ``path``, which need not exist yet.

    ``device`` identifies the filesystem (two paths with the same device share the free bytes);
    ``free_bytes`` is the space for ordinary users. ``own``: the path exists and belongs to this
    user, who can restore its mode. Unknown values are None.
    """
    there = existing_parent(path)
    mount, fstype = mount_of(os.path.realpath(there), mountinfo)
    answer: Filesystem = {
        "path": path,
        "existing": there,
        "mount": mount,
        "fstype": fstype,
        "device": None,
        "free_bytes": None,
        "total_bytes": None,
        "read_only": False,
        "noexec": False,
        "is_directory": os.path.isdir(there),
        "writable": os.access(there, os.W_OK | os.X_OK),
        "own": False,
    }
    with contextlib.suppress(OSError):
        numbers, status = os.statvfs(there), os.stat(there)
        answer["own"] = there == path and status.st_uid == os.geteuid()
        answer["device"] = status.st_dev
        answer["free_bytes"] = numbers.f_bavail * numbers.f_frsize
        answer["total_bytes"] = numbers.f_blocks * numbers.f_frsize
        answer["read_only"] = bool(numbers.f_flag & os.ST_RDONLY)
        answer["noexec"] = bool(numbers.f_flag & os.ST_NOEXEC)
    return answer


def mount_of(path: str, mountinfo: str) -> Tuple[Optional[str], Optional[str]]:
    """Return the mount point and type of ``path``: the last one of the longest matches."""
    best: Tuple[Optional[str], Optional[str]] = (None, None)
    for line in lines(mountinfo):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split()
        if len(fields) < 5 or not kind:
            continue
        point = _unescape(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0] or ""):
            best = (point, kind[0])
    return best


def mount_points() -> List[str]:
    """Return the mount points of this process; bytes that are not UTF-8 become surrogates."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            # Only this character separates fields; other whitespace belongs to names.
            return sorted(_unescape(line.split(" ")[4]) for line in lines)
    except OSError:
        return []


def _unescape(text: str) -> str:
    """Decode the octal escapes of the kernel's mount tables."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def probe_semantics(directory: str) -> Dict[str, Optional[bool]]:
    """Test whether ``directory`` supports modes, links, case, file locks and sockets.

    Creates a private temporary directory there and removes it. None: could not be tested.
    """
    answer: Dict[str, Optional[bool]] = dict.fromkeys(SEMANTICS)
    try:
        with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=directory) as home:
            probe = os.path.join(home, "probe")
            with open(probe, "wb"):
                pass
            answer["chmod"] = _honours_chmod(probe)
            answer["case"] = not os.path.exists(os.path.join(home, "PROBE"))
            answer["symlink"] = _can_link(probe, os.path.join(home, "link"))
            answer["lock"] = file_lock.has_locks(home)
            answer["socket"] = _can_bind(home)
    except OSError:
        pass
    return answer


def _can_bind(directory: str) -> bool:
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            # Through the directory's descriptor, so that a path of any length fits into the
            # address.
            server.bind("/proc/self/fd/%d/socket" % handle)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _honours_chmod(path: str) -> bool:
    modes = (0o600, 0o640)
    try:
        for mode in modes:
            os.chmod(path, mode)
            if stat.S_IMODE(os.stat(path).st_mode) != mode:
                return False
    except OSError:
        return False
    return True


def _can_link(target: str, link: str) -> bool:
    try:
        os.symlink(target, link)
    except OSError:
        return False
    return True


def allocated_bytes(path: str) -> int:
    """Return the disk usage in bytes of ``path`` (a file, or all files below it)."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    total = status.st_blocks * 512
    if stat.S_ISDIR(status.st_mode):
        for directory, folders, files in os.walk(path):
            for name in folders + files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


def is_inside(path: str, directory: str) -> bool:
    """Return whether ``path`` is ``directory`` or is below it, only by name."""
    return bool(directory) and (path + "/").startswith(directory.rstrip("/") + "/")


def lines(path: str) -> List[str]:
    """Return the lines of a text file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().splitlines()
    except OSError:
        return []


def names_in(path: str) -> List[str]:
    """Return the names in a directory; none if it cannot be read."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def read_link(path: str) -> Optional[str]:
    """Return the target of a link, or None."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def mounts_below(path: str, below: str = "") -> List[str]:
    """Return the mount points from ``below`` to ``path``, both included.

    Without ``below``, return those at or below ``path``.
    """
    real = os.path.realpath(path)
    if below:
        return [item for item in mount_points() if is_inside(real, item)
                and is_inside(item, below) and item != below]  # fmt: skip
    return [item for item in mount_points() if is_inside(item, real)]


def parts_of(path: str) -> List[str]:
    """Return the files of ``path``: itself, or its parts ``path.000``, ``path.001`` and so on.

    FAT does not support files of 4 GiB, so a bundle may have a file in parts.
    """
    if os.path.exists(path) or not os.path.isfile(path + ".000"):
        return [path]
    numbered = ("%s.%03d" % (path, number) for number in itertools.count())
    return list(itertools.takewhile(os.path.isfile, numbered))
