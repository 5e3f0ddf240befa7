"""A digest of everything that the facts depend on, cheap enough to compute in every run.

It covers boot, kernel, display devices, drivers, memory and its limit, and os-release. While none
of them changes, the facts stay the same.
"""

from __future__ import annotations

import hashlib
import json
from typing import List, Optional

from ..types.facts import Unchecked
from . import probe_gpu, probe_system
from .machine_reader import Host
from .schema import SCHEMA

_TOOLS = ("nvidia-smi", "amd-smi", "rocm-smi")


def fingerprint(host: Optional[Host] = None) -> str:
    """Return the digest of the current machine. Only reads files and starts no program."""
    host = host or Host()
    text = json.dumps([SCHEMA, _seen(host)], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _seen(host: Host) -> Unchecked:
    return {
        "machine": probe_system.machine(host),
        "os_release": probe_system.os_release(host),
        "memory": probe_system.memory_now(host),
        "init": probe_system.init(host),
        "pci": _devices(host),
        "modules": probe_gpu.modules(host),
        "nvidia": host.read("/proc/driver/nvidia/version"),
        "nodes": probe_gpu.nodes(host),
        "tools": [host.find_tool(name) for name in _TOOLS],
    }


def _devices(host: Host) -> List[List[Optional[str]]]:
    names = ("vendor", "device", "driver")
    return [[device["slot"], *map(device.get, names)] for device in probe_gpu.pci_ids(host)]
