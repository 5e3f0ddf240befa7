"""What stands beside a file while it is fetched, and afterwards: its names, short enough. Pure."""

from __future__ import annotations

import hashlib
import os

PART = ".part"
SIDECAR = ".part.json"
#: The wheel that a member is written out of lies beside the target while that takes.
WHEEL = ".whl"
#: The longest ending: a wheel's, set aside, its sidecar, while that is replaced.
_LONGEST = 48
#: POSIX, for a directory that cannot be asked.
_USUAL = 255


def stem(path: str) -> str:
    """Return what the names beside ``path`` begin with: ``path``, or less where that is too long.

    A shortened name ends in a digest of the whole one, so that two files share nothing.
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
    """Return how many bytes a name in ``directory`` may have; encrypted homes allow 143."""
    while directory:
        try:
            return os.pathconf(directory, "PC_NAME_MAX")
        except (OSError, ValueError):
            parent = os.path.dirname(directory)
            directory = parent if parent != directory else ""
    return _USUAL
