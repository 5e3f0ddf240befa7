"""Read Intel GPUs from a capture: discrete ones by device id, memory from three sources.

The mainline drivers i915 and xe have no file with the size of local memory; Intel's own drivers do.
Otherwise the published size of the device id is used, limited by the PCI memory window if the
firmware made that as large.
"""

from __future__ import annotations

from typing import List, Tuple

from ..types.facts import Capture, Gpu, HostFinding, Unchecked
from . import devices, gpus, parse, system
from .finding_texts import finding

VENDOR = "0x8086"

#: Firmware without resizable BARs gives every card a window of this size, so it says nothing about
#: the memory.
_SMALL_WINDOW_MB = 256


def interpret(capture: Capture) -> Tuple[List[Gpu], List[HostFinding]]:
    """Return the Intel devices of a capture and the findings about them."""
    names = parse.mapping(capture.get("pci_names"))
    cards = [d for d in parse.mappings(capture.get("pci")) if _is_gpu(d)]
    found = [_device(card, names) for card in cards]
    findings: List[HostFinding] = []
    for gpu in found:
        findings += _judge(gpu, capture)
    return found, findings


def _is_gpu(device: Unchecked) -> bool:
    """Return whether a device is a GPU; neural processors are accelerators without display."""
    return device.get("vendor") == VENDOR and str(device.get("class")).startswith("0x03")


def _device(card: Unchecked, names: Unchecked) -> Gpu:
    gpu = gpus.of_pci("intel", card, names)
    device = str(card.get("device")).lower()
    if not devices.intel_discrete(device):
        gpu["memory_class"] = "integrated"
        return gpu
    name, published = devices.INTEL_DISCRETE.get(device, (None, None))
    gpus.put(gpu, "name", name, "device id")
    gpus.put(gpu, "memory_mb", published, "device id")
    window = _window_mb(card)
    if published and window and _SMALL_WINDOW_MB < window < published:
        gpus.put(gpu, "memory_mb", window, "pci window")
    local = parse.bytes_to_mb(parse.mapping(card.get("intel")).get("lmem"))
    gpus.put(gpu, "memory_mb", local, "driver")
    return gpu


def _window_mb(card: Unchecked) -> int:
    sizes = [parse.bytes_to_mb(size) or 0 for size in parse.rows(card.get("bars"))]
    return max(sizes) if sizes else 0


def _judge(gpu: Gpu, capture: Capture) -> List[HostFinding]:
    where = gpu["pci_slot"] or ""
    if gpu["memory_class"] == "integrated":
        gpus.refuse(gpu, "INTEGRATED_GPU_UNUSED")
        return [finding("INTEGRATED_GPU_UNUSED", gpu["name"] or gpu["pci_id"] or "", where)]
    paths = system.node_paths(capture)
    if not any(path.startswith("/dev/dri/renderD") for path in paths):
        gpus.refuse(gpu, "NO_RENDER_NODE")
        return [finding("NO_RENDER_NODE", gpu["name"] or gpu["pci_id"] or "", where)]
    return [] if capture.get("level_zero") else [finding("LEVEL_ZERO_MISSING", "", where)]
