"""Capture this machine without interpreting it.

The result is a capture (docs/developer/captures.md): plain data that
``interpret`` turns into the facts document here or on any other machine.
Each probe is one function of a ``Host``; one that fails is recorded and the
others go on.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, List, Optional

from ..types.facts import Capture, Unchecked
from . import probe_gpu
from .machine_reader import Host
from .schema import CAPTURE_SCHEMA

#: Filesystems that hold user files; the other mounts are views of the kernel.
_STORAGE = frozenset(
    [
        "ext2",
        "ext3",
        "ext4",
        "xfs",
        "btrfs",
        "zfs",
        "f2fs",
        "bcachefs",
        "reiserfs",
        "jfs",
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "virtiofs",
        "overlay",
        "fuseblk",
        "ntfs",
        "ntfs3",
        "vfat",
        "exfat",
        "apfs",
        "hfs",
        "tmpfs",
        "drvfs",
        "lustre",
        "ceph",
        "glusterfs",
        "fuse.gcsfuse",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.mergerfs",
        "fuse.lxcfs",
    ]
)

#: Names in the control group of process 1 that identify a container.
_CGROUP_WORDS = ("docker", "kubepods", "libpod", "lxc", "garden", "containerd", "machine.slice")


def machine(host: Host) -> Unchecked:
    """Return kernel and architecture from ``uname``."""
    name = os.uname()
    return {
        "system": name.sysname,
        "release": name.release,
        "machine": name.machine,
        "page_size": os.sysconf("SC_PAGE_SIZE"),
        "boot_id": host.read("/proc/sys/kernel/random/boot_id"),
    }


def os_release(host: Host) -> Optional[str]:
    """Return the text of os-release, which is parsed and never executed (S6)."""
    return host.read("/etc/os-release") or host.read("/usr/lib/os-release")


def init(host: Host) -> Unchecked:
    """Return the name of process 1, and whether systemd runs this machine."""
    return {
        "pid1": host.read("/proc/1/comm"),
        # The test that sd_booted(3) documents.
        "systemd": host.exists("/run/systemd/system"),
    }


def environment(host: Host) -> Unchecked:
    """Return the traces of containers and WSL."""
    cgroup = host.read("/proc/1/cgroup") or ""
    return {
        "dockerenv": host.exists("/.dockerenv"),
        "containerenv": host.exists("/run/.containerenv"),
        # systemd writes the type of its container here.
        "systemd_container": host.read("/run/systemd/container"),
        "cgroup_words": [word for word in _CGROUP_WORDS if word in cgroup],
        # With control groups v2, the only trace of a pod is its service account.
        "kubernetes": host.exists("/var/run/secrets/kubernetes.io"),
        "wsl_interop": host.exists("/proc/sys/fs/binfmt_misc/WSLInterop"),
        "dxg": host.exists("/dev/dxg"),
        # A host mounts it elsewhere, for its containers.
        "lxcfs": any(line.startswith("lxcfs /proc/") for line in host.lines("/proc/self/mounts")),
    }


#: The fields of cpuinfo with the processor's name and instruction sets.
_CPU_FIELDS = (
    "model name",
    "Model",
    "vendor_id",
    "CPU implementer",
    "CPU part",
    "flags",
    "Features",
)


def cpu(host: Host) -> Unchecked:
    """Return cpuinfo's description of the first processor, and the number of processors."""
    text = "".join(host.lines("/proc/cpuinfo"))
    blocks = [block for block in text.split("\n\n") if block.strip()]
    threads = [block for block in blocks if block.startswith("processor")]
    cores = {_core_of(block) for block in threads}
    lines = [
        line.split(":", 1) for block in blocks[:1] + blocks[-1:] for line in block.splitlines()
    ]
    rows = [(row[0].strip(), row[1].strip()) for row in lines if len(row) == 2]
    return {
        "info": {key: value for key, value in rows if key in _CPU_FIELDS},
        "threads": len(threads) or os.cpu_count(),
        "cores": len(cores) if cores and None not in cores else None,
        "allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }


def _core_of(block: str) -> Optional[str]:
    fields = [line for line in block.splitlines() if line.startswith(("physical id", "core id"))]
    return " ".join(fields) if len(fields) == 2 else None


def memory(host: Host) -> Unchecked:
    """Return the memory of the machine and every limit on this process."""
    nodes = host.names("/sys/devices/system/node") or []
    found = memory_now(host)
    found["numa_nodes"] = len([name for name in nodes if name[:4] == "node"]) or None
    found["windows_bytes"] = _windows_memory(host)
    return found


def memory_now(host: Host) -> Unchecked:
    """Return the part of ``memory`` that is fast to read."""
    wanted = ("MemTotal:", "Hugepagesize:")
    lines = (host.read("/proc/meminfo") or "").splitlines()
    return {
        "meminfo": "\n".join(line for line in lines if line.startswith(wanted)) or None,
        "cgroup_limits": _cgroup_limits(host),
    }


def _cgroup_limits(host: Host) -> List[str]:
    """Return the raw limits from this process's control group up to the root.

    A limit on any parent applies too; in a container the parents are not visible, and the root has
    the limit.
    """
    found: List[str] = []
    for line in (host.read("/proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            found += _limits_above(host, "/sys/fs/cgroup", path, "memory.max")
            found += _limits_above(host, "/sys/fs/cgroup/unified", path, "memory.max")
        elif "memory" in controllers.split(","):
            found += _limits_above(host, "/sys/fs/cgroup/memory", path, "memory.limit_in_bytes")
    return found


def _limits_above(host: Host, base: str, path: str, name: str) -> List[str]:
    parts = [part for part in path.split("/") if part not in ("", "..")]
    paths = ["/".join([base, *parts[:depth], name]) for depth in range(len(parts), -1, -1)]
    return [text for text in map(host.read, paths) if text]


def _windows_memory(host: Host) -> Optional[str]:
    """Return the memory of Windows, in WSL only; it is reported but never used (U-14)."""
    path = "/mnt/c/Windows/System32/WindowsPowerShell/v1.0/powershell.exe"
    if not host.exists("/proc/sys/fs/binfmt_misc/WSLInterop") or not host.exists(path):
        return None
    query = "(Get-CimInstance Win32_ComputerSystem).TotalPhysicalMemory"
    answer = host.program(path, ["-NoProfile", "-NonInteractive", "-Command", query])
    return None if answer["problem"] else str(answer["stdout"]).strip()


#: Mounts below these belong to the kernel, to services or to containers.
_FOREIGN_MOUNTS = (
    "/proc/",
    "/sys/",
    "/dev/",
    "/run/",
    "/snap/",
    "/var/lib/docker/",
    "/var/lib/containers/",
    "/var/lib/kubelet/",
    "/var/snap/",
)


def mounts(host: Host) -> List[List[str]]:
    """Return device, path and type of every mount that can hold our files."""
    lines = host.lines("/proc/self/mounts")
    rows = [line.split(" ")[:3] for line in lines if line.count(" ") >= 2]
    ours = [row for row in rows if not (row[1] + "/").startswith(_FOREIGN_MOUNTS)]
    return [row for row in ours if row[2] in _STORAGE]


def darwin(host: Host) -> Optional[Dict[str, Optional[str]]]:
    """Return chip and memory of a Mac; None elsewhere."""
    if os.uname().sysname != "Darwin":
        return None
    keys = ("machdep.cpu.brand_string", "hw.memsize", "hw.physicalcpu", "hw.logicalcpu")
    answers = {key: host.tool("sysctl", ["-n", key]) for key in keys}
    found: Dict[str, Optional[str]] = {
        key: (answer["stdout"].strip() or None) if answer else None
        for key, answer in answers.items()
    }
    version = host.tool("sw_vers", ["-productVersion"])
    found["version"] = (version["stdout"].strip() or None) if version else None
    return found


#: The probes, in their order; add or replace one to change what ``gather`` does.
PROBES: Dict[str, Callable[[Host], Any]] = {
    "machine": machine,
    "os_release": os_release,
    "init": init,
    "environment": environment,
    "cpu": cpu,
    "memory": memory,
    "mounts": mounts,
    "darwin": darwin,
    **probe_gpu.PROBES,
}


def gather(
    host: Optional[Host] = None, probes: Optional[Dict[str, Callable[[Host], Any]]] = None
) -> Unchecked:
    """Return a capture of this machine. Never raises: a failed probe is part of the result."""
    host = host or Host()
    capture: Capture = {"schema": CAPTURE_SCHEMA, "python": sys.version.split()[0]}
    errors: Dict[str, str] = {}
    for name, probe in (probes or PROBES).items():
        try:
            capture[name] = probe(host)
        except Exception as error:  # any failure of a probe becomes a finding
            errors[name] = "%s: %s" % (type(error).__name__, error)
    capture["errors"] = errors
    return capture
