"""The list of a host's GPUs: what each is, what it has, whether it can be used.

One function a vendor makes devices out of the capture; what is common
(ids, order, totals) is here. Every value knows its source.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from . import parse, totals

#: Below this a model worth having does not fit: the CPU does it better (H6).
#: 4 GB cards report down to 2 % less than 4096.
MIN_VRAM_MB = 4096 * 98 // 100

Gpu = Dict[str, Any]


def new(vendor: str, **values: Any) -> Gpu:
    """Return a device with every field of the document, unknown ones None."""
    gpu: Gpu = {
        "id": None,
        "vendor": vendor,
        "name": None,
        "memory_class": "discrete",
        "memory_mb": None,
        "carve_out_mb": None,
        "window_mb": None,
        "usable": True,
        "why_not": None,
        "uuid": None,
        "pci_slot": None,
        "pci_id": None,
        "numa_node": None,
        "driver": {"name": None, "version": None},
        "compute_capability": None,
        "gfx": None,
        "link": {"speed": None, "width": None},
        "render_node": None,
        "mig": None,
        "sources": {},
    }
    gpu.update(values)
    return gpu


def of_pci(vendor: str, device: Dict[str, Any], names: Dict[str, Any]) -> Gpu:
    """Return what the PCI bus tells about a device; the vendor's part is added to it."""
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


def put(gpu: Gpu, field: str, value: Any, source: str) -> None:
    """Set a field that is known, with where it is known from; None changes nothing."""
    if value is not None:
        gpu[field] = value
        gpu["sources"][field] = source


def refuse(gpu: Gpu, why: str) -> None:
    """Mark a device as not usable; the first reason is the one that is kept."""
    if gpu["usable"]:
        gpu["usable"] = False
        gpu["why_not"] = why


def name_all(gpus: List[Gpu]) -> None:
    """Give every device its stable id: UUID, else its PCI address and device id.

    A UUID that two devices claim is none.
    """
    uuids = [gpu["uuid"] for gpu in gpus]
    for gpu in gpus:
        place = "PCI-%s-%s" % (gpu["pci_slot"] or "unknown", gpu["pci_id"] or gpu["vendor"])
        gpu["id"] = gpu["uuid"] if gpu["uuid"] and uuids.count(gpu["uuid"]) == 1 else place


def in_order(gpus: List[Gpu]) -> List[Gpu]:
    """Return the devices by vendor and place, whatever order they were found in."""
    return sorted(gpus, key=lambda g: (g["vendor"], g["pci_slot"] or "", g["id"] or ""))


def check_memory(gpu: Gpu) -> Optional[str]:
    """Refuse a discrete device without known or sufficient memory; return the finding's id.

    Of a device that is split, the part counts that a program can use.
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
