"""The documents that rooms hand to each other."""

from __future__ import annotations

from typing import Any, Dict

#: Something that an install made on a host, as a receipt keeps it; ``kind`` and its identity.
Resource = Dict[str, Any]
#: What was observed of a resource; an absent one is ``{"present": False}``.
Seen = Dict[str, Any]
