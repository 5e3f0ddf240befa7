"""Keep other users from writing what this process makes."""

from __future__ import annotations

import os

#: Others may read what is made, and never write it.
_SAFE_UMASK = 0o022


def tighten_umask() -> None:
    """Keep other users from writing what this process and its children make.

    Debian gives an ordinary login 0002, a careless container 0. A stricter umask stays.
    """
    os.umask(os.umask(_SAFE_UMASK) | _SAFE_UMASK)
