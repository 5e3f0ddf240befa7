"""The names of the profiles."""

from __future__ import annotations

AUTO, NATIVE, FULL = "auto", "native", "full"


#: What an older version called a profile. Such a name is still accepted and still on record.
_FORMER_NAMES = {"embedded": NATIVE}


def current_name(name: str) -> str:
    """Return today's name of a profile; any other word is returned as it is."""
    return _FORMER_NAMES.get(name, name)
