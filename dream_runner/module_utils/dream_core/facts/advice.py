"""The hints of findings for special environments, as one table.

The hints of ``finding_texts.CATALOGUE`` are for physical machines. In WSL, a container or a virtual
machine, another system manages the driver, and the same advice can break a working setup.
"""

from __future__ import annotations

from typing import Dict, List

from ..types.facts import HostFinding, Os

_WSL_DRIVER = (
    "install or update NVIDIA's driver in Windows, never inside WSL; then run 'wsl --update' and "
    "'wsl --shutdown' in Windows. A card in TCC mode is not visible to WSL"
)
_WSL_RESTART = "run 'wsl --shutdown' in Windows, then start WSL again"
_WSL_CONTAINER = (
    "check nvidia-smi in WSL itself first; if it works there, set no-cgroups = false in "
    "/etc/nvidia-container-runtime/config.toml and start the container with --gpus all"
)
_OUTSIDE_DRIVER = (
    "repair the driver on the machine that runs this container, not inside it; then restart the "
    "container"
)
_OUTSIDE_RESTART = (
    "the driver changed on the machine that runs this container: restart the container, and "
    "reboot that machine if nvidia-smi fails there too"
)
_GUEST_DRIVER = (
    "repair the driver in this virtual machine; a vGPU needs the guest driver of the host's vGPU "
    "release, and a passed-through card needs vfio on the host"
)
_FIRMWARE = "turn Secure Boot off in the settings of this virtual machine, or enrol the signing key"

#: Environment -> finding id -> hint.
HINTS: Dict[str, Dict[str, str]] = {
    "wsl": {
        "TOOL_HANGS": _WSL_RESTART,
        "GPU_DRIVER_BROKEN": _WSL_DRIVER,
        "GPU_DRIVER_MISSING": _WSL_DRIVER,
        "DRIVER_TOO_OLD": _WSL_DRIVER,
        "DRIVER_MISMATCH": (
            "remove every NVIDIA driver package inside WSL (it uses the driver of Windows), "
            "then run 'wsl --shutdown' in Windows"
        ),
        "NO_KFD": "AMD GPUs can compute only in Windows; in WSL the CPU is used",
        "NO_RENDER_NODE": "this GPU has no driver for WSL; the CPU is used",
        "NVIDIA_RUNS_UNSEEN": _WSL_RESTART,
        "MIG_ENABLED": "turn MIG off in Windows: nvidia-smi -mig 0",
        "TOOL_REPORTED_PROBLEM": "run nvidia-smi in Windows, which manages this driver",
    },
    "wsl container": {
        "GPU_DRIVER_BROKEN": _WSL_CONTAINER,
        "GPU_DRIVER_MISSING": _WSL_CONTAINER,
        "NOT_IN_CONTAINER": _WSL_CONTAINER,
    },
    "container": {
        "TOOL_HANGS": (
            "check the kernel log (dmesg) of the machine that runs this container, then reboot it"
        ),
        "GPU_DRIVER_BROKEN": _OUTSIDE_DRIVER,
        "GPU_DRIVER_MISSING": _OUTSIDE_DRIVER,
        "DRIVER_TOO_OLD": (
            "install driver 570 or newer on the machine that runs this container, not inside it"
        ),
        "DRIVER_MISMATCH": _OUTSIDE_RESTART,
        "NVIDIA_RUNS_UNSEEN": _OUTSIDE_RESTART,
        "NOUVEAU_IN_USE": _OUTSIDE_DRIVER,
        "SECURE_BOOT_BLOCKS_MODULE": (
            "load the module on the machine that runs this container: enrol its signing key there"
        ),
        "BLACKWELL_NEEDS_OPEN_MODULE": (
            "install the open kernel modules of the driver on the machine that runs this container"
        ),
        "MIG_ENABLED": "to use the whole GPU, turn MIG off on the machine that runs this container",
        "MIG_NO_INSTANCES": (
            "create instances on the machine that runs this container (nvidia-smi mig -cgi), and "
            "give one to the container"
        ),
        "NO_KFD": "start the container with --device /dev/kfd --device /dev/dri",
        "NO_RENDER_NODE": "start the container with --device /dev/dri",
        "NODE_NOT_PERMITTED": (
            "start the container with --group-add and the group that owns the device outside"
        ),
        "RESERVED_FOR_GUESTS": "unbind the GPU on the machine that runs this container",
    },
    "kubernetes": {
        "NOT_IN_CONTAINER": "request the GPU in the pod's limits, for example nvidia.com/gpu: 1",
        "NO_KFD": "request the GPU in the pod's limits, for example amd.com/gpu: 1",
        "NO_RENDER_NODE": "request the GPU in the pod's limits",
        "NODE_NOT_PERMITTED": "add the node's group to the pod's supplementalGroups",
    },
    "lxc": {
        "NOT_IN_CONTAINER": "pass the GPU through on the host: lxc config device add NAME gpu gpu",
        "NO_KFD": "pass /dev/kfd and /dev/dri through in the container's configuration on the host",
        "NO_RENDER_NODE": "pass /dev/dri through in the container's configuration on the host",
        "NODE_NOT_PERMITTED": "map the node's group into the container (lxc.idmap or gid=)",
    },
    "vm": {
        "GPU_DRIVER_BROKEN": _GUEST_DRIVER,
        "NVIDIA_RUNS_UNSEEN": _GUEST_DRIVER,
        "SECURE_BOOT_BLOCKS_MODULE": _FIRMWARE,
    },
}


def surroundings(os: Os, is_virtual: bool) -> List[str]:
    """Return the environments that apply here, the most specific first."""
    container = os.get("container")
    if os.get("wsl"):
        return ["wsl container", "container"] if container else ["wsl"]
    if container:
        return [str(container), "container"]
    return ["vm"] if is_virtual else []


def advise(found: List[HostFinding], places: List[str]) -> List[HostFinding]:
    """Return the findings with the hints for this environment."""
    return [{**item, "hint": _hint(item, places)} for item in found]


def _hint(item: HostFinding, places: List[str]) -> str:
    for place in places:
        hint = HINTS.get(place, {}).get(item["id"])
        if hint:
            return hint
    return str(item["hint"])
