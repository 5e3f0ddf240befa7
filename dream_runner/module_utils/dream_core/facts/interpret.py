"""Turn a capture into the facts document. Pure.

``interpret`` accepts any capture, even a damaged one: what it cannot read becomes None and, if it
matters, a finding.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

from ..types.facts import Capture, Facts, Gpu, GpuLink, HostFinding
from . import advice, amd, devices, gpus, intel, nvidia, nvidia_report, parse, system, totals
from .finding_texts import NVIDIA_UNUSABLE, finding, ordered
from .schema import SCHEMA

#: The order of vendors if two could be used with equal memory.
_PREFERENCE = ("nvidia", "amd", "intel", "apple")


def interpret(capture: Capture) -> Facts:
    """Return the facts document of a capture (fields: docs/developer/captures.md).

    Never raises. ``gathered_at`` and ``fingerprint`` are None here; the cache sets them.
    """
    capture = parse.mapping(capture)
    base = system.interpret(capture)
    found, links, findings = _accelerators(capture, base)
    findings += system.findings(base) + _probe_errors(capture)
    document: Facts = {**base, "gpus": found, "links": links}
    backend, rival = choose_backend(document)
    if rival:
        findings.append(finding("OTHER_GPU_IDLE", rival))
    return {
        **document,
        "schema": SCHEMA,
        "gathered_at": None,
        "fingerprint": None,
        "backend": backend,
        "repaired_backend": _repaired(found, backend, findings),
        "findings": ordered(advice.advise(findings, _places(capture, base))),
    }


def _places(capture: Capture, base: Facts) -> List[str]:
    """Return the environments of the host, which select the hints."""
    return advice.surroundings(base["os"], system.is_virtual(capture))


def _accelerators(
    capture: Capture, base: Facts
) -> Tuple[List[Gpu], List[GpuLink], List[HostFinding]]:
    found, findings = _reserved(capture)
    capture = dict(capture, pci=_free(capture.get("pci")))
    host = nvidia.Surroundings(base["os"]["wsl"], base["os"]["container"], bool(found))
    others = (amd.interpret, intel.interpret, _others, _jetson, _apple)
    for more, said in [nvidia.interpret(capture, host), *(part(capture) for part in others)]:
        found += more
        findings += said
    gpus.name_all(found)
    for gpu in found:
        name = gpus.check_memory(gpu)
        if name:
            findings.append(finding(name, gpu["name"] or "", gpu["id"]))
    findings += _access(found, capture)
    return gpus.in_order(found), _links(capture, found), findings


#: Drivers that reserve a device for virtual machines.
_GUEST_DRIVERS = ("vfio-pci", "pci-stub", "xen-pciback")


def _free(devices: Any) -> Any:
    """Return the devices that are not reserved for virtual machines; None stays None."""
    if devices is None:
        return None
    return [d for d in parse.mappings(devices) if d.get("driver") not in _GUEST_DRIVERS]


def _reserved(capture: Capture) -> Tuple[List[Gpu], List[HostFinding]]:
    """Return the devices that are reserved for virtual machines, and the findings about them."""
    vendors = {nvidia.VENDOR: "nvidia", amd.VENDOR: "amd", intel.VENDOR: "intel"}
    names = parse.mapping(capture.get("pci_names"))
    kept = [d for d in parse.mappings(capture.get("pci")) if d.get("driver") in _GUEST_DRIVERS]
    found = [gpus.of_pci(vendors.get(str(d.get("vendor")), "unknown"), d, names) for d in kept]
    for gpu in found:
        gpus.refuse(gpu, "RESERVED_FOR_GUESTS")
    said = [finding("RESERVED_FOR_GUESTS", g["name"] or "", g["pci_slot"] or "") for g in found]
    return found, said


def _others(capture: Capture) -> Tuple[List[Gpu], List[HostFinding]]:
    """Return devices of unknown vendors, except those that only display."""
    known = {nvidia.VENDOR, amd.VENDOR, intel.VENDOR} | devices.DISPLAY_ONLY
    names = parse.mapping(capture.get("pci_names"))
    strange = [d for d in parse.mappings(capture.get("pci")) if str(d.get("vendor")) not in known]
    found = [gpus.of_pci("unknown", device, names) for device in strange]
    for gpu in found:
        gpus.refuse(gpu, "GPU_UNKNOWN")
    return found, [
        finding("GPU_UNKNOWN", gpu["pci_id"] or "", gpu["pci_slot"] or "") for gpu in found
    ]


def _jetson(capture: Capture) -> Tuple[List[Gpu], List[HostFinding]]:
    tegra = parse.mapping(capture.get("tegra"))
    if not tegra:
        return [], []
    name = parse.string(tegra.get("model")) or "NVIDIA Jetson"
    gpu = gpus.new("nvidia", name=name, memory_class="unified", sources={"name": "device tree"})
    gpu["index"] = None
    gpus.refuse(gpu, "JETSON_UNSUPPORTED")
    return [gpu], [finding("JETSON_UNSUPPORTED", name)]


def _apple(capture: Capture) -> Tuple[List[Gpu], List[HostFinding]]:
    mac = parse.mapping(capture.get("darwin"))
    chip = parse.string(mac.get("machdep.cpu.brand_string")) or ""
    if not chip.startswith("Apple "):
        return [], []
    sources = {"name": "sysctl", "memory_class": "sysctl"}
    return [gpus.new("apple", name=chip, memory_class="unified", sources=sources)], []


def _access(found: List[Gpu], capture: Capture) -> List[HostFinding]:
    """Return the findings about device nodes that this user cannot open."""
    vendors = {gpu["vendor"] for gpu in found if gpu["usable"]}
    prefixes = {"amd": ("/dev/kfd", "/dev/dri/render"), "intel": ("/dev/dri/render",)}
    watched = tuple(p for vendor in vendors for p in prefixes.get(vendor, ("/dev/nvidia",)))
    nodes = [n for n in parse.mappings(capture.get("nodes")) if n.get("usable") is False]
    paths = [str(node.get("path")) for node in nodes]
    return [finding("NODE_NOT_PERMITTED", p, p) for p in paths if watched and p.startswith(watched)]


def _links(capture: Capture, found: List[Gpu]) -> List[GpuLink]:
    """Return the connections between devices, by their stable ids."""
    by_index = {g["index"]: g["id"] for g in found if g.get("index") is not None}
    by_slot = {gpu["pci_slot"]: gpu["id"] for gpu in found if gpu["pci_slot"]}
    rows = [(by_index.get(a), by_index.get(b), kind) for a, b, kind in nvidia_report.links(capture)]
    rows += [(by_slot.get(a), by_slot.get(b), kind) for a, b, kind in amd.links(capture)]
    for gpu in found:
        gpu.pop("index", None)
    pairs = {tuple(sorted((a, b))): kind for a, b, kind in rows if a and b}
    return [{"a": a, "b": b, "kind": kind} for (a, b), kind in sorted(pairs.items())]


def choose_backend(document: Facts) -> Tuple[str, Optional[str]]:
    """Return the backend with the most usable memory, and the vendors that are not used."""
    vendors = [
        v for v in _PREFERENCE if any(g["vendor"] == v and g["usable"] for g in document["gpus"])
    ]
    if not vendors:
        return "cpu", None
    hosts = {vendor: totals.accelerator({**document, "backend": vendor}) for vendor in vendors}
    sizes = {v: totals.weight(h["memory_mb"], h["memory_class"]) for v, h in hosts.items()}
    best = max(vendors, key=lambda vendor: (sizes[vendor], -_PREFERENCE.index(vendor)))
    return best, ", ".join(v for v in vendors if v != best) or None


#: Problems that a repair of the host can solve; the others are in the hardware.
_REPAIRABLE = frozenset(
    ["GPU_DRIVER_BROKEN", "DRIVER_TOO_OLD", "NO_KFD", "NO_RENDER_NODE", "NOT_IN_CONTAINER"]
)


def _repaired(found: List[Gpu], backend: str, findings: List[HostFinding]) -> Optional[str]:
    """Return the backend that this host would have with working drivers, if it differs (U-17).

    WSL shows no device if the driver fails, so only the finding is left.
    """
    vendors = [gpu["vendor"] for gpu in found if gpu["why_not"] in _REPAIRABLE]
    vendors += ["nvidia" for item in findings if item["id"] in NVIDIA_UNUSABLE]
    best = min(vendors, key=_PREFERENCE.index) if vendors else None
    return best if best != backend else None


def _probe_errors(capture: Capture) -> List[HostFinding]:
    errors = parse.mapping(capture.get("errors"))
    return [finding("PROBE_FAILED", "%s: %s" % (name, errors[name])) for name in errors]
