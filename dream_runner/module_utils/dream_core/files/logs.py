"""The end of a log, for an error message."""

from __future__ import annotations

import os
from typing import List

#: Number of lines for an error message.
_END_BYTES = 4096


def last_lines(path: str, count: int = 5) -> List[str]:
    """Return the last non-empty lines of ``path``; none if it cannot be read."""
    try:
        with open(path, "rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _END_BYTES))
            text = handle.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.strip() for line in text.splitlines() if line.strip()][-count:]
