"""Read operating system, memory, processor and mounts from a capture."""

from __future__ import annotations

import re
from typing import Any, Dict, List, Optional

from ..types.facts import Capture, Cpu, Facts, HostFinding, Init, Memory, Mount, Node, Os, Unchecked
from . import parse
from .finding_texts import finding

_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

_FAMILIES = {
    "debian": ("debian", "ubuntu", "raspbian", "linuxmint", "pop", "kali"),
    "redhat": ("rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn"),
    "arch": ("arch", "manjaro", "endeavouros", "cachyos"),
    "suse": ("suse", "opensuse", "opensuse-leap", "opensuse-tumbleweed", "sles"),
    "alpine": ("alpine",),
    "void": ("void",),
}

#: Instruction sets that engines are built for; the other flags are not used.
_FLAGS = frozenset(
    [
        "sse4_2",
        "avx",
        "avx2",
        "f16c",
        "fma",
        "bmi2",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",
        "avx512_bf16",
        "avx_vnni",
        "amx_tile",
        "amx_int8",
        "amx_bf16",
        "asimd",
        "asimddp",
        "asimdhp",
        "bf16",
        "i8mm",
        "sve",
        "sve2",
    ]
)


def interpret(capture: Capture) -> Facts:
    """Return the facts document without its accelerators."""
    machine = parse.mapping(capture.get("machine"))
    return {
        "os": _os(capture, machine),
        "arch": _ARCHITECTURES.get(str(machine.get("machine")), "unknown"),
        "page_size_bytes": parse.whole(machine.get("page_size")) or None,
        "init": _init(parse.mapping(capture.get("init"))),
        "cpu": _cpu(capture),
        "memory": _memory(capture),
        "mounts": _mounts(capture.get("mounts")),
        "secure_boot": _secure_boot(capture),
        "devices": _nodes(capture.get("nodes")),
    }


def os_release(body: Any) -> Dict[str, str]:
    """Return the fields of os-release, parsed and never executed (S6)."""
    rows = [line.split("=", 1) for line in parse.lines(body) if "=" in line]
    return {key.strip(): _unquoted(value.strip()) for key, value in rows}


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1]
    return re.sub(r'\\(["$`\\])', r"\1", value)


def _os(capture: Capture, machine: Unchecked) -> Os:
    fields = os_release(capture.get("os_release"))
    like = fields.get("ID_LIKE", "").lower().split()
    name = fields.get("ID", "").lower() or None
    if machine.get("system") == "Darwin":
        name = "macos"
    return {
        "id": name,
        "id_like": like,
        "version_id": parse.string(fields.get("VERSION_ID")),
        "pretty_name": parse.string(fields.get("PRETTY_NAME")),
        "family": _family([name or "", *like]),
        "kernel": parse.string(machine.get("release")),
        "wsl": _wsl(machine),
        "container": container(capture),
    }


def _family(names: List[str]) -> str:
    for name in names:
        for family, members in _FAMILIES.items():
            if name in members:
                return family
    return "unknown"


def _wsl(machine: Unchecked) -> bool:
    """Detect WSL by its kernel's name; a container in WSL has the same kernel and GPUs."""
    release = str(machine.get("release")).lower()
    return "microsoft" in release or "wsl" in release


def is_virtual(capture: Capture) -> bool:
    """Detect a virtual machine by the flag that every x86 hypervisor sets."""
    fields = parse.mapping(parse.mapping(capture.get("cpu")).get("info"))
    return "hypervisor" in str(fields.get("flags") or "").split()


def container(capture: Capture) -> Optional[str]:
    """Return the kind of container this is (docker, podman, lxc, kubernetes...), or None."""
    traces = parse.mapping(capture.get("environment"))
    words = [str(word) for word in parse.rows(traces.get("cgroup_words"))]
    if traces.get("kubernetes") is True or "kubepods" in words:
        return "kubernetes"
    told = parse.string(traces.get("systemd_container"))
    if told and told != "wsl":
        return told
    if traces.get("containerenv") is True or "libpod" in words:
        return "podman"
    if traces.get("dockerenv") is True or "docker" in words:
        return "docker"
    if "lxc" in words or traces.get("lxcfs") is True:
        return "lxc"
    return "other" if _on_layers(capture) else None


def _on_layers(capture: Capture) -> bool:
    """Detect other kinds of containers: a layered root filesystem and no real init.

    A live system also has a layered root, but a real init.
    """
    roots = [mount["fstype"] for mount in _mounts(capture.get("mounts")) if mount["path"] == "/"]
    pid1 = parse.mapping(capture.get("init")).get("pid1")
    return roots == ["overlay"] and pid1 not in ("systemd", "init", None)


