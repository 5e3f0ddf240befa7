"""Probes for accelerators: PCI, drivers, device nodes, vendor tools.

PCI comes first and needs no tool (H1). A vendor's tool is started only if its hardware or driver is
present, or in WSL.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple

from ..types.facts import CapturedNode, ToolAnswer, Unchecked
from .machine_reader import TOOL_SECONDS, Host

_PCI = "/sys/bus/pci/devices"

#: PCI base classes: 0x03 display controller, 0x12 processing accelerator
#: (AMD Instinct and some data-centre parts have no display class).
_CLASSES = ("0x03", "0x12")

NVIDIA, AMD, INTEL = "0x10de", "0x1002", "0x8086"

_PCI_FIELDS = {
    "vendor": "vendor",
    "device": "device",
    "subsystem_vendor": "subsystem_vendor",
    "subsystem_device": "subsystem_device",
    "class": "class",
    "numa_node": "numa_node",
    "boot_vga": "boot_vga",
    "link_speed": "current_link_speed",
    "link_width": "current_link_width",
    "max_link_speed": "max_link_speed",
    "max_link_width": "max_link_width",
}

_AMD_FIELDS = {
    "vram": "mem_info_vram_total",
    "gtt": "mem_info_gtt_total",
    "unique_id": "unique_id",
    "product_name": "product_name",
    "gc_major": "ip_discovery/die/0/GC/0/major",
    "gc_minor": "ip_discovery/die/0/GC/0/minor",
    "gc_revision": "ip_discovery/die/0/GC/0/revision",
}

_DRIVERS = ("nvidia", "nvidia_drm", "nouveau", "amdgpu", "radeon", "i915", "xe", "nova_core")

#: Field names from NVIDIA's documentation; the header line of the answer is parsed.
SMI_QUERY = "index,uuid,name,pci.bus_id,memory.total,driver_version,compute_cap,mig.mode.current"
#: The fields that every nvidia-smi knows; an old version rejects the whole query because of one
#: unknown name.
SMI_QUERY_OLD = "index,uuid,name,pci.bus_id,memory.total,driver_version"


def pci(host: Host) -> Optional[List[Unchecked]]:
    """Return display and accelerator devices; None if sysfs shows no PCI bus."""
    if host.names(_PCI) is None:
        return None
    return [_device(host, slot) for slot in _shown(host)]


def pci_ids(host: Host) -> List[Dict[str, Optional[str]]]:
    """Return only address, ids and driver of the same devices, which is fast."""
    return [
        {
            "slot": slot,
            "vendor": host.read(_at(slot, "vendor")),
            "device": host.read(_at(slot, "device")),
            "driver": host.link_name(_at(slot, "driver")),
        }
        for slot in _shown(host)
    ]


def _shown(host: Host) -> List[str]:
    slots = host.names(_PCI) or []
    return [slot for slot in slots if (host.read(_at(slot, "class")) or "").startswith(_CLASSES)]


def _at(slot: str, name: str) -> str:
    return "%s/%s/%s" % (_PCI, slot, name)


def _device(host: Host, slot: str) -> Unchecked:
    device: Unchecked = {"slot": slot}
    device.update(_fields(host, slot, _PCI_FIELDS))
    device["driver"] = host.link_name(_at(slot, "driver"))
    device["bars"] = _bars(host.read(_at(slot, "resource")) or "")
    device["path"] = [part for part in host.real_path(_at(slot, "")).split("/") if ":" in part]
    drm = host.names(_at(slot, "drm")) or []
    device["drm"] = drm
    if device.get("vendor") == AMD:
        device["amd"] = _fields(host, slot, _AMD_FIELDS)
    if device.get("vendor") == INTEL:
        device["intel"] = _intel(host, slot, drm)
    return device


def _fields(host: Host, slot: str, names: Dict[str, str]) -> Dict[str, str]:
    found = {key: host.read(_at(slot, name)) for key, name in names.items()}
    return {key: text for key, text in found.items() if text}


def _bars(resource: str) -> List[int]:
    """Return the sizes of the six memory windows in bytes; 0 for an unused one."""
    sizes: List[int] = []
    for line in resource.splitlines()[:6]:
        start, _, rest = line.partition(" ")
        first, last = int(start, 16), int(rest.split(" ")[0], 16)
        sizes.append(last - first + 1 if last > first else 0)
    return sizes


def _intel(host: Host, slot: str, drm: List[str]) -> Dict[str, str]:
    cards = [name for name in drm if name.startswith("card")]
    # Only Intel's out-of-tree drivers have these files; mainline i915 and xe do not.
    names = ["drm/%s/lmem_total_bytes" % card for card in cards]
    names.append("tile0/physical_vram_size_bytes")
    texts = [text for text in (host.read(_at(slot, name)) for name in names) if text]
    return {"lmem": texts[0]} if texts else {}


def pci_names(host: Host) -> Dict[str, str]:
    """Return the names of the display devices from the machine's PCI database."""
    wanted = {(str(d["vendor"])[2:], str(d["device"])[2:]) for d in pci_ids(host)}
    path = next((p for p in _PCI_IDS if host.exists(p)), None)
    return _names_in(host.lines(path), wanted) if path and wanted else {}


