"""The meaning of PCI device ids and of graphics core versions.

Hardware facts that a running machine does not report. Sources: the id tables of the Linux drivers
amdgpu, i915 and xe, and the vendors' published memory sizes. A device that is not listed is
unknown; the nearest one is never used.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

#: Graphics core versions whose devices amdgpu marks AMD_IS_APU (amdgpu_discovery.c): they are part
#: of the processor, whatever memory they report.
AMD_APU_CORES = frozenset(
    [
        "9.1.0",
        "9.2.2",
        "9.3.0",
        "10.1.3",
        "10.1.4",
        "10.3.1",
        "10.3.3",
        "10.3.6",
        "10.3.7",
        "11.0.1",
        "11.0.4",
        "11.5.0",
        "11.5.1",
        "11.5.2",
        "11.5.3",
    ]
)

#: The same for kernels without ip_discovery: PCI ids of integrated GPUs.
AMD_APU_IDS = frozenset(
    [
        "0x15dd",
        "0x15d8",
        "0x1636",
        "0x164c",
        "0x1638",
        "0x15e7",
        "0x163f",
        "0x1435",
        "0x1681",
        "0x164d",
        "0x164e",
        "0x1506",
        "0x15bf",
        "0x15c8",
        "0x1900",
        "0x1901",
        "0x13c0",
        "0x150e",
        "0x1586",
        "0x1114",
        "0x98e4",
        "0x9874",
    ]
)

#: Integrated GPUs whose memory is wide enough to run models out of the machine's
#: own RAM: Strix Halo (256-bit LPDDR5X) and MI300A (HBM shared with the CPU).
AMD_UNIFIED_CORES = frozenset(["11.5.1"])
AMD_UNIFIED_IDS = frozenset(["0x1586", "0x74a0"])

#: gfx targets that ROCm's libraries, and so the engine, are built for.
AMD_TARGETS = frozenset(
    [
        "gfx906",
        "gfx908",
        "gfx90a",
        "gfx942",
        "gfx950",
        "gfx1030",
        "gfx1031",
        "gfx1032",
        "gfx1100",
        "gfx1101",
        "gfx1102",
        "gfx1103",
        "gfx1150",
        "gfx1151",
        "gfx1152",
        "gfx1200",
        "gfx1201",
    ]
)

#: Intel's discrete GPUs: id -> (name, published memory in MiB; the largest of
#: its variants). Alchemist, Data Center Flex, Battlemage.
INTEL_DISCRETE: Dict[str, Tuple[str, int]] = {
    "0x5690": ("Intel Arc A770M", 16384),
    "0x5691": ("Intel Arc A730M", 12288),
    "0x5692": ("Intel Arc A550M", 8192),
    "0x5693": ("Intel Arc A370M", 4096),
    "0x5694": ("Intel Arc A350M", 4096),
    "0x5696": ("Intel Arc A570M", 8192),
    "0x5697": ("Intel Arc A530M", 8192),
    "0x56a0": ("Intel Arc A770", 16384),
    "0x56a1": ("Intel Arc A750", 8192),
    "0x56a2": ("Intel Arc A580", 8192),
    "0x56a5": ("Intel Arc A380", 6144),
    "0x56a6": ("Intel Arc A310", 4096),
    "0x56b0": ("Intel Arc Pro A30M", 4096),
    "0x56b1": ("Intel Arc Pro A40/A50", 6144),
    "0x56b2": ("Intel Arc Pro A60M", 12288),
    "0x56b3": ("Intel Arc Pro A60", 12288),
    "0x56c0": ("Intel Data Center GPU Flex 170", 16384),
    "0x56c1": ("Intel Data Center GPU Flex 140", 6144),
    "0xe20b": ("Intel Arc B580", 12288),
    "0xe20c": ("Intel Arc B570", 10240),
    "0xe211": ("Intel Arc Pro B60", 24576),
    "0xe212": ("Intel Arc Pro B50", 16384),
}

#: Id ranges of the same families; a member that is not named above is discrete,
#: but its memory is unknown.
_INTEL_RANGES = ((0x5690, 0x569F), (0x56A0, 0x56CF), (0xE200, 0xE22F))

#: Adapters that only display: management controllers, virtual and remote displays.
DISPLAY_ONLY = frozenset(
    [
        "0x1a03",
        "0x102b",
        "0x1234",
        "0x1af4",
        "0x15ad",
        "0x1414",
        "0x1b36",
        "0x80ee",
        "0x1013",
        "0x126f",
        "0x19e5",
        "0x1d0f",
        "0x18ca",
        "0x5333",
        "0x1ae0",
        "0x1fe0",
        "0x0e11",
    ]
)


def intel_discrete(device: str) -> bool:
    """Return whether an Intel device id is one of a discrete GPU."""
    try:
        number = int(device, 16)
    except ValueError:
        return False
    return any(first <= number <= last for first, last in _INTEL_RANGES)


def amd_class(device: str, core: Optional[str]) -> str:
    """Return ``unified``, ``integrated`` or ``discrete`` for an AMD GPU.

    The device id decides, never the size of its memory windows: the graphics translation table
    grows with the RAM of the host (U-19).
    """
    if device in AMD_UNIFIED_IDS or core in AMD_UNIFIED_CORES:
        return "unified"
    return "integrated" if device in AMD_APU_IDS or core in AMD_APU_CORES else "discrete"


#: Graphics core -> compiler target, from amdgpu's kfd_device.c. The digits can differ (Navi 32 is
#: core 11.0.3 and gfx1101), so the target of an unlisted core is unknown.
_CORE_TARGETS = {
    "9.0.1": "gfx900",
    "9.1.0": "gfx902",
    "9.2.2": "gfx902",
    "9.2.1": "gfx904",
    "9.3.0": "gfx90c",
    "9.4.0": "gfx906",
    "9.4.1": "gfx908",
    "9.4.2": "gfx90a",
    "9.4.3": "gfx942",
    "9.4.4": "gfx942",
    "9.5.0": "gfx950",
    "10.3.0": "gfx1030",
    "10.3.1": "gfx1033",
    "10.3.2": "gfx1031",
    "10.3.3": "gfx1035",
    "10.3.4": "gfx1032",
    "10.3.5": "gfx1034",
    "10.3.6": "gfx1036",
    "10.3.7": "gfx1036",
    "11.0.0": "gfx1100",
    "11.0.1": "gfx1103",
    "11.0.2": "gfx1102",
    "11.0.3": "gfx1101",
    "11.0.4": "gfx1103",
    "11.5.0": "gfx1150",
    "11.5.1": "gfx1151",
    "11.5.2": "gfx1152",
    "12.0.0": "gfx1200",
    "12.0.1": "gfx1201",
}


def gfx_of_core(core: Optional[str]) -> Optional[str]:
    """Return the gfx target of a graphics core version, or None if it is unknown."""
    return _CORE_TARGETS.get(core or "")


def gfx_of_kfd(target_version: Optional[int]) -> Optional[str]:
    """Return the gfx target of KFD's decimal number: 110501 is gfx1151, 90010 gfx90a."""
    if not target_version or target_version < 10000:
        return None
    major, minor, step = target_version // 10000, target_version // 100 % 100, target_version % 100
    return "gfx%d%x%x" % (major, minor, step)
