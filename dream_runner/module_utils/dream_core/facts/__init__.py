"""What this host is: one detector, in two halves that know nothing of each other.

``gather`` looks and does not judge; its result, a capture, is plain data that
can be sent around. ``interpret`` judges and does not look; it is pure, so
that any machine can be replayed from its capture. ``load_or_gather`` is both,
with a cache.
"""

from __future__ import annotations

from typing import Any, Dict

from .cache import load_or_gather
from .probes import gather
from .schema import CAPTURE_SCHEMA, SCHEMA
from .totals import accelerator, memory_of, ram_mb, usable_gpus

__all__ = [
    "CAPTURE_SCHEMA",
    "SCHEMA",
    "accelerator",
    "gather",
    "interpret",
    "load_or_gather",
    "memory_of",
    "ram_mb",
    "usable_gpus",
]


def interpret(capture: Dict[str, Any]) -> Dict[str, Any]:
    """Return the facts document of a capture. Never raises."""
    # Loaded when asked for, because an answer from the cache does without it.
    from . import document

    return document.interpret(capture)
