"""Totals over GPUs, computed only here (H4).

No total is stored in the document, because an override or a repair would leave a stored total
outdated.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..types.facts import Accelerator, Facts, Gpu

#: Reasons that the user can override for a device that is not used by default.
_FORCEABLE = frozenset(["VRAM_TOO_SMALL", "DRIVER_TOO_OLD"])


def usable_gpus(facts: Facts) -> List[Gpu]:
    """Return the devices that the document's backend uses, in the document's order."""
    backend = facts.get("backend")
    forced = bool(facts.get("backend_overridden"))
    return [
        gpu
        for gpu in facts.get("gpus") or []
        if gpu["vendor"] == backend and (gpu["usable"] or (forced and gpu["why_not"] in _FORCEABLE))
    ]


def is_split(gpu: Gpu) -> bool:
    """Return whether a device is divided into parts (MIG)."""
    mig = gpu.get("mig")
    return bool(mig and mig.get("enabled"))


def memory_of(gpu: Gpu) -> Optional[int]:
    """Return the MiB that one program can use on a device; on a split one, its largest part."""
    mig = gpu.get("mig")
    if mig and mig["enabled"]:
        parts = [part["memory_mb"] for part in mig["instances"] if part["memory_mb"]]
        return max(parts) if parts else None
    size = gpu.get("memory_mb")
    return int(size) if size else None


def accelerator(facts: Facts, memory_limit_mb: int = 0) -> Accelerator:
    """Return ``{backend, memory_class, memory_mb, count, gpus}`` of the chosen accelerator.

    ``memory_mb`` is the sum over discrete devices; for unified memory, the machine's memory counted
    once; for the CPU None. For split (MIG) devices only the one part that a program can use counts.
    """
    gpus = usable_gpus(facts)
    if not gpus:
        return {"backend": "cpu", "memory_class": "none", "memory_mb": None, "count": 0, "gpus": []}
    chosen, size, kind = _discrete([gpu for gpu in gpus if gpu["memory_class"] == "discrete"])
    shared = [gpu for gpu in gpus if gpu["memory_class"] == "unified"]
    unified = unified_mb(facts, shared, memory_limit_mb) if shared else None
    if shared and (not chosen or weight(unified, "unified") > (size or 0)):
        chosen, size, kind = shared, unified, "unified"
    return {
        "backend": facts["backend"],
        "memory_class": kind,
        "memory_mb": size,
        "count": len(chosen),
        "gpus": [gpu["id"] for gpu in chosen],
    }


def weight(size_mb: Optional[int], memory_class: str) -> int:
    """Return the weight of memory in comparisons: shared memory counts half."""
    return (size_mb or 0) // (2 if memory_class == "unified" else 1)


def _discrete(gpus: List[Gpu]) -> Tuple[List[Gpu], Optional[int], str]:
    whole = [gpu for gpu in gpus if not is_split(gpu)]
    split = sorted((g for g in gpus if g not in whole), key=lambda g: memory_of(g) or 0)
    total = sum(memory_of(gpu) or 0 for gpu in whole)
    part = (memory_of(split[-1]) or 0) if split else 0
    if part > total:
        return [split[-1]], part, "discrete"
    return whole, total, "discrete"


def unified_mb(facts: Facts, gpus: List[Gpu], memory_limit_mb: int = 0) -> Optional[int]:
    """Return the MiB that CPU and GPU share, including what firmware reserved for the GPU."""
    ram = ram_mb(facts, memory_limit_mb)
    if ram is None:
        return None
    # A machine may have several unified processors, each with its own part.
    carved = sum(gpu.get("carve_out_mb") or 0 for gpu in gpus)
    return min(ram + carved, memory_limit_mb) if memory_limit_mb else ram + carved


def ram_mb(facts: Facts, memory_limit_mb: int = 0) -> Optional[int]:
    """Return the usable MiB of RAM: the minimum of the machine's memory and all limits."""
    memory = facts.get("memory") or {}
    sizes = [memory.get("usable_mb"), memory_limit_mb]
    known = [int(size) for size in sizes if size]
    return min(known) if known else None
