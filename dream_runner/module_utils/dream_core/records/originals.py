"""Restore files and directories that existed before the install.

A receipt keeps the ``original`` of each: mode, owner, and the digest of a file's content, which is
kept in ``originals`` of the state directory. Anything that others have changed since is left alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import Optional

from ..system import atomic
from ..types.resource import Original, Resource

#: Nothing to do, to be restored, or changed by others.
SAME, OURS, THEIRS = "same", "ours", "theirs"


class Lost(Exception):
    """The original cannot be restored; the message is the reason."""


def state_of(resource: Resource) -> str:
    """Return the state of a file or directory that existed before the install."""
    original = resource.get("original")
    if not original:
        return SAME
    status = _status(resource["path"])
    if status is None:
        # It was removed by the install only if it was missing when the phase ended.
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
    """Return whether a file has the content, mode and owner of its ``original``."""
    status, original = _status(resource["path"]), resource["original"] or {}
    if status is None or not stat.S_ISREG(status.st_mode):
        return False
    is_same_content = _digest(resource["path"]) == original["sha256"]
    return is_same_content and _has_rights(status, original)


def give_back(resource: Resource, state_dir: str, folder: str = "originals") -> None:
    """Restore content, mode and owner. Raises Lost, DreamError or OSError.

    ``folder`` is the directory below the state directory with the kept content.
    """
    path, original = resource["path"], resource["original"] or {}
    if resource["kind"] == "file" and _digest(path) != original["sha256"]:
        # Private until its mode is restored.
        kept = os.path.join(state_dir, folder, original["sha256"])
        atomic.write_bytes(path, _content(kept, original["sha256"]), 0o600)
    status = os.lstat(path)
    if (status.st_uid, status.st_gid) != (original["uid"], original["gid"]):
        os.chown(path, original["uid"], original["gid"], follow_symlinks=False)
    # After the owner, because a change of owner clears setuid bits.
    os.chmod(path, int(original["mode"], 8))


def rights(status: os.stat_result) -> Original:
    """Return mode and owner in the form of an ``original``."""
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
        raise Lost("its kept original cannot be read: %s" % error.strerror) from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise Lost("its kept original was changed: %s" % path)
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
