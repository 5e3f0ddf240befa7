"""Read an environment file (``.env``)."""

from __future__ import annotations

import re
from typing import Dict

from .text_file import plain

ASSIGNMENT = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)$")


def parse(text: str) -> Dict[str, str]:
    """Return the assignments in ``text``; as in compose, the last one of a key counts."""
    values = {}
    for line in plain(text).split("\n"):
        match = ASSIGNMENT.match(line)
        if match:
            values[match.group(1)] = _unquote(match.group(2).strip())
    return values


def _unquote(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value
