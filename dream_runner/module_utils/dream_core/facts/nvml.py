"""Query NVIDIA's management library (NVML) about the GPUs, in a separate process.

Run as a program with the library's path as its only argument; prints one JSON object. It is a
program because a hung driver hangs its caller, and because a broken library may crash its process.
Functions, structures and numbers are those of NVML's public header (nvml.h, API version 12).
"""

from __future__ import annotations

import ctypes
import json
import sys
from typing import Any, Dict, List, Optional

#: Where the driver installs the library; WSL has its own path.
LIBRARIES = (
    "/usr/lib/wsl/lib/libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib/aarch64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
    "/usr/lib/libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/run/opengl-driver/lib/libnvidia-ml.so.1",
)

_TEXT = 96
_MAX_LINKS = 18
#: nvmlGpuTopologyLevel_t in the terms of ``nvidia-smi topo -m``.
_LEVELS = {0: "PIX", 10: "PIX", 20: "PXB", 30: "PHB", 40: "NODE", 50: "SYS"}


def source() -> str:
    """Return the source text of this file, from a directory or from Ansible's zip file."""
    import pkgutil

    data = pkgutil.get_data(__package__, "nvml.py")
    if data is None:
        raise OSError("the source of nvml.py was not found")
    return data.decode("utf-8")


class _Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in ("total", "free", "used")]


class _Pci(ctypes.Structure):
    _fields_ = [
        ("old_bus_id", ctypes.c_char * 16),
        ("domain", ctypes.c_uint),
        ("bus", ctypes.c_uint),
        ("device", ctypes.c_uint),
        ("device_id", ctypes.c_uint),
        ("subsystem_id", ctypes.c_uint),
        ("bus_id", ctypes.c_char * 32),
    ]


class Library:
    """The required NVML calls; each returns None if NVML refuses."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library

    def call(self, name: str, *arguments: Any) -> int:
        """Return NVML's code for a call; 13 (function not found) for an old library."""
        function = getattr(self._library, name, None)
        return 13 if function is None else int(function(*arguments))

    def text(self, name: str, *arguments: Any) -> Optional[str]:
        """Return the text that a call writes into a buffer."""
        buffer = ctypes.create_string_buffer(_TEXT)
        code = self.call(name, *arguments, buffer, ctypes.c_uint(_TEXT))
        return buffer.value.decode("utf-8", "replace") if code == 0 else None

    def numbers(self, name: str, device: Any, count: int = 1) -> Optional[List[int]]:
        """Return the ``count`` unsigned numbers that a call writes."""
        values = [ctypes.c_uint() for _ in range(count)]
        code = self.call(name, device, *[ctypes.byref(value) for value in values])
        return [value.value for value in values] if code == 0 else None

    def memory(self, device: Any) -> Optional[int]:
        """Return the memory of a device in bytes; None for unified memory."""
        memory = _Memory()
        code = self.call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
        return memory.total if code == 0 else None

    def bus_id(self, device: Any) -> Optional[str]:
        """Return the PCI address of a device as NVML writes it."""
        pci = _Pci()
        code = self.call("nvmlDeviceGetPciInfo_v3", device, ctypes.byref(pci))
        return pci.bus_id.decode("ascii", "replace") if code == 0 else None

    def handle(self, name: str, *arguments: Any) -> Optional[ctypes.c_void_p]:
        """Return the device handle that a call writes."""
        device = ctypes.c_void_p()
        return device if self.call(name, *arguments, ctypes.byref(device)) == 0 else None


def _device(nvml: Library, index: int) -> Dict[str, object]:
    device = nvml.handle("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index))
    if device is None:
        return {"index": index}
    capability = nvml.numbers("nvmlDeviceGetCudaComputeCapability", device, 2)
    mig = nvml.numbers("nvmlDeviceGetMigMode", device, 2)
    # A container may see its part but not the mode of the whole GPU.
    parts = _instances(nvml, device) if mig is None or mig[0] else []
    return {
        "index": index,
        "uuid": nvml.text("nvmlDeviceGetUUID", device),
        "name": nvml.text("nvmlDeviceGetName", device),
        "bus_id": nvml.bus_id(device),
        "memory_bytes": nvml.memory(device),
        "compute_capability": "%d.%d" % tuple(capability) if capability else None,
        "mig": bool(mig[0]) if mig else bool(parts) or None,
        "mig_instances": parts,
        "nvlinks": _nvlinks(nvml, device),
    }


def _instances(nvml: Library, device: Any) -> List[Dict[str, object]]:
    count = nvml.numbers("nvmlDeviceGetMaxMigDeviceCount", device) or [0]
    found: List[Dict[str, object]] = []
    for index in range(count[0]):
        part = nvml.handle("nvmlDeviceGetMigDeviceHandleByIndex", device, ctypes.c_uint(index))
        if part is not None:
            found.append(
                {
                    "uuid": nvml.text("nvmlDeviceGetUUID", part),
                    "name": nvml.text("nvmlDeviceGetName", part),
                    "memory_bytes": nvml.memory(part),
                }
            )
    return found


def _nvlinks(nvml: Library, device: Any) -> List[Optional[str]]:
    """Return the remote PCI address of each active NVLink."""
    remotes: List[Optional[str]] = []
    for link in range(_MAX_LINKS):
        state = ctypes.c_uint()
        number = ctypes.c_uint(link)
        code = nvml.call("nvmlDeviceGetNvLinkState", device, number, ctypes.byref(state))
        if code != 0 or state.value != 1:
            continue
        pci = _Pci()
        code = nvml.call("nvmlDeviceGetNvLinkRemotePciInfo_v2", device, number, ctypes.byref(pci))
        remotes.append(pci.bus_id.decode("ascii", "replace") if code == 0 else None)
    return remotes


def _levels(nvml: Library, count: int) -> List[List[Any]]:
    """Return the PCI distance of each pair of devices."""
    number = ctypes.c_uint
    devices = [nvml.handle("nvmlDeviceGetHandleByIndex_v2", number(i)) for i in range(count)]
    rows = []
    for a in range(count):
        for b in range(a + 1, count):
            level = ctypes.c_uint()
            code = nvml.call(
                "nvmlDeviceGetTopologyCommonAncestor", devices[a], devices[b], ctypes.byref(level)
            )
            if code == 0 and level.value in _LEVELS:
                rows.append([a, b, _LEVELS[level.value]])
    return rows


def ask(path: str) -> Dict[str, object]:
    """Return ``{code, error, driver, devices, levels}``; ``code`` 0 means success."""
    nvml = Library(ctypes.CDLL(path))
    code = nvml.call("nvmlInit_v2")
    if code != 0:
        return {"code": code, "error": "NVML error %d" % code}
    driver = nvml.text("nvmlSystemGetDriverVersion")
    count = ctypes.c_uint()
    code = nvml.call("nvmlDeviceGetCount_v2", ctypes.byref(count))
    devices = [_device(nvml, index) for index in range(count.value)]
    levels = _levels(nvml, count.value)
    nvml.call("nvmlShutdown")
    return {"code": code, "driver": driver, "devices": devices, "levels": levels}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(ask(sys.argv[1])))
