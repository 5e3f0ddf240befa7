"""Stamps: the record that a file was hashed, valid until the file changes.

A stamp has path, size, mtime, inode and digest. While these are unchanged, a check takes one
``stat``; otherwise the file is hashed again.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat as stat_module
from typing import Any, Callable, Dict, Optional, Tuple

from ...errors import DreamError
from ...files import json_file
from ...files.hashing import hash_file
from ..request import Presence
from .names import stem
from .watch import state_of

SCHEMA = 1
#: The beginning of a message about another digest, which follows.
ITS_DIGEST = "its sha256 is "


def stamp_path(path: str, stamps_dir: str = "") -> str:
    """Return the path of the stamp of ``path``: in ``stamps_dir`` or beside the file."""
    if stamps_dir:
        key = hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogateescape"))
        return os.path.join(stamps_dir, key.hexdigest()[:32] + ".json")
    directory, name = os.path.split(stem(os.path.abspath(path)))
    return os.path.join(directory, "." + name + ".stamp")


def write_stamp(
    path: str, sha256: str, stamps_dir: str = "", status: Optional[os.stat_result] = None
) -> None:
    """Record that ``path`` was just verified, with ``status`` (default: its current status).

    A failure to write the stamp is not an error.
    """
    with contextlib.suppress(OSError, DreamError):
        if stamps_dir:
            os.makedirs(stamps_dir, mode=0o700, exist_ok=True)
        target = stamp_path(path, stamps_dir)
        json_file.write_json(target, _describe(path, status or os.stat(path), sha256), 0o600)


def remove_stamp(path: str, stamps_dir: str = "") -> None:
    """Remove the stamp of ``path``, if there is one."""
    with contextlib.suppress(OSError):
        os.unlink(stamp_path(path, stamps_dir))


def recorded_digest(path: str, record: str) -> str:
    """Return the digest of ``path`` in ``record``; empty if the file has changed."""
    known, _ = json_file.read_json(record, limit=65536)
    digest = known.get("sha256") if isinstance(known, dict) else None
    try:
        is_same = isinstance(digest, str) and known == _describe(path, os.stat(path), digest)
    except OSError:
        return ""
    return str(digest) if is_same else ""


def write_record(path: str, sha256: str, record: str) -> None:
    """Write the digest of ``path`` to the file ``record``; a failure is not an error."""
    with contextlib.suppress(OSError, DreamError):
        os.makedirs(os.path.dirname(record), mode=0o700, exist_ok=True)
        json_file.write_json(record, _describe(path, os.stat(path), sha256), 0o600)


def is_present(
    path: str,
    sha256: str,
    size_bytes: int = 0,
    stamps_dir: str = "",
    verify: bool = False,
    write: bool = True,
    on_bytes: Optional[Callable[[int], None]] = None,
) -> Presence:
    """Return whether ``path`` is the file with ``sha256``; never raises for its content.

    With a valid stamp the file is not read, unless ``verify`` is set. ``write`` allows a new stamp
    after hashing. ``on_bytes`` receives the number of hashed bytes. A link to a regular file is
    followed.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        return Presence(False, why=error.strerror or str(error))
    if not stat_module.S_ISREG(status.st_mode):
        return Presence(False, why="it is not a regular file")
    size = status.st_size
    if size_bytes and size != size_bytes:
        why = "it has %d bytes instead of %d" % (size, size_bytes)
        return Presence(False, why=why, size_bytes=size)
    if not verify:
        known, _ = json_file.read_json(stamp_path(path, stamps_dir), limit=65536)
        if known == _describe(path, status, sha256):
            return Presence(True, "stamp", size_bytes=size)
    return _hashed(path, sha256, size, stamps_dir if write else None, on_bytes)


def _hashed(
    path: str,
    sha256: str,
    size: int,
    stamps_dir: Optional[str],
    on_bytes: Optional[Callable[[int], None]],
) -> Presence:
    try:
        found, status = _read(path, on_bytes)
    except OSError as error:
        return Presence(False, why="it cannot be read: %s" % error.strerror, size_bytes=size)
    if found != sha256:
        if stamps_dir is not None:
            remove_stamp(path, stamps_dir)
        return Presence(False, "hash", ITS_DIGEST + found, size)
    if stamps_dir is not None:
        write_stamp(path, sha256, stamps_dir, status)
    return Presence(True, "hash", size_bytes=status.st_size)


def _read(
    path: str, on_bytes: Optional[Callable[[int], None]] = None
) -> Tuple[str, os.stat_result]:
    """Return the sha256 of a file, and its status. Raises OSError."""
    # Non-blocking, because a pipe could have replaced the file.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(handle)
        if not stat_module.S_ISREG(before.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        found = hash_file(handle, on_bytes)
        if state_of(os.fstat(handle)) != state_of(before):
            raise OSError(errno.EBUSY, "it is being written to")
        return found, before
    finally:
        os.close(handle)


def _describe(path: str, status: os.stat_result, sha256: str) -> Dict[str, Any]:
    return {
        "schema": SCHEMA,
        # Escape a name that is not UTF-8, which a state file cannot contain.
        "path": os.path.abspath(path).encode("utf-8", "backslashreplace").decode("utf-8"),
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "sha256": sha256,
    }
