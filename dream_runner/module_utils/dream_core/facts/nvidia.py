"""NVIDIA GPUs out of a capture: the PCI bus first, then NVML or nvidia-smi.

The bus says what is there, the driver whether it works. A tool that lists a
GPU which the bus does not have is a leftover, except in WSL, whose PCI bus
shows no NVIDIA device at all (H1, H2).
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from . import exits, gpus, parse, system, totals
from .finding_texts import finding

Gpu = gpus.Gpu
Finding = Dict[str, Any]

VENDOR = "0x10de"

#: The CUDA 12.8 runtime of the engine's images needs this driver (H12).
MIN_DRIVER_MAJOR = 570

#: Compute capability from which on only the open kernel module drives a GPU
#: (Blackwell: 10.x data centre, 12.x workstation and consumer).
_OPEN_MODULE_FROM = 10

_BLACKWELL_NAMES = re.compile(r"Blackwell|\bGB[12]0|\bB[123]00\b|RTX 50\d\d", re.IGNORECASE)


class Surroundings(NamedTuple):
    """What decides how far the bus and the tool are to be believed."""

    wsl: bool
    container: Optional[str]
    #: A GPU of this machine belongs to its guests, and a tool without a card to that.
    lent: bool


def interpret(capture: Dict[str, Any], host: Surroundings) -> Tuple[List[Gpu], List[Finding]]:
    """Return the NVIDIA devices of a capture and what is wrong with them."""
    raw = parse.mapping(capture.get("nvidia"))
    cards = _cards(capture)
    report, problem = _report(raw)
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


def _withheld(
    capture: Dict[str, Any], host: Surroundings, report: Optional[Dict[str, Any]]
) -> bool:
    """Tell whether a container sees cards on the bus that it was not given.

    sysfs shows the whole machine in every container; device nodes only what was passed in.
    """
    given = ("/dev/dxg" if host.wsl else "/dev/nvidiactl") in system.node_paths(capture)
    return bool(host.container) and (report is not None or not given)


def _cards(capture: Dict[str, Any]) -> List[Gpu]:
    names = parse.mapping(capture.get("pci_names"))
    devices = parse.mappings(capture.get("pci"))
    return [gpus.of_pci("nvidia", d, names) for d in devices if d.get("vendor") == VENDOR]


def _trusted_without_pci(capture: Dict[str, Any], wsl: bool) -> bool:
    """Tell whether the driver's word counts although no PCI device is seen.

    In WSL there never is one; in a sandbox without sysfs the bus is not seen
    at all, which is something else than an empty bus.
    """
    return wsl or capture.get("pci") is None


# What the driver says, in one form whoever said it


def _report(raw: Dict[str, Any]) -> Tuple[Optional[Dict[str, Any]], Optional[str]]:
    """Return ``({driver, source, gpus, links}, None)``, or ``(None, what went wrong)``."""
    if raw.get("nvml") is not None:
        answer = parse.mapping(raw["nvml"])
        report = _nvml_report(answer)
        if report:
            return report, None
        if not raw.get("smi"):
            return None, _nvml_problem(answer)
    smi = parse.mapping(raw.get("smi"))
    query = smi.get("query")
    if query is None:
        return None, None
    query = parse.mapping(query)
    if query.get("problem"):
        return None, "timeout" if query["problem"] == "timeout" else _reason(query)
    report = _smi_report(query, smi)
    return (report, None) if report else (None, _reason(query))


def _reason(query: Dict[str, Any]) -> str:
    """Return why there are no rows: what the tool said, else what its exit code means."""
    shown = [line for line in parse.lines(query.get("stdout")) if not _is_header(line)]
    said = parse.said({"stdout": "\n".join(shown), "stderr": query.get("stderr")})
    return said or exits.meaning(query, exits.NVIDIA) or "no answer"


def _unreadable(raw: Dict[str, Any], problem: str) -> bool:
    """Tell whether nvidia-smi claims success, yet says neither rows nor a known failure."""
    query = parse.mapping(parse.mapping(raw.get("smi")).get("query"))
    return query.get("rc") == 0 and not re.search(_KNOWN_FAILURES, problem, re.IGNORECASE)


_KNOWN_FAILURES = r"version mismatch|communicate with|no devices were found|not loaded"


def _nvml_answer(answer: Dict[str, Any]) -> Dict[str, Any]:
    import json

    try:
        return parse.mapping(json.loads(answer.get("stdout") or ""))
    except (ValueError, TypeError, RecursionError):
        return {}


def _nvml_problem(answer: Dict[str, Any]) -> str:
    if answer.get("problem") == "timeout":
        return "timeout"
    data = _nvml_answer(answer)
    known = exits.NVIDIA.get(parse.whole(data.get("code")) or 0)
    return known or parse.string(data.get("error")) or parse.said(answer) or "no answer"


def _nvml_report(answer: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    data = _nvml_answer(answer)
    if data.get("code") != 0:
        return None
    devices = parse.mappings(data.get("devices"))
    found = [_nvml_gpu(device) for device in devices]
    return {
        "source": "nvml",
        "driver": parse.string(data.get("driver")),
        "gpus": found,
        "links": _nvml_links(data, devices),
        # The library may crash while it shuts down, after all was told.
        "complaint": exits.complaint("NVML", answer),
    }


def _nvml_gpu(device: Dict[str, Any]) -> Dict[str, Any]:
    parts = parse.mappings(device.get("mig_instances"))
    return {
        "index": parse.whole(device.get("index")),
        "uuid": parse.string(device.get("uuid")),
        "name": parse.string(device.get("name")),
        "slot": parse.slot(device.get("bus_id")),
        "memory_mb": parse.bytes_to_mb(device.get("memory_bytes")),
        "compute_capability": _capability(device.get("compute_capability")),
        "mig": device.get("mig") is True,
        "instances": [
            {
                "uuid": parse.string(part.get("uuid")),
                "profile": parse.string(part.get("name")),
                "memory_mb": parse.bytes_to_mb(part.get("memory_bytes")),
            }
            for part in parts
        ],
    }


def _nvml_links(data: Dict[str, Any], devices: List[Dict[str, Any]]) -> List[List[Any]]:
    links = {
        (row[0], row[1]): row[2]
        for row in parse.rows(data.get("levels"))
        if isinstance(row, list) and len(row) == 3 and all(isinstance(n, int) for n in row[:2])
    }
    for a, first in enumerate(devices):
        for b in range(a + 1, len(devices)):
            count = _nvlinks_between(first, devices[b])
            if count:
                links[(a, b)] = "NV%d" % count
    return [[a, b, str(kind)] for (a, b), kind in sorted(links.items())]


def _nvlinks_between(a: Dict[str, Any], b: Dict[str, Any]) -> int:
    """Return how many NVLinks join two GPUs: direct ones, else those to common switches."""
    to_a, to_b = parse.rows(a.get("nvlinks")), parse.rows(b.get("nvlinks"))
    direct = sum(1 for remote in to_a if remote and remote == b.get("bus_id"))
    if direct:
        return direct
    common = {r for r in to_a if isinstance(r, str)} & {r for r in to_b if isinstance(r, str)}
    return min(sum(1 for r in side if str(r) in common) for side in (to_a, to_b))


def _smi_report(query: Dict[str, Any], smi: Dict[str, Any]) -> Optional[Dict[str, Any]]:
    rows = _csv(query.get("stdout"))
    if not rows:
        return None
    parts = _mig_parts(parse.mapping(smi.get("list")).get("stdout"))
    return {
        "source": "nvidia-smi",
        "driver": next((parse.string(r.get("driver_version")) for r in rows), None),
        "gpus": [_smi_gpu(row, parts) for row in rows],
        "links": matrix(parse.mapping(smi.get("topo")).get("stdout")),
        "complaint": exits.complaint("nvidia-smi", query, exits.NVIDIA),
    }


def _csv(stdout: Any) -> List[Dict[str, str]]:
    """Return rows by field name, out of the header that nvidia-smi prints itself.

    Lines before the header (warnings) are skipped; a row that does not have
    as many fields as the header is not a row, nor is one that was cut off.
    """
    whole = stdout[: stdout.rfind("\n") + 1] if isinstance(stdout, str) else ""
    lines = parse.lines(whole)
    start = next((i for i, line in enumerate(lines) if _is_header(line)), None)
    if start is None:
        return []
    names = [part.strip().split(" [")[0] for part in lines[start].split(",")]
    rows = [[part.strip() for part in line.split(",")] for line in lines[start + 1 :]]
    return [dict(zip(names, row)) for row in rows if len(row) == len(names)]


def _is_header(line: str) -> bool:
    return line.startswith("index,") and "uuid" in line


def _smi_gpu(row: Dict[str, str], parts: Dict[str, List[Dict[str, Any]]]) -> Dict[str, Any]:
    uuid, index = parse.string(row.get("uuid")), parse.whole(row.get("index"))
    instances = parts.get(uuid or "") or parts.get(str(index), [])
    return {
        "index": index,
        "uuid": uuid,
        "name": parse.string(row.get("name")),
        "slot": parse.slot(row.get("pci.bus_id")),
        "memory_mb": parse.mib(row.get("memory.total")),
        "compute_capability": _capability(row.get("compute_cap")),
        # A container may see its part and not be told the mode of the whole.
        "mig": row.get("mig.mode.current") == "Enabled" or bool(instances),
        "instances": instances,
    }


def _capability(value: Any) -> Optional[str]:
    name = parse.string(value)
    return name if name and re.fullmatch(r"\d{1,2}\.\d", name, re.ASCII) else None


def _mig_parts(stdout: Any) -> Dict[str, List[Dict[str, Any]]]:
    """Return the MIG parts under each GPU's UUID and number, out of ``nvidia-smi -L``.

    The tool gives a profile (``3g.40gb``) and no exact size. Read as 10**9
    bytes a gigabyte, a profile is a little smaller than its part really is:
    40 GB for one of 39.5 GiB.
    """
    parts: Dict[str, List[Dict[str, Any]]] = {}
    current: Optional[List[Dict[str, Any]]] = None
    for line in parse.lines(stdout):
        gpu = re.match(r"GPU (\d+): .*\(UUID: ([^)]+)\)", line)
        part = re.match(r"\s+MIG (\S*?(\d+)gb\S*)\s+Device\s+\d+: \(UUID: ([^)]+)\)", line)
        if gpu:
            current = parts[gpu[1]] = parts[gpu[2]] = []
        elif part and current is not None:
            size = int(part[2]) * 10**9 // parse.MIB if len(part[2]) < 5 else None
            current.append({"uuid": part[3], "profile": part[1], "memory_mb": size})
    return parts


def matrix(stdout: Any) -> List[List[Any]]:
    """Return ``[a, b, link]`` rows with a < b out of ``nvidia-smi topo -m``.

    Columns are found by their heading, because a driver may put network
    cards and affinities after, and colours around them.
    """
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in parse.lines(stdout)]
    heading = next((line for line in lines if re.match(r"\s+GPU0\b", line)), "")
    columns = [int(n) for n in re.findall(r"\bGPU(\d{1,3})\b", heading)]
    found: List[List[Any]] = []
    for line in lines:
        words = line.split()
        row = re.fullmatch(r"GPU(\d{1,3})", words[0]) if words else None
        if not row or len(words) <= len(columns):
            continue
        pairs = zip(columns, words[1:])
        found += [[int(row[1]), b, link] for b, link in pairs if int(row[1]) < b]
    return found


# Bus and driver together


def _merge(cards: List[Gpu], report: Optional[Dict[str, Any]]) -> List[Gpu]:
    """Return one device for each on the bus, with the driver's words on it.

    Without a bus (WSL) the driver's list is the list. A device that only the
    driver lists, next to a bus that has others, is left out: the bus is right.
    """
    said = report["gpus"] if report else []
    source = report["source"] if report else ""
    if not cards:
        return [_add(gpus.new("nvidia", pci_slot=gpu["slot"]), gpu, source) for gpu in said]
    by_slot = {gpu["slot"]: gpu for gpu in said if gpu["slot"]}
    return [_add(card, by_slot.get(card["pci_slot"]), source) for card in cards]


def _add(gpu: Gpu, said: Optional[Dict[str, Any]], source: str) -> Gpu:
    gpu["index"] = said["index"] if said else None
    gpu["seen"] = said is not None
    if said is None:
        return gpu
    for field in ("uuid", "name", "memory_mb", "compute_capability"):
        gpus.put(gpu, field, said[field], source)
    if said["mig"]:
        gpu["mig"] = {"enabled": True, "instances": said["instances"]}
        gpu["sources"]["mig"] = source
    return gpu


def _finish(gpu: Gpu, report: Optional[Dict[str, Any]], unseen: str) -> None:
    """Decide memory class and use of one device; ``unseen`` is why the driver is silent on it."""
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
    """Tell whether a device that reports no memory is one that has none of its own.

    Only for chips known to be built so; for any other the size is unknown.
    """
    return bool(re.search(r"\bGB10\b|\bGB20[0-9]\b|\bGH200\b|Grace|Thor", gpu["name"] or ""))


def _major(version: Optional[str], otherwise: int) -> int:
    match = re.match(r"(\d{1,5})\.", version or "")
    return int(match[1]) if match else otherwise


# What is wrong


def _findings(
    capture: Dict[str, Any],
    raw: Dict[str, Any],
    found: List[Gpu],
    report: Optional[Dict[str, Any]],
    problem: Optional[str],
) -> List[Finding]:
    if problem == "timeout":
        tool = "NVML" if raw.get("nvml") else "nvidia-smi"
        return [finding("TOOL_HANGS", tool), finding("GPU_DRIVER_BROKEN", "%s hangs" % tool)]
    if report is None:
        reason = _no_driver(capture, raw, found, problem or "")
        unreadable = _unreadable(raw, problem or "")
        return [reason, finding("TOOL_OUTPUT_UNREADABLE", "nvidia-smi")] if unreadable else [reason]
    result = [_of_device(gpu, raw) for gpu in found]
    if report["complaint"]:
        result.append([finding("TOOL_REPORTED_PROBLEM", report["complaint"])])
    if len([gpu for gpu in found if gpu["usable"]]) > 1 and not report["links"]:
        result.append([finding("TOPOLOGY_UNKNOWN")])
    return [item for items in result for item in items]


def _of_device(gpu: Gpu, raw: Dict[str, Any]) -> List[Finding]:
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


def _no_driver(
    capture: Dict[str, Any], raw: Dict[str, Any], found: List[Gpu], problem: str
) -> Finding:
    """Return why the driver says nothing, the most specific reason that the capture proves."""
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


def _flavour(raw: Dict[str, Any]) -> Optional[str]:
    """Return ``open`` or ``proprietary``, as the loaded module names itself."""
    version = parse.string(raw.get("proc_version"))
    if version is None:
        return None
    return "open" if "Open Kernel Module" in version else "proprietary"


def links(capture: Dict[str, Any]) -> List[List[Any]]:
    """Return ``[index a, index b, link]`` of NVIDIA GPUs as the driver numbers them."""
    report, _ = _report(parse.mapping(capture.get("nvidia")))
    return report["links"] if report else []
