"""Read AMD GPUs from a capture: amdgpu's files and the compute topology (KFD).

The kernel's files give the memory and gfx target of every card (U-12); a tool is read only if they
do not. A card with an unknown target is not used: guessed targets have frozen hosts (H7).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

from ..types.facts import Capture, Gpu, HostFinding, Unchecked
from . import devices, exits, gpus, parse, system
from .finding_texts import finding

VENDOR = "0x1002"

#: KFD's number for a direct link between GPUs (kfd_crat.h).
_XGMI = 11


def interpret(capture: Capture) -> Tuple[List[Gpu], List[HostFinding]]:
    """Return the AMD devices of a capture and the findings about them."""
    raw = parse.mapping(capture.get("amd"))
    names = parse.mapping(capture.get("pci_names"))
    nodes = _kfd_nodes(raw)
    tool, complaint = _tool_cards(raw)
    cards = [d for d in parse.mappings(capture.get("pci")) if d.get("vendor") == VENDOR]
    found = [_device(card, names, nodes, tool) for card in cards]
    findings = [finding("TOOL_REPORTED_PROBLEM", complaint)] if complaint else []
    for gpu in found:
        findings += _judge(gpu, capture)
    return found, findings


def _device(
    card: Unchecked,
    names: Unchecked,
    nodes: Dict[str, Unchecked],
    tool: Dict[str, Unchecked],
) -> Gpu:
    said = parse.mapping(card.get("amd"))
    gpu = gpus.of_pci("amd", card, names)
    node = nodes.get(gpu["pci_slot"] or "", {})
    core = _core(said)
    gpus.put(gpu, "name", parse.string(said.get("product_name")), "amdgpu")
    gpus.put(gpu, "gfx", devices.gfx_of_core(core), "ip_discovery")
    gpus.put(gpu, "gfx", devices.gfx_of_kfd(parse.whole(node.get("gfx_target_version"))), "kfd")
    gpus.put(gpu, "uuid", _unique_id(said.get("unique_id")), "amdgpu")
    gpus.put(gpu, "memory_mb", parse.bytes_to_mb(said.get("vram")), "amdgpu")
    _from_tool(gpu, tool.get(gpu["pci_slot"] or ""))
    gpu["memory_class"] = devices.amd_class(str(card.get("device")), core or _core_of(gpu["gfx"]))
    gpu["sources"]["memory_class"] = "ip_discovery" if core else "device id"
    if gpu["memory_class"] == "unified":
        # MemTotal does not include the memory that firmware reserved, so it is added later.
        gpu["carve_out_mb"], gpu["memory_mb"] = gpu["memory_mb"], None
        gpu["window_mb"] = _window(said)
    return gpu


_FROM_TOOL: Tuple[gpus.Known, ...] = ("name", "memory_mb", "gfx")


def _from_tool(gpu: Gpu, said: Optional[Unchecked]) -> None:
    for field in _FROM_TOOL:
        if said and gpu[field] is None:
            gpus.put(gpu, field, said[field], str(said["source"]))


def _core(said: Unchecked) -> Optional[str]:
    parts = [parse.whole(said.get(name)) for name in ("gc_major", "gc_minor", "gc_revision")]
    return None if None in parts else "%d.%d.%d" % (parts[0] or 0, parts[1] or 0, parts[2] or 0)


def _core_of(gfx: Optional[str]) -> Optional[str]:
    """Return the unified core that a gfx target identifies, for hosts whose sysfs has none."""
    return "11.5.1" if gfx == "gfx1151" else None


def _unique_id(value: Any) -> Optional[str]:
    name = parse.string(value)
    # Cards without an id all report zero.
    good = name and re.fullmatch(r"[0-9a-f]{16}", name) and name.strip("0")
    return "AMD-UID-%s" % name if good else None


def _window(said: Unchecked) -> Optional[int]:
    """Return the MiB that a unified GPU can address now: reserved plus translated memory."""
    sizes = [parse.bytes_to_mb(said.get(name)) for name in ("vram", "gtt")]
    return None if None in sizes else sum(size or 0 for size in sizes)


# The compute topology


def _kfd_nodes(raw: Unchecked) -> Dict[str, Unchecked]:
    """Return KFD's GPU nodes by PCI address."""
    nodes: Dict[str, Unchecked] = {}
    for node in parse.mappings(raw.get("kfd")):
        place, domain = parse.whole(node.get("location_id")), parse.whole(node.get("domain"))
        if parse.whole(node.get("simd_count")) and place is not None:
            # Bus in the upper byte, then five bits of device and three of function.
            where = (domain or 0, place >> 8 & 0xFF, place >> 3 & 0x1F, place & 7)
            nodes["%04x:%02x:%02x.%x" % where] = node
    return nodes


def links(capture: Capture) -> List[List[Any]]:
    """Return ``[slot a, slot b, link]`` of AMD GPUs: XGMI by KFD, else the PCI distance."""
    nodes = _kfd_nodes(parse.mapping(capture.get("amd")))
    cards = [d for d in parse.mappings(capture.get("pci")) if d.get("vendor") == VENDOR]
    placed = [(parse.slot(card.get("slot")), card) for card in cards]
    rows: List[List[Any]] = []
    for position, (a, first) in enumerate(placed):
        for b, second in placed[position + 1 :]:
            if a and b:
                xgmi = _joined(nodes.get(a), nodes.get(b))
                rows.append([a, b, "XGMI" if xgmi else pci_distance(first, second)])
    return rows


def _joined(a: Optional[Unchecked], b: Optional[Unchecked]) -> bool:
    if not a or not b:
        return False
    return any(
        parse.whole(link.get("type")) == _XGMI and str(link.get("node_to")) == str(b.get("node"))
        for link in parse.mappings(a.get("links"))
    )