_PCI_IDS = ("/usr/share/hwdata/pci.ids", "/usr/share/misc/pci.ids")


def _names_in(lines: Iterator[str], wanted: Set[Tuple[str, str]]) -> Dict[str, str]:
    """Return the names of devices, which are indented below the line of their vendor."""
    vendors = {vendor for vendor, _ in wanted}
    names: Dict[str, str] = {}
    vendor = ""
    for line in lines:
        if line[:1] not in ("\t", "#", "\n"):
            vendor = line[:4]
        elif vendor in vendors and line[1:2] != "\t" and (vendor, line[1:5]) in wanted:
            names["%s:%s" % (vendor, line[1:5])] = line[5:].strip()
    return names


def nodes(host: Host) -> List[CapturedNode]:
    """Return the device nodes that an engine opens, with mode and access."""
    paths = ["/dev/kfd", "/dev/dxg", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvhost-gpu"]
    paths += ["/dev/dri/" + n for n in host.names("/dev/dri") or [] if n.startswith("renderD")]
    paths += ["/dev/nvidia%d" % number for number in range(16)]
    return [node for node in map(host.node, paths) if node]


def modules(host: Host) -> Dict[str, Dict[str, Optional[str]]]:
    """Return the loaded graphics drivers and their versions."""
    loaded = [name for name in _DRIVERS if host.exists("/sys/module/" + name)]
    return {name: {"version": host.read("/sys/module/%s/version" % name)} for name in loaded}


def secure_boot(host: Host) -> Unchecked:
    """Return the state of Secure Boot, which blocks unsigned modules."""
    name = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    data = host.read_bytes("/sys/firmware/efi/efivars/" + name)
    return {
        "efi": host.exists("/sys/firmware/efi"),
        # Four bytes of attributes, then the value.
        "enabled": data[4] == 1 if data and len(data) >= 5 else None,
        "lockdown": host.read("/sys/kernel/security/lockdown"),
    }


def tegra(host: Host) -> Optional[Unchecked]:
    """Return the data that identifies a Jetson; None elsewhere."""
    compatible = host.read("/proc/device-tree/compatible") or ""
    release = host.read("/etc/nv_tegra_release")
    if "nvidia,tegra" not in compatible and release is None:
        return None
    return {
        "release": release,
        "compatible": [part for part in compatible.split("\0") if part],
        "model": (host.read("/proc/device-tree/model") or "").rstrip("\0") or None,
    }


def nvidia(host: Host) -> Unchecked:
    """Return the reports of NVIDIA's driver, library or tool about the GPUs."""
    found: Unchecked = {
        "proc_version": host.read("/proc/driver/nvidia/version"),
        "proc_gpus": _proc_gpus(host),
        "nvml": None,
        "smi": None,
        "module_file": None,
    }
    cards = [device for device in pci_ids(host) if device["vendor"] == NVIDIA]
    found["smi_path"] = host.find_tool("nvidia-smi")
    if found["smi_path"] is None and not cards:
        return found
    if cards and "nvidia" not in modules(host):
        found["module_file"] = _module_file(host)
    seconds = TOOL_SECONDS + max(0, len(cards) - 1)
    answer = _nvml(host, seconds)
    found["nvml"] = answer
    if not _settled(answer):
        found["smi"] = _smi(host, seconds, len(cards))
    return found


def _settled(answer: Optional[ToolAnswer]) -> bool:
    """Return whether nvidia-smi is not needed: NVML answered, or hung, as its tool would.

    A crash after the complete answer, which ends with a brace, counts as an answer.
    """
    if answer is None:
        return False
    is_whole = str(answer.get("stdout")).rstrip().endswith("}")
    return answer["problem"] == "timeout" or answer["rc"] == 0 or is_whole


def _proc_gpus(host: Host) -> Dict[str, str]:
    base = "/proc/driver/nvidia/gpus"
    texts = {name: host.read("%s/%s/information" % (base, name)) for name in host.names(base) or []}
    return {name: text for name, text in texts.items() if text}


def _module_file(host: Host) -> bool:
    """Return whether NVIDIA's module for this kernel is installed, whether or not it is loaded."""
    path = "/lib/modules/%s/modules.dep" % os.uname().release
    # A line is "updates/dkms/nvidia.ko.zst: dependencies".
    names = (line.split(":")[0].rsplit("/", 1)[-1] for line in host.lines(path))
    return any(name.startswith(("nvidia.ko", "nvidia-current.ko")) for name in names)


def _nvml(host: Host, seconds: float) -> Optional[ToolAnswer]:
    """Return NVML's answer from another process, because a hung driver hangs its caller."""
    # Imported here because it loads ctypes, which a host without NVIDIA does not need.
    from . import nvml

    library = next((path for path in nvml.LIBRARIES if host.exists(path)), None)
    if library is None:
        return None
    return host.program(sys.executable, ["-I", "-S", "-c", nvml.source(), library], seconds)


def _smi(host: Host, seconds: float, cards: int) -> Dict[str, Optional[ToolAnswer]]:
    answers: Dict[str, Optional[ToolAnswer]] = {"query": _smi_query(host, SMI_QUERY, seconds)}
    first = answers["query"]
    if first and first["rc"] not in (0, None) and "not a valid field" in _said(first):
        answers["query"] = _smi_query(host, SMI_QUERY_OLD, seconds)
    answer = answers["query"]
    # Rows are facts despite the exit code: 14 is a damaged infoROM of a working card.
    if not answer or not _has_rows(answer["stdout"]):
        return answers
    if "Enabled" in answer["stdout"] or "[Insufficient Permissions]" in answer["stdout"]:
        answers["list"] = host.tool("nvidia-smi", ["-L"], seconds)
    if cards > 1 or answer["stdout"].count("\n") > 2:
        answers["topo"] = host.tool("nvidia-smi", ["topo", "-m"], seconds)
    return answers


def _has_rows(stdout: str) -> bool:
    _, header, rows = stdout.partition("index,")
    return bool(header) and "\n" in rows.strip()


def _smi_query(host: Host, fields: str, seconds: float) -> Optional[ToolAnswer]:
    return host.tool("nvidia-smi", ["--query-gpu=" + fields, "--format=csv"], seconds)


def _said(answer: ToolAnswer) -> str:
    return "%s %s" % (answer["stdout"], answer["stderr"])


def amd(host: Host) -> Unchecked:
    """Return the compute topology of amdgpu; run a tool only if sysfs does not have it."""
    base = "/sys/class/kfd/kfd/topology/nodes"
    cards = [device for device in pci(host) or [] if device.get("vendor") == AMD]
    found: Unchecked = {"kfd": [_kfd(host, base, n) for n in host.names(base) or []]}
    if cards and not any(_has_vram(card["amd"]) for card in cards):
        answer = host.tool("amd-smi", ["static", "--json"])
        found["amd_smi"] = answer
        if not _tells_cards(answer):
            arguments = ["--showbus", "--showproductname", "--showmeminfo", "vram", "--json"]
            found["rocm_smi"] = host.tool("rocm-smi", arguments)
    return found


def _has_vram(fields: object) -> bool:
    return isinstance(fields, dict) and bool(fields.get("vram"))


def _tells_cards(answer: Optional[ToolAnswer]) -> bool:
    """Return whether amd-smi answered; it has not if it failed and listed no card."""
    return answer is not None and (answer["rc"] == 0 or "bdf" in answer["stdout"].lower())


_KFD_FIELDS = [
    "gfx_target_version",
    "simd_count",
    "cpu_cores_count",
    "location_id",
    "domain",
    "drm_render_minor",
]


def _kfd(host: Host, base: str, node: str) -> Unchecked:
    here = "%s/%s" % (base, node)
    fields = _pairs(host.read(here + "/properties") or "", _KFD_FIELDS)
    links = [
        _pairs(host.read("%s/io_links/%s/properties" % (here, n)) or "", ["type", "node_to"])
        for n in host.names(here + "/io_links") or []
    ]
    return dict(fields, node=node, links=links)


def _pairs(text: str, wanted: Any) -> Dict[str, str]:
    rows = [line.split(" ", 1) for line in text.splitlines() if " " in line]
    return {key: value for key, value in rows if key in wanted}


def level_zero(host: Host) -> Optional[str]:
    """Return the path of Intel's Level Zero loader, or None."""
    names = ("/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")
    paths = [directory + "/libze_loader.so.1" for directory in names]
    return next((path for path in paths if host.exists(path)), None)


PROBES: Dict[str, Callable[[Host], Any]] = {
    "pci": pci,
    "pci_names": pci_names,
    "nodes": nodes,
    "modules": modules,
    "secure_boot": secure_boot,
    "tegra": tegra,
    "nvidia": nvidia,
    "amd": amd,
    "level_zero": level_zero,
}
