"""The findings about a host's hardware, by ids that never change.

The texts are for the user; a finding adds the details of this host.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from ..types.facts import HostFinding

#: id -> (severity, meaning, what to do)
CATALOGUE: Dict[str, Tuple[str, str, str]] = {
    "PROBE_FAILED": (
        "warning",
        "a part of the hardware detection failed",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "TOOL_HANGS": (
        "warning",
        "a vendor tool did not answer in time",
        "this often means a hung driver: check the kernel log (dmesg), then reboot",
    ),
    "TOOL_OUTPUT_UNREADABLE": (
        "warning",
        "the output of a vendor tool cannot be read",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "TOOL_REPORTED_PROBLEM": (
        "warning",
        "a vendor tool listed the GPUs but also reported a problem; the GPUs are used",
        "watch the kernel log (dmesg) for errors of this GPU",
    ),
    "GPU_DRIVER_BROKEN": (
        "error",
        "this host has an NVIDIA GPU, but its driver does not work",
        "repair or reinstall the driver, reboot, then run again",
    ),
    "GPU_DRIVER_MISSING": (
        "error",
        "this host has an NVIDIA GPU, but its driver is not installed",
        "install NVIDIA's driver (570 or newer), reboot, then run again",
    ),
    "DRIVER_MISMATCH": (
        "error",
        "NVIDIA's kernel module and library have different versions",
        "the driver was updated while it was running: reboot, then run again",
    ),
    "DRIVER_TOO_OLD": (
        "error",
        "NVIDIA's driver is too old for the engine's CUDA runtime",
        "install driver 570 or newer, reboot, then run again",
    ),
    "STALE_NVIDIA_SMI": (
        "info",
        "nvidia-smi is installed, but this machine has no NVIDIA GPU",
        "no action needed; the tool is a leftover",
    ),
    "NOUVEAU_IN_USE": (
        "error",
        "the NVIDIA GPU uses the nouveau driver, which cannot compute",
        "install NVIDIA's driver, which disables nouveau, then reboot",
    ),
    "SECURE_BOOT_BLOCKS_MODULE": (
        "error",
        "Secure Boot is on and the installed NVIDIA module is not loaded",
        "enrol the module's signing key (mokutil --import), or turn Secure Boot off",
    ),
    "BLACKWELL_NEEDS_OPEN_MODULE": (
        "error",
        "this NVIDIA GPU works only with the open kernel modules",
        "install the open kernel modules (nvidia-open), reboot, then run again",
    ),
    "NVIDIA_RUNS_UNSEEN": (
        "warning",
        "NVIDIA's driver does not report a GPU that is on the PCI bus",
        "check the kernel log: dmesg | grep NVRM",
    ),
    "NOT_IN_CONTAINER": (
        "info",
        "the machine has an NVIDIA GPU that was not given to this container",
        "start the container with the GPU (--gpus all), or install on the machine itself",
    ),
    "RESERVED_FOR_GUESTS": (
        "info",
        "a GPU is bound to vfio and reserved for virtual machines; it is not used",
        "to use it here, bind it to its own driver",
    ),
    "MIG_ENABLED": (
        "info",
        "an NVIDIA GPU is split by MIG; a program can use only one of its parts",
        "to use the whole GPU, turn MIG off: nvidia-smi -mig 0",
    ),
    "MIG_NO_INSTANCES": (
        "warning",
        "an NVIDIA GPU is in MIG mode but has no usable instance",
        "create instances (nvidia-smi mig -cgi), or turn MIG off (nvidia-smi -mig 0)",
    ),
    "VRAM_TOO_SMALL": (
        "warning",
        "a GPU has too little memory for any model; it is not used",
        "the CPU is used instead",
    ),
    "VRAM_UNKNOWN": (
        "warning",
        "the memory of a GPU could not be determined; it is not used",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "NO_KFD": (
        "error",
        "this host has an AMD GPU, but /dev/kfd is missing",
        "load the amdgpu driver; for a container, pass through /dev/kfd and /dev/dri",
    ),
    "NO_RENDER_NODE": (
        "error",
        "this host has a GPU, but no /dev/dri/renderD* device",
        "load the GPU's driver; for a container, pass through /dev/dri",
    ),
    "NODE_NOT_PERMITTED": (
        "warning",
        "this user cannot open a GPU's device node",
        "add the user to the groups render and video, then log in again",
    ),
    "GFX_UNKNOWN": (
        "warning",
        "the gfx target of an AMD GPU is unknown; the GPU is not used",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "GFX_UNSUPPORTED": (
        "warning",
        "the engine does not support this AMD GPU; it is not used",
        "the CPU is used instead",
    ),
    "INTEGRATED_GPU_UNUSED": (
        "info",
        "an integrated GPU shares the CPU's memory and is not faster; it is not used",
        "no action needed",
    ),
    "LEVEL_ZERO_MISSING": (
        "warning",
        "this host has an Intel GPU, but the Level Zero loader is not installed",
        "install libze1 (or level-zero); only the native profile needs it",
    ),
    "GPU_UNKNOWN": (
        "warning",
        "this host has an unknown graphics device; it is not used",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "OTHER_GPU_IDLE": (
        "info",
        "GPUs of another vendor are usable too; an engine uses one vendor at a time",
        "to use the other one, choose it with --gpu",
    ),
    "JETSON_UNSUPPORTED": (
        "info",
        "this is a Jetson; its GPU needs images that are not in the catalogue",
        "the CPU is used instead",
    ),
    "MEMORY_LIMITED": (
        "info",
        "a control group limits the memory to less than the machine has",
        "dream-runner uses the limit as the available memory",
    ),
    "WSL_MEMORY_LIMITED": (
        "info",
        "this WSL machine can use only part of the memory of Windows",
        "to use more, raise memory= in .wslconfig",
    ),
    "LARGE_PAGES": (
        "info",
        "the kernel uses memory pages larger than 4 KiB; some services do not run with them",
        "no action needed; such services are left out",
    ),
    "TOPOLOGY_UNKNOWN": (
        "info",
        "the connection between the GPUs could not be determined",
        "dream-runner assumes the slowest link",
    ),
}

#: The findings that prove an NVIDIA GPU, even if the PCI bus shows none (WSL).
NVIDIA_UNUSABLE = frozenset(
    [
        "GPU_DRIVER_BROKEN",
        "GPU_DRIVER_MISSING",
        "DRIVER_MISMATCH",
        "DRIVER_TOO_OLD",
        "NOUVEAU_IN_USE",
        "SECURE_BOOT_BLOCKS_MODULE",
        "BLACKWELL_NEEDS_OPEN_MODULE",
        "NOT_IN_CONTAINER",
    ]
)

_RANK = {"error": 0, "warning": 1, "info": 2}


def finding(name: str, seen: str = "", device: str = "") -> HostFinding:
    """Return a finding: its meaning, the details, and what to do."""
    severity, what, hint = CATALOGUE[name]
    text = "%s (%s)" % (what, seen) if seen else what
    return {"id": name, "severity": severity, "what": text, "hint": hint, "device": device or None}


def ordered(found: List[HostFinding]) -> List[HostFinding]:
    """Return each finding once, the worst first, in a fixed order."""
    unique = {(f["id"], f["device"] or "", f["what"]): f for f in found}
    return [unique[key] for key in sorted(unique, key=lambda k: (_RANK[unique[k]["severity"]], k))]
