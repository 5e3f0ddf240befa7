"""The report of NVIDIA's driver, in one form, from NVML or nvidia-smi."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional, Tuple

from ..document import TypedDict
from ..types.facts import Capture, MigPart, Unchecked
from . import exits, parse


class DriverGpu(TypedDict):
    """A GPU as NVIDIA's driver reports it."""

    #: The driver's number of the GPU.
    index: Optional[int]
    uuid: Optional[str]
    name: Optional[str]
    slot: Optional[str]
    memory_mb: Optional[int]
    compute_capability: Optional[str]
    mig: bool
    instances: List[MigPart]


class DriverReport(TypedDict):
    """The report of NVIDIA's driver, from either source."""

    #: nvml or nvidia-smi.
    source: str
    driver: Optional[str]
    gpus: List[DriverGpu]
    #: ``[index, index, kind]``
    links: List[List[Any]]
    #: The meaning of its exit code beside an answer; empty if there is none.
    complaint: str


def report_of(raw: Unchecked) -> Tuple[Optional[DriverReport], Optional[str]]:
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


def _reason(query: Unchecked) -> str:
    """Return why there are no rows: the tool's message, else the meaning of its exit code."""
    shown = [line for line in parse.lines(query.get("stdout")) if not _is_header(line)]
    said = parse.excerpt({"stdout": "\n".join(shown), "stderr": query.get("stderr")})
    return said or exits.meaning(query, exits.NVIDIA) or "no answer"


def unreadable(raw: Unchecked, problem: str) -> bool:
    """Return whether nvidia-smi reports success but prints neither rows nor a known failure."""
    query = parse.mapping(parse.mapping(raw.get("smi")).get("query"))
    return query.get("rc") == 0 and not re.search(_KNOWN_FAILURES, problem, re.IGNORECASE)


_KNOWN_FAILURES = r"version mismatch|communicate with|no devices were found|not loaded"


def _nvml_answer(answer: Unchecked) -> Unchecked:
    import json

    stdout: Any = answer.get("stdout")
    try:
        return parse.mapping(json.loads(stdout or ""))
    except (ValueError, TypeError, RecursionError):
        return {}


def _nvml_problem(answer: Unchecked) -> str:
    if answer.get("problem") == "timeout":
        return "timeout"
    data = _nvml_answer(answer)
    known = exits.NVIDIA.get(parse.whole(data.get("code")) or 0)
    return known or parse.string(data.get("error")) or parse.excerpt(answer) or "no answer"


def _nvml_report(answer: Unchecked) -> Optional[DriverReport]:
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
        # The library may crash while it shuts down, after its complete answer.
        "complaint": exits.complaint("NVML", answer),
    }


def _nvml_gpu(device: Unchecked) -> DriverGpu:
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


def _nvml_links(data: Unchecked, devices: List[Unchecked]) -> List[List[Any]]:
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


def _nvlinks_between(a: Unchecked, b: Unchecked) -> int:
    """Return the number of NVLinks between two GPUs: direct ones, else through common switches."""
    to_a, to_b = parse.rows(a.get("nvlinks")), parse.rows(b.get("nvlinks"))
    direct = sum(1 for remote in to_a if remote and remote == b.get("bus_id"))
    if direct:
        return direct
    common = {r for r in to_a if isinstance(r, str)} & {r for r in to_b if isinstance(r, str)}
    return min(sum(1 for r in side if str(r) in common) for side in (to_a, to_b))


def _smi_report(query: Unchecked, smi: Unchecked) -> Optional[DriverReport]:
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
    """Return rows by field name, from the header that nvidia-smi prints.

    Lines before the header (warnings) are skipped, and so are incomplete rows and rows with another
    number of fields than the header.
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


def _smi_gpu(row: Dict[str, str], parts: Dict[str, List[MigPart]]) -> DriverGpu:
    uuid, index = parse.string(row.get("uuid")), parse.whole(row.get("index"))
    instances = parts.get(uuid or "") or parts.get(str(index), [])
    return {
        "index": index,
        "uuid": uuid,
        "name": parse.string(row.get("name")),
        "slot": parse.slot(row.get("pci.bus_id")),
        "memory_mb": parse.mib(row.get("memory.total")),
        "compute_capability": _capability(row.get("compute_cap")),
        # A container may see its part but not the mode of the whole GPU.
        "mig": row.get("mig.mode.current") == "Enabled" or bool(instances),
        "instances": instances,
    }


def _capability(value: Any) -> Optional[str]:
    name = parse.string(value)
    return name if name and re.fullmatch(r"\d{1,2}\.\d", name, re.ASCII) else None


def _mig_parts(stdout: Any) -> Dict[str, List[MigPart]]:
    """Return the MIG parts by the GPU's UUID and number, from ``nvidia-smi -L``.

    The tool reports a profile (``3g.40gb``) and no exact size. With 10**9 bytes per gigabyte, the
    profile is a little smaller than the real part: 40 GB for 39.5 GiB.
    """
    parts: Dict[str, List[MigPart]] = {}
    current: Optional[List[MigPart]] = None
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
    """Return ``[a, b, link]`` rows with a < b from ``nvidia-smi topo -m``.

    Columns are found by their heading, because a driver may add network cards and affinities after
    them, and colours.
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


def links(capture: Capture) -> List[List[Any]]:
    """Return ``[index a, index b, link]`` of NVIDIA GPUs, with the driver's numbers."""
    report, _ = report_of(parse.mapping(capture.get("nvidia")))
    return report["links"] if report else []
