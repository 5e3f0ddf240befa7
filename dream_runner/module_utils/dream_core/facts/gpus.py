"""The list of a host's GPUs: identity, memory, and whether each can be used.

One function per vendor reads the devices from the capture; the common parts (ids, order, totals)
are here. The source of every value is recorded.
"""

from __future__ import annotations

from typing import Any, Dict, List, Literal, Optional

from ..types.facts import BusLink, Driver, Gpu, Unchecked
from . import parse, totals

#: Below this no useful model fits, and the CPU is the better choice (H6). 4 GB cards report up to 2
#: % less than 4096.
MIN_VRAM_MB = 4096 * 98 // 100


def new(
    vendor: str,
    *,
    name: Optional[str] = None,
    memory_class: str = "discrete",
    pci_slot: Optional[str] = None,
    pci_id: Optional[str] = None,
    numa_node: Optional[int] = None,
    driver: Optional[Driver] = None,
    link: Optional[BusLink] = None,
    render_node: Optional[str] = None,
    sources: Optional[Dict[str, str]] = None,
) -> Gpu:
    """Return a device with every field of the document, unknown ones None."""
    return {
        "id": "",
        "vendor": vendor,
        "name": name,
        "memory_class": memory_class,
        "memory_mb": None,
        "carve_out_mb": None,
        "window_mb": None,
        "usable": True,
        "why_not": None,
        "uuid": None,
        "pci_slot": pci_slot,
        "pci_id": pci_id,
        "numa_node": numa_node,
        "driver": driver or {"name": None, "version": None},
        "compute_capability": None,
        "gfx": None,
        "link": link or {"speed": None, "width": None},
        "render_node": render_node,
        "mig": None,
        "sources": sources or {},
    }


def of_pci(vendor: str, device: Unchecked, names: Unchecked) -> Gpu:
    """Return a device with the values from the PCI bus; the vendor's part adds the others."""
    pci_id = "%s:%s" % (_hex(device.get("vendor")), _hex(device.get("device")))
    renders = [n for n in parse.rows(device.get("drm")) if str(n).startswith("renderD")]
    node = device.get("numa_node")
    gpu = new(
        vendor,
        name=parse.string(names.get(pci_id)),
        pci_slot=parse.slot(device.get("slot")),
        pci_id=pci_id,
        numa_node=parse.whole(node),
        driver={"name": parse.string(device.get("driver")), "version": None},
        link={
            "speed": parse.string(device.get("link_speed")),
            "width": parse.whole(device.get("link_width")),
        },
        render_node="/dev/dri/%s" % renders[0] if renders else None,
        sources={"vendor": "sysfs"},
    )
    if gpu["name"]:
        gpu["sources"]["name"] = "pci.ids"
    return gpu


def _hex(value: Any) -> str:
    number = parse.whole(value)
    return "????" if number is None else "%04x" % number


#: Fields that can come from several sources.
Known = Literal["name", "uuid", "memory_mb", "compute_capability", "gfx"]


def put(gpu: Gpu, field: Known, value: Any, source: str) -> None:
    """Set a field and its source; None changes nothing."""
    if value is not None:
        gpu[field] = value
        gpu["sources"][field] = source


def refuse(gpu: Gpu, why: str) -> None:
    """Mark a device as not usable; the first reason is kept."""
    if gpu["usable"]:
        gpu["usable"] = False
        gpu["why_not"] = why


def name_all(gpus: List[Gpu]) -> None:
    """Set the stable id of every device: its UUID, else its PCI address and device id.

    A UUID that two devices report is not used.
    """
    uuids = [gpu["uuid"] for gpu in gpus]
    for gpu in gpus:
        place = "PCI-%s-%s" % (gpu["pci_slot"] or "unknown", gpu["pci_id"] or gpu["vendor"])
        gpu["id"] = gpu["uuid"] if gpu["uuid"] and uuids.count(gpu["uuid"]) == 1 else place


def in_order(gpus: List[Gpu]) -> List[Gpu]:
    """Sort the devices by vendor and PCI address."""
    return sorted(gpus, key=lambda g: (g["vendor"], g["pci_slot"] or "", g["id"] or ""))


def check_memory(gpu: Gpu) -> Optional[str]:
    """Reject a discrete device with unknown or too little memory; return the finding's id.

    For a split device, the part that one program can use counts.
    """
    if not gpu["usable"] or gpu["memory_class"] != "discrete":
        return None
    size = totals.memory_of(gpu)
    if size is None:
        refuse(gpu, "VRAM_UNKNOWN")
        return "VRAM_UNKNOWN"
    if size < MIN_VRAM_MB:
        refuse(gpu, "VRAM_TOO_SMALL")
        return "VRAM_TOO_SMALL"
    return None
