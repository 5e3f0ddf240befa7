"""Give files and directories that were there before us back as they were.

A receipt keeps of each its ``original``: mode, owner, and the digest of a
file's content, which lies in ``originals`` of the state directory. What
somebody else has changed since is left to them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import Optional

from ..system import atomic
from ..types.resource import Original, Resource

#: Nothing to do, to be given back, or another's by now.
SAME, OURS, THEIRS = "same", "ours", "theirs"


class Lost(Exception):
    """The original cannot be given back, and why."""


def state_of(resource: Resource) -> str:
    """Tell what became of a file or directory that was there before us."""
    original = resource.get("original")
    if not original:
        return SAME
    status = _status(resource["path"])
    if status is None:
        # Gone by our own hand only where we saw it gone when our work ended.
        return SAME if (resource.get("seen") or {}).get("present", True) else OURS
    if resource["kind"] == "directory":
        if not stat.S_ISDIR(status.st_mode):
            return THEIRS
        return SAME if _has_rights(status, original) else OURS
    return _state_of_file(resource, status, original)


def _state_of_file(resource: Resource, status: os.stat_result, original: Original) -> str:
    if not stat.S_ISREG(status.st_mode):
        return THEIRS
    now = _digest(resource["path"])
    if now == original["sha256"]:
        return SAME if _has_rights(status, original) else OURS
    made = (resource.get("seen") or {}).get("sha256")
    return OURS if made in (None, now) else THEIRS


def is_same(resource: Resource) -> bool:
    """Return whether a file is there with the content, mode and owner of its ``original``."""
    status, original = _status(resource["path"]), resource["original"] or {}
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    is_same_content = _digest(resource["path"]) == original["sha256"]
    return is_same_content and _has_rights(status, original)


def give_back(resource: Resource, state_dir: str, folder: str = "originals") -> None:
    """Make content, mode and owner what they were. Raises Lost, DreamError or OSError.

    ``folder`` is where in the state directory the content was kept.
    """
    path, original = resource["path"], resource["original"] or {}
    if resource["kind"] == "file" and _digest(path) != original["sha256"]:
        # Private until its rights are right.
        kept = os.path.join(state_dir, folder, original["sha256"])
        atomic.write_bytes(path, _content(kept, original["sha256"]), 0o600)
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != (original["uid"], original["gid"]):
        os.chown(path, original["uid"], original["gid"], follow_symlinks=False)
    # After the owner: a change of owner takes setuid bits away.
    os.chmod(path, int(original["mode"], 8))


def rights(status: os.stat_result) -> Original:
    """Return mode and owner as an ``original`` keeps them."""
    return {
        "mode": "%04o" % stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _content(path: str, digest: str) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as stream:
            content = stream.read()
    except OSError as error:
        raise Lost("what it was before cannot be read: %s" % error.strerror) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise Lost("what was kept of it was altered: %s" % path)
    return content


def _has_rights(status: os.stat_result, original: Original) -> bool:
    now = rights(status)
    return (original["mode"], original["uid"], original["gid"]) == (
        now["mode"],
        now["uid"],
        now["gid"],
    )


def _digest(path: str) -> str:
    with contextlib.suppress(OSError), open(path, "rb") as handle:
        return hashlib.sha256(handle.read()).hexdigest()
    return ""


def _status(path: str) -> Optional[os.stat_result]:
    with contextlib.suppress(OSError):
        return os.lstat(path)
    return None
