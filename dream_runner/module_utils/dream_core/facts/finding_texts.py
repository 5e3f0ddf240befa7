"""What can be wrong with a host's hardware, each under an id that never changes.

The texts are for the user; a finding adds what was seen on this host.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from ..types.facts import HostFinding

#: id -> (severity, what it means, what to do)
CATALOGUE: Dict[str, Tuple[str, str, str]] = {
    "PROBE_FAILED": (
        "warning",
        "a part of the hardware detection failed",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "TOOL_HANGS": (
        "warning",
        "a vendor tool did not answer in time",
        "a hanging tool often means a wedged driver: see the kernel log (dmesg), then reboot",
    ),
    "TOOL_OUTPUT_UNREADABLE": (
        "warning",
        "a vendor tool answered something that cannot be understood",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "TOOL_REPORTED_PROBLEM": (
        "warning",
        "a vendor tool listed the GPUs and reported a problem; they are used",
        "watch the kernel log (dmesg) for errors of this GPU",
    ),
    "GPU_DRIVER_BROKEN": (
        "error",
        "there is an NVIDIA GPU, but its driver does not work",
        "repair or reinstall the driver, reboot, then run again",
    ),
    "GPU_DRIVER_MISSING": (
        "error",
        "there is an NVIDIA GPU, but no driver for it is installed",
        "install NVIDIA's driver (570 or newer), reboot, then run again",
    ),
    "DRIVER_MISMATCH": (
        "error",
        "NVIDIA's kernel module and library are of different versions",
        "the driver was updated while running: reboot, then run again",
    ),
    "DRIVER_TOO_OLD": (
        "error",
        "NVIDIA's driver is older than the engine's CUDA runtime needs",
        "install driver 570 or newer, reboot, then run again",
    ),
    "STALE_NVIDIA_SMI": (
        "info",
        "nvidia-smi is installed, but this machine has no NVIDIA GPU",
        "nothing needs to be done; the tool is a leftover",
    ),
    "NOUVEAU_IN_USE": (
        "error",
        "the NVIDIA GPU is driven by nouveau, which cannot compute",
        "install NVIDIA's driver, which disables nouveau, then reboot",
    ),
    "SECURE_BOOT_BLOCKS_MODULE": (
        "error",
        "Secure Boot is on and the installed NVIDIA module is not loaded",
        "enrol the module's signing key (mokutil --import), or turn Secure Boot off",
    ),
    "BLACKWELL_NEEDS_OPEN_MODULE": (
        "error",
        "this NVIDIA GPU works with the open kernel module only",
        "install the open flavour of the driver (nvidia-open), reboot, then run again",
    ),
    "NVIDIA_RUNS_UNSEEN": (
        "warning",
        "NVIDIA's driver does not report a GPU that is on the PCI bus",
        "see the kernel log (dmesg | grep NVRM) for what stopped it",
    ),
    "NOT_IN_CONTAINER": (
        "info",
        "the machine has an NVIDIA GPU that was not given to this container",
        "start the container with the GPU (--gpus all), or install on the machine itself",
    ),
    "RESERVED_FOR_GUESTS": (
        "info",
        "a GPU is bound to vfio and so reserved for virtual machines; it is not used",
        "bind it to its own driver to use it here",
    ),
    "MIG_ENABLED": (
        "info",
        "an NVIDIA GPU is split by MIG; a program can use one of its parts only",
        "turn MIG off to use the whole GPU: nvidia-smi -mig 0",
    ),
    "MIG_NO_INSTANCES": (
        "warning",
        "an NVIDIA GPU is in MIG mode but has no part that a program could use",
        "make instances (nvidia-smi mig -cgi), or turn MIG off (nvidia-smi -mig 0)",
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
        "there is an AMD GPU, but /dev/kfd is missing",
        "load amdgpu; in a container, pass /dev/kfd and /dev/dri through",
    ),
    "NO_RENDER_NODE": (
        "error",
        "there is a GPU, but no /dev/dri/renderD* device",
        "load the GPU's driver; in a container, pass /dev/dri through",
    ),
    "NODE_NOT_PERMITTED": (
        "warning",
        "this user may not open a GPU's device node",
        "add the user to the groups render and video, then log in again",
    ),
    "GFX_UNKNOWN": (
        "warning",
        "the gfx target of an AMD GPU is unknown and is never guessed; it is not used",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "GFX_UNSUPPORTED": (
        "warning",
        "the engine has no code for this AMD GPU; it is not used",
        "the CPU is used instead",
    ),
    "INTEGRATED_GPU_UNUSED": (
        "info",
        "an integrated GPU shares the CPU's memory and gains nothing; it is not used",
        "nothing needs to be done",
    ),
    "LEVEL_ZERO_MISSING": (
        "warning",
        "there is an Intel GPU, but the Level Zero loader is not installed on the host",
        "only needed to run without containers: install libze1 (or level-zero)",
    ),
    "GPU_UNKNOWN": (
        "warning",
        "there is a graphics device that dream-runner does not know; it is not used",
        "report this with the output of: dream-runner facts --capture FILE",
    ),
    "OTHER_GPU_IDLE": (
        "info",
        "there are usable GPUs of another vendor; an engine uses one vendor's at a time",
        "choose the other one with --gpu",
    ),
    "JETSON_UNSUPPORTED": (
        "info",
        "this is a Jetson; its GPU needs images that are not in the catalogue",
        "the CPU is used instead",
    ),
    "MEMORY_LIMITED": (
        "info",
        "a control group limits the memory below what the machine has",
        "the limit is what is counted",
    ),
    "WSL_MEMORY_LIMITED": (
        "info",
        "Windows has more memory than this WSL machine may use",
        "raise memory= in .wslconfig to use more",
    ),
    "LARGE_PAGES": (
        "info",
        "the kernel uses memory pages larger than 4 KiB; some services do not run with them",
        "nothing needs to be done; such services are left out",
    ),
    "TOPOLOGY_UNKNOWN": (
        "info",
        "how the GPUs are connected could not be determined",
        "they are treated as if connected over the slowest link",
    ),
}

#: The findings that prove an NVIDIA GPU, even where the PCI bus shows none (WSL).
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
    """Return a finding: what it means, what was seen here, what to do."""
    severity, what, hint = CATALOGUE[name]
    text = "%s (%s)" % (what, seen) if seen else what
    return {"id": name, "severity": severity, "what": text, "hint": hint, "device": device or None}


def ordered(found: List[HostFinding]) -> List[HostFinding]:
    """Return each finding once, the worst first, in an order that does not depend on chance."""
    unique = {(f["id"], f["device"] or "", f["what"]): f for f in found}
    return [unique[key] for key in sorted(unique, key=lambda k: (_RANK[unique[k]["severity"]], k))]
