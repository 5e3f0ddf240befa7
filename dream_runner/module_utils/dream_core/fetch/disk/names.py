"""The names of the files beside a fetched file, kept short enough. Pure."""

from __future__ import annotations

import hashlib
import os

PART = ".part"
SIDECAR = ".part.json"
#: The ending of a wheel, which is kept beside the target while a member is extracted.
WHEEL = ".whl"
#: The longest ending: the temporary file of the journal of a wheel that was set aside.
_LONGEST = 48
#: The POSIX limit, for a directory that cannot be queried.
_USUAL = 255


def stem(path: str) -> str:
    """Return the prefix of the names beside ``path``: ``path``, shortened if it is too long.

    A shortened name ends in a digest of the whole name, so that two files never share one.
    """
    directory, name = os.path.split(path)
    raw = os.fsencode(name)
    most = longest_name(directory) - _LONGEST
    if len(raw) <= most:
        return path
    digest = hashlib.sha256(raw).hexdigest()[:16]
    begin = raw[: max(0, most - len(digest) - 1)].decode("utf-8", "ignore")
    return os.path.join(directory, "%s-%s" % (begin, digest))


def longest_name(directory: str) -> int:
    """Return the maximum length in bytes of a name in ``directory``; encrypted homes allow 143."""
    while directory:
        try:
            return os.pathconf(directory, "PC_NAME_MAX")
        except (OSError, ValueError):
            parent = os.path.dirname(directory)
            directory = parent if parent != directory else ""
    return _USUAL
