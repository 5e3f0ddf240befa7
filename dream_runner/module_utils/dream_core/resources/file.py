"""Files, directories and trees."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
from typing import Optional

from .. import layout
from ..errors import EngineError
from ..files.hashing import hash_file
from ..system import filesystems, systemd
from ..types.resource import Resource, Seen
from .kind import GLANCE, Cannot, Kind
from .observed_host import Host


def _status(path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _mode(status: os.stat_result) -> str:
    return "%04o" % stat.S_IMODE(status.st_mode)


def observe_file(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a file: its type, mode and size; also its digest from LOOK on."""
    status = _status(resource["path"])
    if status is None:
        return {"present": False}
    seen: Seen = {
        "present": True,
        "type": _type(status),
        "mode": _mode(status),
        "owner": "%d:%d" % (status.st_uid, status.st_gid),
    }
    if not resource.get("volatile"):
        seen["size_bytes"] = status.st_size
        seen["mtime_ns"] = status.st_mtime_ns
        # An editor can set mtime back, but not ctime.
        seen["ctime_ns"] = status.st_ctime_ns
        seen["inode"] = status.st_ino
        if depth > GLANCE and stat.S_ISREG(status.st_mode):
            seen["sha256"] = _sha256(resource["path"])
    return seen


def _type(status: os.stat_result) -> str:
    for name, test in (
        ("file", stat.S_ISREG),
        ("directory", stat.S_ISDIR),
        ("link", stat.S_ISLNK),
        ("socket", stat.S_ISSOCK),
    ):
        if test(status.st_mode):
            return name
    return "other"


def _sha256(path: str) -> str:
    try:
        return hash_file(path)
    except OSError as error:
        return "unreadable (%s)" % error.strerror


def observe_directory(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a directory: its type and mode."""
    status = _status(resource["path"])
    if status is None:
        return {"present": False}
    return {
        "present": True,
        "type": _type(status),
        "mode": _mode(status),
        "owner": "%d:%d" % (status.st_uid, status.st_gid),
    }


def observe_tree(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a directory that is completely ours as one digest over its files.

    The digest covers the name, mode, size and times of each file; reading all files would take a
    second for an engine's packages. Byte code, which Python adds by itself, is skipped.
    """
    seen = observe_directory(resource, host, depth)
    if seen["present"]:
        seen["listing"] = _listing_digest(resource["path"])
    return seen


def _listing_digest(root: str) -> str:
    digest = hashlib.sha256()
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted(files) + [item for item in names if _is_link(folder, item)]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
            entry = (os.path.relpath(path, root), status.st_mode, status.st_size, target)
            digest.update(repr((entry, status.st_mtime_ns, status.st_ctime_ns)).encode())
    return digest.hexdigest()


def _is_link(folder: str, name: str) -> bool:
    return os.path.islink(os.path.join(folder, name))


def observe_data(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a directory whose service decides its mode and owner."""
    return {"present": os.path.isdir(resource["path"])}


def has_former(resource: Resource) -> bool:
    """Return whether the previous version of an environment is kept."""
    return resource["kind"] == "tree" and os.path.isdir(layout.former(resource["path"]))


def remove_file(resource: Resource) -> None:
    """Remove a file; reload systemd if it is the file of a unit."""
    path = resource["path"]
    os.unlink(path)
    if path.endswith(".service"):
        # Otherwise the manager still knows the removed unit; a manager that is not running knows
        # none.
        scope = "system" if os.path.dirname(path) == layout.SYSTEM_UNITS else "user"
        with contextlib.suppress(EngineError):
            systemd.systemctl(scope, "daemon-reload")


def remove_directory(resource: Resource) -> None:
    """Remove an empty directory."""
    os.rmdir(resource["path"])


def remove_tree(resource: Resource) -> None:
    """Remove a directory with everything in it. Raises Cannot for links and mounts."""
    if resource["kind"] == "tree" and has_former(resource):
        _remove_whole(layout.former(resource["path"]))
    if os.path.lexists(resource["path"]):
        _remove_whole(resource["path"])


def _remove_whole(path: str) -> None:
    if os.path.islink(path):
        raise Cannot("it is now a link")
    mounted = filesystems.mounts_below(path)
    if mounted:
        raise Cannot("it contains a mount point: %s" % ", ".join(mounted))
    shutil.rmtree(path)


KINDS = {
    "file": Kind(observe_file, remove_file),
    "directory": Kind(observe_directory, remove_directory),
    "tree": Kind(observe_tree, remove_tree),
    "data": Kind(observe_data, remove_tree, is_precious=True),
}
