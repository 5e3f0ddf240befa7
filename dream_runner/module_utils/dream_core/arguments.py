"""Types for the options of our modules."""

from __future__ import annotations

import os
from typing import Any


def path(value: Any) -> str:
    """Return a path with ``~`` expanded and nothing else.

    Ansible's own type also replaces ``$NAME`` with an environment variable, so that a directory
    whose name holds a dollar sign would become another one. Raises TypeError for what is no text.
    """
    if not isinstance(value, (str, bytes)):
        raise TypeError("a path is text, not %s" % type(value).__name__)
    text = value if isinstance(value, str) else os.fsdecode(value)
    return os.path.expanduser(str(text))
