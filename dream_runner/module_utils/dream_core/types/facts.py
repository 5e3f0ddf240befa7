"""The facts document (``dream-runner.facts/1``), and the capture that it is made from.

docs/developer/captures.md describes the parts of a capture, all of which are optional. In the
document, unknown is None, never 0. Values that change often (free disk space, free memory,
listeners) are not facts; they are read when they are needed.
"""

from __future__ import annotations

from typing import Dict, List, Optional

from ..document import TypedDict

#: Unchecked data: every value must be checked before it is used.
Unchecked = Dict[str, object]
#: The whole capture, by the names of the probes.
Capture = Unchecked


class ToolAnswer(TypedDict):
    """The output of a program; ``rc`` is None if it did not exit by itself."""

    rc: Optional[int]
    stdout: str
    stderr: str
    #: timeout, output too long, or why it could not be started.
    problem: Optional[str]


class CapturedNode(TypedDict):
    """A device node; ``mode`` is octal."""

    path: str
    mode: str
    #: It is a character device.
    device: bool
    #: This user can read and write it.
    usable: bool


class Os(TypedDict, total=False):
    """The operating system."""

    #: The ID of os-release in lower case; ``macos`` on a Mac.
    id: Optional[str]
    id_like: List[str]
    version_id: Optional[str]
    pretty_name: Optional[str]
    #: debian, redhat, arch, suse, alpine, void or unknown.
    family: str
    kernel: Optional[str]
    wsl: bool
    #: The kind of container (docker, podman, lxc, kubernetes, other), None on a machine.
    container: Optional[str]


class Init(TypedDict, total=False):
    """The init system."""

    #: systemd or other.
    system: str
    pid1: Optional[str]


class Cpu(TypedDict, total=False):
    """The processor; ``flags`` are the instruction sets that engines are built for."""

    model: Optional[str]
    cores: Optional[int]
    threads: Optional[int]
    #: Threads that this process may use.
    allowed: Optional[int]
    flags: List[str]


class Memory(TypedDict, total=False):
    """The memory, its tightest limit and the usable memory, in MiB."""

    total_mb: Optional[int]
    limit_mb: Optional[int]
    usable_mb: Optional[int]
    #: Memory of Windows, in WSL only.
    windows_mb: Optional[int]
    numa_nodes: Optional[int]
    #: meminfo or sysctl.
    source: Optional[str]


class Mount(TypedDict):
    """A mounted filesystem that can hold our files."""

    path: str
    fstype: str
    device: str


class Node(TypedDict):
    """A device node, and whether this user can open it; ``mode`` is octal."""

    path: str
    mode: Optional[str]
    usable: bool


class Driver(TypedDict):
    """A GPU's kernel driver."""

    name: Optional[str]
    version: Optional[str]


class BusLink(TypedDict):
    """A GPU's connection to the bus, in the terms of sysfs; ``width`` in lanes."""

    speed: Optional[str]
    width: Optional[int]


class MigPart(TypedDict):
    """A part of a GPU that is split (MIG)."""

    uuid: Optional[str]
    profile: Optional[str]
    memory_mb: Optional[int]


class Mig(TypedDict):
    """The MIG mode of a GPU, and its parts."""

    enabled: bool
    instances: List[MigPart]


class _Gpu(TypedDict):
    #: Its UUID, else ``PCI-<slot>-<vendor>:<device>``; empty until all GPUs are known.
    id: str
    #: nvidia, amd, intel, apple or unknown.
    vendor: str
    name: Optional[str]
    #: discrete, unified (shared with the CPU) or integrated (not used).
    memory_class: str
    #: Dedicated memory in MiB; None for unified memory.
    memory_mb: Optional[int]
    #: Unified memory in MiB that firmware reserved; the host's total does not include it.
    carve_out_mb: Optional[int]
    #: Memory in MiB that a unified GPU can address now.
    window_mb: Optional[int]
    usable: bool
    #: The id of the finding with the reason why it is not used.
    why_not: Optional[str]
    uuid: Optional[str]
    #: ``0000:01:00.0``
    pci_slot: Optional[str]
    #: ``10de:2684``
    pci_id: Optional[str]
    numa_node: Optional[int]
    driver: Driver
    #: CUDA's, ``8.9``
    compute_capability: Optional[str]
    #: AMD's target, ``gfx1100``
    gfx: Optional[str]
    link: BusLink
    render_node: Optional[str]
    mig: Optional[Mig]
    #: The source of each field: ``{field: source}``.
    sources: Dict[str, str]


class Gpu(_Gpu, total=False):
    """A GPU; ``index`` and ``seen`` are the driver's, and are not in the final document."""

    index: Optional[int]
    seen: bool


class GpuLink(TypedDict):
    """A connection between two GPUs: their ids, and its kind as in ``nvidia-smi topo``."""

    a: str
    b: str
    kind: str


class HostFinding(TypedDict):
    """Something noteworthy about a host; ``severity`` is info, warning or error."""

    id: str
    severity: str
    what: str
    hint: str
    #: A PCI address or a path.
    device: Optional[str]


class Facts(TypedDict, total=False):
    """The whole document."""

    schema: str
    os: Os
    #: amd64, arm64 or unknown.
    arch: str
    page_size_bytes: Optional[int]
    init: Init
    cpu: Cpu
    memory: Memory
    mounts: List[Mount]
    secure_boot: Optional[bool]
    devices: List[Node]
    gpus: List[Gpu]
    links: List[GpuLink]
    #: nvidia, amd, intel, apple or cpu.
    backend: str
    #: The user chose the backend; only in the input of a decision.
    backend_overridden: bool
    #: The backend after a repair of the drivers, if it differs.
    repaired_backend: Optional[str]
    findings: List[HostFinding]
    #: UTC in ISO 8601. This field and the following ones are set by the cache.
    gathered_at: Optional[str]
    fingerprint: Optional[str]
    version: str
    install_dir: str
    digest: str


class Accelerator(TypedDict):
    """The accelerator: the sum over the used GPUs."""

    backend: str
    #: discrete, unified, or none for the CPU.
    memory_class: str
    memory_mb: Optional[int]
    count: int
    #: Ids.
    gpus: List[str]
