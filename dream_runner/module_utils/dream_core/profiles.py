"""The names of the profiles."""

from __future__ import annotations

AUTO, NATIVE, FULL = "auto", "native", "full"


#: Profile names of older versions, which are still accepted and still occur in records.
_FORMER_NAMES = {"embedded": NATIVE}


def current_name(name: str) -> str:
    """Return the current name of a profile; any other word is returned unchanged."""
    return _FORMER_NAMES.get(name, name)
