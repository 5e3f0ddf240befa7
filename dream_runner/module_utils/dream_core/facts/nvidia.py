"""Read NVIDIA GPUs from a capture: the PCI bus first, then NVML or nvidia-smi.

The bus shows which GPUs exist, the driver whether they work. A tool that lists a GPU which is not
on the bus is a leftover, except in WSL, whose PCI bus shows no NVIDIA device (H1, H2).
"""

from __future__ import annotations

import re
from typing import List, Literal, NamedTuple, Optional, Tuple

from ..types.facts import Capture, Gpu, HostFinding, Unchecked
from . import gpus, parse, system, totals
from .finding_texts import finding
from .nvidia_report import DriverGpu, DriverReport, report_of, unreadable

VENDOR = "0x10de"

#: The driver that the CUDA 12.8 runtime of the engine's images requires (H12).
MIN_DRIVER_MAJOR = 570

#: The lowest compute capability that requires the open kernel modules (Blackwell: 10.x data centre,
#: 12.x workstation and consumer).
_OPEN_MODULE_FROM = 10

_BLACKWELL_NAMES = re.compile(r"Blackwell|\bGB[12]0|\bB[123]00\b|RTX 50\d\d", re.IGNORECASE)


class Surroundings(NamedTuple):
    """Properties of the host that decide whether the bus or the tool is trusted."""

    wsl: bool
    container: Optional[str]
    #: A GPU is reserved for virtual machines, which explains a tool without a card.
    lent: bool


def interpret(capture: Capture, host: Surroundings) -> Tuple[List[Gpu], List[HostFinding]]:
    """Return the NVIDIA devices of a capture and the findings about them."""
    raw = parse.mapping(capture.get("nvidia"))
    cards = _cards(capture)
    report, problem = report_of(raw)
    silent = not (raw.get("smi_path") or report or problem)
    if capture.get("tegra") or (silent and not cards):
        return [], []
    if not cards and not _trusted_without_pci(capture, host.wsl):
        return [], [] if host.lent else [finding("STALE_NVIDIA_SMI")]
    found = _merge(cards, report)
    unseen = "NOT_IN_CONTAINER" if _withheld(capture, host, report) else "GPU_DRIVER_BROKEN"
    for gpu in found:
        _finish(gpu, report, unseen)
    if report is None and unseen == "NOT_IN_CONTAINER":
        return found, [finding(unseen)]
    return found, _findings(capture, raw, found, report, problem)


def _withheld(capture: Capture, host: Surroundings, report: Optional[DriverReport]) -> bool:
    """Return whether a container sees cards on the bus that were not passed to it.

    sysfs shows the whole machine in every container; device nodes exist only for passed devices.
    """
    given = ("/dev/dxg" if host.wsl else "/dev/nvidiactl") in system.node_paths(capture)
    return bool(host.container) and (report is not None or not given)


def _cards(capture: Capture) -> List[Gpu]:
    names = parse.mapping(capture.get("pci_names"))
    devices = parse.mappings(capture.get("pci"))
    return [gpus.of_pci("nvidia", d, names) for d in devices if d.get("vendor") == VENDOR]


def _trusted_without_pci(capture: Capture, wsl: bool) -> bool:
    """Return whether the driver is trusted although no PCI device is visible.

    WSL never has one; in a sandbox without sysfs the bus is not visible, which differs from an
    empty bus.
    """
    return wsl or capture.get("pci") is None


# Bus and driver together


def _merge(cards: List[Gpu], report: Optional[DriverReport]) -> List[Gpu]:
    """Return one device for each on the bus, with the values from the driver.

    Without a bus (WSL) the driver's list counts. If there is a bus, a device that only the driver
    lists is left out.
    """
    said = report["gpus"] if report else []
    source = report["source"] if report else ""
    if not cards:
        return [_add(gpus.new("nvidia", pci_slot=gpu["slot"]), gpu, source) for gpu in said]
    by_slot = {gpu["slot"]: gpu for gpu in said if gpu["slot"]}
    return [_add(card, by_slot.get(card["pci_slot"] or ""), source) for card in cards]


_FromDriver = Literal["uuid", "name", "memory_mb", "compute_capability"]
_FROM_DRIVER: Tuple[_FromDriver, ...] = ("uuid", "name", "memory_mb", "compute_capability")


def _add(gpu: Gpu, said: Optional[DriverGpu], source: str) -> Gpu:
    gpu["index"] = said["index"] if said else None
    gpu["seen"] = said is not None
    if said is None:
        return gpu
    for field in _FROM_DRIVER:
        gpus.put(gpu, field, said[field], source)
    if said["mig"]:
        gpu["mig"] = {"enabled": True, "instances": said["instances"]}
        gpu["sources"]["mig"] = source
    return gpu