def _init(raw: Unchecked) -> Init:
    pid1 = parse.string(raw.get("pid1"))
    # /run/systemd/system alone may be a leftover of an image.
    booted = raw.get("systemd") is True and pid1 in ("systemd", "init", None)
    return {"system": "systemd" if booted else "other", "pid1": pid1}


def _cpu(capture: Capture) -> Cpu:
    mac = parse.mapping(capture.get("darwin"))
    if mac:
        return {
            "model": parse.string(mac.get("machdep.cpu.brand_string")),
            "cores": parse.whole(mac.get("hw.physicalcpu")),
            "threads": parse.whole(mac.get("hw.logicalcpu")),
            "allowed": None,
            "flags": [],
        }
    raw = parse.mapping(capture.get("cpu"))
    fields = parse.mapping(raw.get("info"))
    flags = str(fields.get("flags") or fields.get("Features") or "").split()
    return {
        "model": parse.string(fields.get("model name") or fields.get("Model")),
        "cores": parse.whole(raw.get("cores")) or None,
        "threads": parse.whole(raw.get("threads")) or None,
        "allowed": parse.whole(raw.get("allowed")) or None,
        "flags": sorted(_FLAGS.intersection(flags)),
    }


def _memory(capture: Capture) -> Memory:
    """Return the machine's memory, its tightest limit and the usable memory, in MiB."""
    raw = parse.mapping(capture.get("memory"))
    mac = parse.mapping(capture.get("darwin"))
    total = _meminfo_mb(raw.get("meminfo")) or parse.bytes_to_mb(mac.get("hw.memsize"))
    limits = [parse.bytes_to_mb(value) for value in parse.rows(raw.get("cgroup_limits"))]
    # Without a limit the kernel writes "max" (v2) or a number beyond all memory (v1).
    binding = [limit for limit in limits if limit and total and limit < total]
    limit = min(binding) if binding else None
    return {
        "total_mb": total,
        "limit_mb": limit,
        "usable_mb": limit or total,
        "windows_mb": parse.bytes_to_mb(raw.get("windows_bytes")),
        "numa_nodes": parse.whole(raw.get("numa_nodes")) or None,
        "source": "meminfo" if raw.get("meminfo") else "sysctl" if mac else None,
    }


def _meminfo_mb(body: Any) -> Optional[int]:
    for line in parse.lines(body):
        match = re.fullmatch(r"MemTotal:\s+([0-9]{1,15}) kB", line.strip(), re.ASCII)
        if match:
            return int(match[1]) // 1024 or None
    return None


def _mounts(value: Any) -> List[Mount]:
    """Return one entry per path: a later mount hides an earlier one."""
    found: Dict[str, Mount] = {}
    for row in parse.rows(value):
        if isinstance(row, list) and len(row) == 3 and all(isinstance(part, str) for part in row):
            device, path, kind = row
            found[path] = {"path": _octal(path), "fstype": kind, "device": _octal(device)}
    return list(found.values())


def _octal(name: str) -> str:
    """Decode the octal escapes of the mount table."""
    return re.sub(r"\\([0-3][0-7]{2})", lambda m: chr(int(m[1], 8)), name)


def _secure_boot(capture: Capture) -> Optional[bool]:
    raw = parse.mapping(capture.get("secure_boot"))
    if raw.get("efi") is False:
        return False
    enabled = raw.get("enabled")
    return enabled if isinstance(enabled, bool) else None


def node_paths(capture: Capture) -> List[str]:
    """Return the device nodes that are devices, not files or directories in their place."""
    nodes = parse.mappings(capture.get("nodes"))
    return [str(node.get("path")) for node in nodes if node.get("device") is not False]


def _nodes(value: Any) -> List[Node]:
    return [
        {"path": path, "mode": node.get("mode"), "usable": node.get("usable") is True}
        for node in parse.rows(value)
        if isinstance(node, dict)
        for path in [node.get("path")]
        if isinstance(path, str)
    ]


def findings(base: Facts) -> List[HostFinding]:
    """Return the findings about memory and page size."""
    found: List[HostFinding] = []
    memory = base["memory"]
    if memory["limit_mb"]:
        seen = "%d of %d MB" % (memory["limit_mb"], memory["total_mb"] or 0)
        found.append(finding("MEMORY_LIMITED", seen))
    windows, total = memory["windows_mb"], memory["total_mb"]
    if base["os"]["wsl"] and windows and total and total < windows * 0.95:
        found.append(finding("WSL_MEMORY_LIMITED", "%d of %d MB" % (total, windows)))
    page_bytes = base["page_size_bytes"] or 0
    if page_bytes > 4096:
        found.append(finding("LARGE_PAGES", "%d bytes" % page_bytes))
    return found
