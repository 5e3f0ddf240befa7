"""Decide the kernel settings of an AMD host, and which of them need a reboot. Pure.

Upstream tuned every AMD host for one APU (U-43). Here each setting has its own condition: memory
behaviour is set on every AMD host, driver options and translation table sizes only for a single GPU
that shares the host's memory.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

from ..types.choice import Choice
from ..types.facts import Facts, Gpu
from ..types.finding import TuningFile, TuningPlan
from ..types.host import Session

SYSCTL_FILE = "/etc/sysctl.d/99-dream-runner.conf"
MODPROBE_FILE = "/etc/modprobe.d/dream-runner-amdgpu.conf"
#: Keep the pages of the model, and its directory entries, in memory.
SYSCTL = {"vm.swappiness": 10, "vm.vfs_cache_pressure": 50}
#: Kernel modules whose parameters are compared with the wanted values.
MODULES = ("amdgpu", "ttm")
TUNED_PROFILE = "accelerator-performance"
#: Share of the memory that the GPU may address, by the host's MB.
_GTT_PERCENT = ((96000, 90), (64000, 80), (0, 65))
_HEADER = "# Written by dream-runner; removed by: dream-runner uninstall\n"


def plan(facts: Facts, choice: Choice, session: Session) -> TuningPlan:
    """Return ``{applies, reason, files, sysctl, modules, governor, advice}``."""
    obstacle = _obstacle(facts, choice, session)
    if obstacle:
        return {
            "applies": False,
            "reason": obstacle,
            "files": [],
            "sysctl": {},
            "modules": {},
            "governor": "",
            "advice": [],
        }
    modules = _module_options(facts)
    files: List[TuningFile] = [{"path": SYSCTL_FILE, "content": _sysctl_text(), "needs": "sysctl"}]
    if modules:
        files.append({"path": MODPROBE_FILE, "content": _modprobe_text(modules), "needs": "boot"})
    return {
        "applies": True,
        "reason": "backend amd on bare metal",
        "files": files,
        "sysctl": dict(SYSCTL),
        "modules": modules,
        "governor": TUNED_PROFILE,
        "advice": _advice(facts),
    }


def _obstacle(facts: Facts, choice: Choice, session: Session) -> Optional[str]:
    os_facts = facts.get("os") or {}
    backend = choice.get("backend") or facts.get("backend")
    if backend != "amd":
        return "the backend is %s" % backend
    if os_facts.get("wsl"):
        return "the kernel is managed by Windows"
    if os_facts.get("container"):
        return "the kernel is managed by the host of this container"
    if not session.get("is_root") and session.get("sudo") == "none":
        return "it requires root, and sudo is not available"
    return None


def _amd_gpus(facts: Facts) -> List[Gpu]:
    return [gpu for gpu in facts.get("gpus") or [] if gpu.get("vendor") == "amd"]


def _is_single_unified(facts: Facts) -> bool:
    gpus = facts.get("gpus") or []
    return len(gpus) == 1 and [g.get("memory_class") for g in _amd_gpus(facts)] == ["unified"]


def gtt(ram_mb: int) -> Dict[str, int]:
    """Return the sizes of the translation table for a host with ``ram_mb`` MB of memory."""
    percent = next(share for least, share in _GTT_PERCENT if ram_mb >= least)
    size_mb = ram_mb * percent // 100
    pages = size_mb * 1024 * 1024 // 4096
    return {"gttsize": size_mb, "pages_limit": pages, "page_pool_size": pages // 2}


def _module_options(facts: Facts) -> Dict[str, Dict[str, str]]:
    ram_mb = (facts.get("memory") or {}).get("total_mb")
    if not ram_mb or not _is_single_unified(facts):
        return {}
    sizes = gtt(int(ram_mb))
    return {
        "amdgpu": {"gpu_recovery": "1", "gttsize": str(sizes["gttsize"])},
        "ttm": {
            "pages_limit": str(sizes["pages_limit"]),
            "page_pool_size": str(sizes["page_pool_size"]),
        },
    }


def _advice(facts: Facts) -> List[str]:
    """Return advice about firmware and boot loader, which only the user may change."""
    if len(facts.get("gpus") or []) > 1:
        return ["several GPUs: boot with iommu=pt on the kernel command line"]
    if _is_single_unified(facts):
        return [
            "set the frame buffer (UMA) to 512 MB in the firmware; the GPU then shares all memory",
            "amd_iommu=off on the kernel command line gives a few percent of bandwidth, if no"
            " virtual machine needs the IOMMU",
        ]
    return []


def _sysctl_text() -> str:
    return _HEADER + "".join("%s = %d\n" % item for item in sorted(SYSCTL.items()))


def _modprobe_text(modules: Mapping[str, Mapping[str, str]]) -> str:
    lines = [
        "options %s %s\n" % (name, " ".join("%s=%s" % pair for pair in sorted(options.items())))
        for name, options in sorted(modules.items())
    ]
    return _HEADER + "".join(lines)


def pending(wanted: TuningPlan, in_force: Mapping[str, Mapping[str, str]]) -> List[str]:
    """Return the module parameters that differ from the wanted values until the next boot.

    A module that is not loaded, or that does not publish a parameter, is skipped.
    """
    waiting = []
    for module, options in sorted((wanted.get("modules") or {}).items()):
        for name, value in sorted(options.items()):
            now = (in_force.get(module) or {}).get(name)
            if now and _number(now) != _number(value):
                waiting.append("%s.%s: %s instead of %s" % (module, name, now, value))
    return waiting


def not_in_force(wanted: TuningPlan, values: Mapping[str, Optional[str]]) -> List[str]:
    """Return the names of the kernel settings whose current value differs from the wanted one.

    Settings that this kernel lacks are skipped.
    """
    return [
        name
        for name, value in sorted((wanted.get("sysctl") or {}).items())
        if values.get(name) not in (None, str(value))
    ]


def _number(text: str) -> Any:
    try:
        return int(text, 0)
    except ValueError:
        return text