def _finish(gpu: Gpu, report: Optional[DriverReport], unseen: str) -> None:
    """Decide memory class and use of one device; ``unseen`` is why the driver does not list it."""
    if report:
        gpu["driver"]["version"] = report["driver"]
    if not gpu.pop("seen"):
        gpus.refuse(gpu, unseen)
        return
    if totals.memory_of(gpu) is None and _shares_memory(gpu):
        gpu["memory_class"] = "unified"
        gpu["sources"]["memory_class"] = "name"
    if _major(gpu["driver"]["version"], 10**6) < MIN_DRIVER_MAJOR:
        gpus.refuse(gpu, "DRIVER_TOO_OLD")
    if gpu["mig"] and not gpu["mig"]["instances"]:
        gpus.refuse(gpu, "MIG_NO_INSTANCES")


def _shares_memory(gpu: Gpu) -> bool:
    """Return whether a device without a reported size shares the memory of the host.

    Only true for chips that are known to do so; for others the size is unknown.
    """
    return bool(re.search(r"\bGB10\b|\bGB20[0-9]\b|\bGH200\b|Grace|Thor", gpu["name"] or ""))


def _major(version: Optional[str], otherwise: int) -> int:
    match = re.match(r"(\d{1,5})\.", version or "")
    return int(match[1]) if match else otherwise


# What is wrong


def _findings(
    capture: Capture,
    raw: Unchecked,
    found: List[Gpu],
    report: Optional[DriverReport],
    problem: Optional[str],
) -> List[HostFinding]:
    if problem == "timeout":
        tool = "NVML" if raw.get("nvml") else "nvidia-smi"
        return [finding("TOOL_HANGS", tool), finding("GPU_DRIVER_BROKEN", "%s hangs" % tool)]
    if report is None:
        reason = _no_driver(capture, raw, found, problem or "")
        if unreadable(raw, problem or ""):
            return [reason, finding("TOOL_OUTPUT_UNREADABLE", "nvidia-smi")]
        return [reason]
    result = [_of_device(gpu, raw) for gpu in found]
    if report["complaint"]:
        result.append([finding("TOOL_REPORTED_PROBLEM", report["complaint"])])
    if len([gpu for gpu in found if gpu["usable"]]) > 1 and not report["links"]:
        result.append([finding("TOPOLOGY_UNKNOWN")])
    return [item for items in result for item in items]


def _of_device(gpu: Gpu, raw: Unchecked) -> List[HostFinding]:
    where = gpu["pci_slot"] or gpu["uuid"] or ""
    if gpu["why_not"] == "GPU_DRIVER_BROKEN":
        if _needs_open_module(gpu) and _flavour(raw) == "proprietary":
            return [finding("BLACKWELL_NEEDS_OPEN_MODULE", gpu["name"] or "", where)]
        return [finding("NVIDIA_RUNS_UNSEEN", where, where)]
    if gpu["why_not"] == "NOT_IN_CONTAINER":
        return [finding("NOT_IN_CONTAINER", where, where)]
    if gpu["why_not"] == "DRIVER_TOO_OLD":
        return [finding("DRIVER_TOO_OLD", gpu["driver"]["version"] or "", where)]
    if gpu["why_not"] == "MIG_NO_INSTANCES":
        return [finding("MIG_NO_INSTANCES", gpu["name"] or "", where)]
    if gpu["mig"]:
        profiles = ", ".join(part["profile"] or "?" for part in gpu["mig"]["instances"])
        return [finding("MIG_ENABLED", profiles, where)]
    return []


def _no_driver(capture: Capture, raw: Unchecked, found: List[Gpu], problem: str) -> HostFinding:
    """Return why the driver does not answer: the most specific reason in the capture."""
    loaded = parse.mapping(capture.get("modules"))
    if re.search("version mismatch", problem, re.IGNORECASE):
        return finding("DRIVER_MISMATCH", problem)
    if "nouveau" in loaded or any(gpu["driver"]["name"] == "nouveau" for gpu in found):
        return finding("NOUVEAU_IN_USE")
    if "nvidia" not in loaded and raw.get("module_file"):
        if parse.mapping(capture.get("secure_boot")).get("enabled") is True:
            return finding("SECURE_BOOT_BLOCKS_MODULE", problem)
        return finding("GPU_DRIVER_BROKEN", problem or "its kernel module is not loaded")
    if _flavour(raw) == "proprietary" and any(_needs_open_module(gpu) for gpu in found):
        return finding("BLACKWELL_NEEDS_OPEN_MODULE", problem)
    if "nvidia" not in loaded and not raw.get("smi_path") and not raw.get("proc_version"):
        return finding("GPU_DRIVER_MISSING")
    return finding("GPU_DRIVER_BROKEN", problem or "nvidia-smi is missing")


def _needs_open_module(gpu: Gpu) -> bool:
    capability = gpu["compute_capability"]
    if capability:
        return int(capability.split(".")[0]) >= _OPEN_MODULE_FROM
    return bool(_BLACKWELL_NAMES.search(gpu["name"] or ""))


def _flavour(raw: Unchecked) -> Optional[str]:
    """Return ``open`` or ``proprietary``, as the loaded module reports."""
    version = parse.string(raw.get("proc_version"))
    if version is None:
        return None
    return "open" if "Open Kernel Module" in version else "proprietary"
