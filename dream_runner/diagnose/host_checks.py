"""Checks of the host itself: disk, memory, hardware, clock, certificates and packages."""

from __future__ import annotations

import calendar
import contextlib
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..module_utils.dream_core.files import json_file
from ..module_utils.dream_core.packages import installed
from ..module_utils.dream_core.system import filesystems, kernel
from .finding import ERROR, WARNING, Finding, Place

#: Warn below this: logs and state may soon fill the disk.
_LOW_DISK_BYTES = 1_000_000_000


_LOW_INODES = 1_000


_LOW_MEMORY_MB = 200


#: This program was written in 2026, so an earlier clock is wrong.
_EARLIEST_CLOCK = 1_767_225_600


#: Allowed difference; smaller ones are normal.
_CLOCK_SLACK_SECONDS = 3600


_NVIDIA, _AMD = "0x10de", "0x1002"


def disk(place: Place) -> Iterator[Finding]:
    """Find filesystems that are read-only, or short of space or inodes."""
    folders = {os.path.dirname(item["path"]) for item in place.resources("model", "data")}
    for path in sorted({place.state_dir, *place.install_dirs(), *folders}):
        filesystem = filesystems.filesystem(path)
        if filesystem["read_only"]:
            yield Finding("disk", ERROR, f"{path} is read-only", "see the kernel log: dmesg")
        free = filesystem["free_bytes"]
        if free is not None and free < _LOW_DISK_BYTES:
            evidence = f"{path}: only {free / 1e6:.1f} MB free"
            yield Finding("disk", WARNING, evidence, "free some disk space")
        status = os.statvfs(filesystems.existing_parent(path))
        if status.f_files > 0 and status.f_favail < _LOW_INODES:
            evidence = f"{path}: only {status.f_favail} inodes free"
            yield Finding("disk-inodes", WARNING, evidence, "delete some files")


def memory(place: Place) -> Iterator[Finding]:
    """Report too little available memory."""
    available = kernel.available_memory_mb(place.path("proc/meminfo"))
    if available is not None and available < _LOW_MEMORY_MB:
        evidence = f"only {available} MB of memory are available"
        yield Finding("memory", WARNING, evidence, "stop other programs, or use a smaller --model")


def hardware(place: Place) -> Iterator[Finding]:
    """Report the problems of the last hardware detection."""
    facts, why = json_file.read_json(os.path.join(place.state_dir, "facts.json"))
    if why:
        yield Finding("hardware", WARNING, f"facts.json: {why}", "run 'dream-runner facts --fresh'")
    document = facts.get("facts", facts) if isinstance(facts, dict) else {}
    for item in document.get("findings") or []:
        if item.get("severity") in (WARNING, ERROR):
            evidence = "{}: {}".format(item.get("id"), item.get("what"))
            yield Finding("hardware", WARNING, evidence, str(item.get("hint") or ""))


def gpu(place: Place) -> Iterator[Finding]:
    """Report missing cards and drivers."""
    vendors = {vendor for kind, vendor in _pci(place) if kind.startswith(("0x03", "0x12"))}
    wants = str(place.receipts.get("detection", {}).get("facts", {}).get("backend") or "")
    if wants == "nvidia" and _NVIDIA not in vendors and not os.path.exists(place.path("dev/dxg")):
        evidence = "installed for an NVIDIA GPU, but no such card was found"
        yield Finding("gpu", ERROR, evidence, "check the card, then run 'dream-runner install'")
    if _NVIDIA in vendors and not os.path.exists(place.path("proc/driver/nvidia/version")):
        severity = ERROR if wants == "nvidia" else WARNING
        evidence = "the kernel driver of the NVIDIA GPU is not loaded"
        remedy = "install or load the driver (modprobe nvidia), then run 'dream-runner install'"
        yield Finding("gpu-driver", severity, evidence, remedy)
    if wants == "amd" and not os.path.exists(place.path("dev/kfd")):
        evidence = "installed for an AMD GPU, but /dev/kfd is missing"
        yield Finding("gpu-driver", ERROR, evidence, "load the driver as root: modprobe amdgpu")


def _pci(place: Place) -> Iterator[tuple[str, str]]:
    """Yield class and vendor of every PCI device."""
    folder = place.path("sys/bus/pci/devices")
    for name in filesystems.names_in(folder):
        with contextlib.suppress(OSError):
            yield _word(folder, name, "class"), _word(folder, name, "vendor")


def _word(*names: str) -> str:
    with open(os.path.join(*names), encoding="ascii", errors="replace") as handle:
        return handle.read().strip()


def clock(place: Place) -> Iterator[Finding]:
    """Report a clock that is wrong or was set back after a phase ended."""
    remedy = "set the clock ('timedatectl set-ntp true'): downloads need the correct date"
    said = time.strftime("%Y-%m-%d", time.gmtime(place.now))
    if place.now < _EARLIEST_CLOCK:
        yield Finding("clock", ERROR, f"the clock shows {said}", remedy)
    for phase, document in place.receipts.items():
        ended = _seconds(document.get("finished_at"))
        if ended > place.now + _CLOCK_SLACK_SECONDS:
            evidence = "phase %s ended at %s, but the clock shows %s: it was set back"
            evidence %= (phase, document["finished_at"], said)
            yield Finding("clock", WARNING, evidence, remedy)
            return


def _seconds(text: Any) -> float:
    try:
        return calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return 0.0


def certificates(place: Place) -> Iterator[Finding]:
    """Report missing or expired certificate authorities."""
    remedy = "install the package ca-certificates; behind an inspecting proxy, set its CA file"
    trusted = ssl.create_default_context().get_ca_certs()
    if not trusted and not kernel.has_certificates():
        yield Finding("certificates", WARNING, "no certificate authority is trusted", remedy)
    usable = [item for item in trusted if _until(item) > place.now]
    if trusted and not usable:
        evidence = "all certificate authorities have expired, or the clock is wrong"
        yield Finding("certificates", ERROR, evidence, remedy)


def _until(certificate: Mapping[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def packages(place: Place) -> Iterator[Finding]:
    """Report an interrupted dpkg."""
    folder = place.path("var/lib/dpkg")
    # A running dpkg is normal.
    if installed.is_dpkg_interrupted(folder) and not _is_locked(os.path.join(folder, "lock")):
        evidence = "dpkg was interrupted"
        yield Finding("packages", ERROR, evidence, "run as root: dpkg --configure -a")


def _is_locked(path: str) -> bool:
    """Tell whether a process has locked a file, according to /proc/locks."""
    with contextlib.suppress(OSError):
        inode = f":{os.stat(path).st_ino} "
        with open("/proc/locks", encoding="ascii") as lines:
            return any(inode in line for line in lines)
    return False