def pci_distance(a: Unchecked, b: Unchecked) -> str:
    """Return how far two PCI devices are apart, in the words of ``nvidia-smi topo``."""
    numa = [parse.whole(device.get("numa_node")) for device in (a, b)]
    if None not in numa and numa[0] != numa[1]:
        return "SYS"
    paths = [[str(part) for part in parse.rows(device.get("path"))] for device in (a, b)]
    common = 0
    while common < min(map(len, paths)) and paths[0][common] == paths[1][common]:
        common += 1
    # One common part is the root complex; two are the same port below it.
    return {0: "SYS", 1: "PHB", 2: "PXB"}.get(common, "PIX")


# Tools, for what the kernel does not report


def _tool_cards(raw: Unchecked) -> Tuple[Dict[str, Unchecked], str]:
    """Return the cards from the first tool that lists any, and the problem that it reported."""
    for name, of_json, of_text in (
        ("amd_smi", _amd_smi, _amd_smi_text),
        ("rocm_smi", _rocm_smi, _rocm_smi_text),
    ):
        answer = parse.mapping(raw.get(name))
        data = _json(answer.get("stdout"))
        cards = of_json(data if data is not None else of_text(answer.get("stdout")))
        if cards:
            return cards, exits.complaint(name.replace("_", "-"), answer)
    return {}, ""


def _json(stdout: Any) -> Any:
    """Return the JSON in a tool's output, which may begin with lines of warnings, or None."""
    import json

    body = stdout if isinstance(stdout, str) else ""
    start = re.search(r"^[\[{]", body, re.MULTILINE)
    try:
        return json.loads(body[start.start() :]) if start else None
    except (ValueError, RecursionError):
        return None


def _amd_smi_text(stdout: Any) -> List[Dict[str, Unchecked]]:
    """Convert amd-smi's indented text to the form of its JSON."""
    cards: List[Dict[str, Unchecked]] = []
    section: Unchecked = {}
    for line in parse.lines(stdout):
        key, colon, value = line.strip().partition(":")
        if line.startswith("GPU:"):
            cards.append({})
        elif colon and cards and not value.strip():
            section = cards[-1].setdefault(key.lower(), {})
        elif colon and cards:
            section[key.lower()] = _quantity(value.strip())
    return cards


def _quantity(value: str) -> Any:
    match = re.fullmatch(r"([0-9]{1,9}) (MB|GB)", value, re.ASCII)
    return {"value": int(match[1]), "unit": match[2]} if match else value


def _rocm_smi_text(stdout: Any) -> Dict[str, Dict[str, str]]:
    """Convert rocm-smi's lines ``GPU[0] : label: value`` to the form of its JSON."""
    cards: Dict[str, Dict[str, str]] = {}
    for line in parse.lines(stdout):
        match = re.match(r"GPU\[(\d{1,3})\]\s*:\s*([^:]+):\s*(.+)", line)
        if match:
            cards.setdefault(match[1], {})[match[2].strip()] = match[3].strip()
    return cards


def _amd_smi(data: Any) -> Dict[str, Unchecked]:
    """Read ``amd-smi static --json``: a list, or one under ``gpu_data`` in newer versions."""
    cards = data if isinstance(data, list) else parse.mapping(data).get("gpu_data")
    found: Dict[str, Unchecked] = {}
    for card in parse.mappings(cards):
        asic, vram = parse.mapping(card.get("asic")), parse.mapping(card.get("vram"))
        size = parse.mapping(vram.get("size"))
        place = parse.slot(parse.mapping(card.get("bus")).get("bdf"))
        if place:
            found[place] = {
                "name": parse.string(asic.get("market_name")),
                "memory_mb": parse.whole(size.get("value")) if size.get("unit") == "MB" else None,
                "gfx": _target(asic.get("target_graphics_version")),
                "source": "amd-smi",
            }
    return found


def _rocm_smi(data: Any) -> Dict[str, Unchecked]:
    """Read ``rocm-smi --json``: one object per card, with labels as keys."""
    found: Dict[str, Unchecked] = {}
    for card in parse.mapping(data).values():
        card = parse.mapping(card)
        place = parse.slot(card.get("PCI Bus"))
        if place:
            found[place] = {
                "name": parse.string(card.get("Card Series") or card.get("Card series")),
                "memory_mb": parse.bytes_to_mb(card.get("VRAM Total Memory (B)")),
                "gfx": _target(card.get("GFX Version")),
                "source": "rocm-smi",
            }
    return found


def _target(value: Any) -> Optional[str]:
    name = parse.string(value)
    return name if name and re.fullmatch(r"gfx[0-9]{1,2}[0-9a-f]{2}", name) else None


# What can be used


def _judge(gpu: Gpu, capture: Capture) -> List[HostFinding]:
    where = gpu["pci_slot"] or ""
    if gpu["memory_class"] == "integrated":
        gpus.refuse(gpu, "INTEGRATED_GPU_UNUSED")
        return [finding("INTEGRATED_GPU_UNUSED", gpu["name"] or gpu["pci_id"] or "", where)]
    name = _obstacle(gpu, capture)
    if name:
        gpus.refuse(gpu, name)
        return [finding(name, gpu["name"] or gpu["pci_id"] or "", where)]
    return []


def _obstacle(gpu: Gpu, capture: Capture) -> Optional[str]:
    paths = system.node_paths(capture)
    if "/dev/kfd" not in paths:
        return "NO_KFD"
    if not any(path.startswith("/dev/dri/renderD") for path in paths):
        return "NO_RENDER_NODE"
    if gpu["gfx"] is None:
        return "GFX_UNKNOWN"
    return None if gpu["gfx"] in devices.AMD_TARGETS else "GFX_UNSUPPORTED"
