"""Option types for the modules."""

from __future__ import annotations

import os
from typing import Any


def path(value: Any) -> str:
    """Return a path with ``~`` expanded and nothing else.

    Ansible's own type also replaces ``$NAME`` with an environment variable, which changes directory
    names that contain a dollar sign. Raises TypeError if ``value`` is not text.
    """
    if not isinstance(value, (str, bytes)):
        raise TypeError("a path must be text, not %s" % type(value).__name__)
    text = value if isinstance(value, str) else os.fsdecode(value)
    return os.path.expanduser(str(text))
