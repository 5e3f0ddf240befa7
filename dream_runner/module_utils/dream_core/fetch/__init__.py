"""Fetch big files by sha256 without ever losing a byte. See docs/developer/fetch.md.

The digest is the identity; sources are only places to get the bytes. Verified
bytes survive kill -9, power loss, a change of source and a full disk.
"""

from __future__ import annotations

from .fetcher import fetch, remove
from .partial import PartialInfo, find_partials, partial_progress
from .request import FetchRequest, FetchResult, Network, Patience, Presence, Progress
from .stamp import is_present, remove_stamp, write_stamp

__all__ = [
    "FetchRequest",
    "FetchResult",
    "Network",
    "PartialInfo",
    "Patience",
    "Presence",
    "Progress",
    "fetch",
    "find_partials",
    "is_present",
    "partial_progress",
    "remove",
    "remove_stamp",
    "write_stamp",
]
