"""Parse references of container images, and pin tags with a lock."""

from __future__ import annotations

from typing import Tuple

from ..types.compose import Locked


def pinned(tag: str, locked: Locked) -> str:
    """Return ``NAME@sha256:DIGEST`` or the local id of an image; empty if it is not pinned."""
    entry = locked.get(tag)
    if entry:
        if entry.get("id"):
            return str(entry["id"])
        return "%s@%s" % (entry.get("from") or name_of(tag), entry["digest"])
    return "%s@%s" % (name_of(tag), tag.split("@")[1]) if "@" in tag else ""


def name_of(tag: str) -> str:
    """Return the repository of an image reference, without tag and digest."""
    return _parts(tag)[0]


def version_of(tag: str) -> str:
    """Return the tag of an image reference; empty if it has none."""
    return _parts(tag)[1]


def _parts(tag: str) -> Tuple[str, str]:
    name = tag.split("@")[0]
    # A colon before the last slash belongs to the registry's port.
    head, colon, rest = name.rpartition(":")
    return (head, rest) if colon and "/" not in rest else (name, "")
