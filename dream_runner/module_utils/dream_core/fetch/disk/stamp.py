"""Verified stamps: proof that a file was hashed, good until the file changes.

A stamp holds path, size, mtime, inode and digest. As long as the file still shows
the same, a re-check costs a ``stat``; anything else falls back to hashing.
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
#: How a stamp says that a file is another one; the digest follows.
ITS_DIGEST = "its sha256 is "


def stamp_path(path: str, stamps_dir: str = "") -> str:
    """Return where the stamp of ``path`` is: in ``stamps_dir`` or beside the file."""
    if stamps_dir:
        key = hashlib.sha256(os.path.abspath(path).encode("utf-8", "surrogateescape"))
        return os.path.join(stamps_dir, key.hexdigest()[:32] + ".json")
    directory, name = os.path.split(stem(os.path.abspath(path)))
    return os.path.join(directory, "." + name + ".stamp")


def write_stamp(
    path: str, sha256: str, stamps_dir: str = "", status: Optional[os.stat_result] = None
) -> None:
    """Record that ``path`` was just verified, as the file of ``status`` (default: what it is).

    A stamp that cannot be written is no error.
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
    """Return the digest that ``record`` keeps of ``path``; empty where the file has changed."""
    known, _ = json_file.read_json(record, limit=65536)
    digest = known.get("sha256") if isinstance(known, dict) else None
    try:
        is_same = isinstance(digest, str) and known == _describe(path, os.stat(path), digest)
    except OSError:
        return ""
    return str(digest) if is_same else ""


def write_record(path: str, sha256: str, record: str) -> None:
    """Keep the digest of ``path`` in the file ``record``; failing to is no error."""
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
    """Return whether ``path`` is the file of ``sha256``; never raises for what is there.

    A valid stamp answers without reading the file; ``verify`` reads it anyway.
    ``write`` allows a new stamp after a hash. ``on_bytes`` is told the bytes hashed
    so far. A link is followed to a regular file.
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
    """Return the sha256 of a file, and the file that has it. Raises OSError."""
    # A pipe that took the place of the file would keep the opening waiting.
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
        # A name that is not UTF-8 is escaped: such text is none of a state file.
        "path": os.path.abspath(path).encode("utf-8", "backslashreplace").decode("utf-8"),
        "size_bytes": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "inode": status.st_ino,
        "sha256": sha256,
    }
