"""Prevent other users from writing to files of this process."""

from __future__ import annotations

import os

#: Others may read the new files but not write to them.
_SAFE_UMASK = 0o022


def tighten_umask() -> None:
    """Prevent other users from writing to new files of this process and its children.

    The umask is 0002 in a Debian login and may be 0 in a container. A stricter umask is kept.
    """
    os.umask(os.umask(_SAFE_UMASK) | _SAFE_UMASK)
