"""A container engine: its observed state, and the plan for it."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..document import TypedDict
from .host import Filesystem
from .service import EngineJson

#: The options of an engine's daemon (daemon.json).
DaemonOptions = Dict[str, Any]


class DeviceGroup(TypedDict):
    """The group of a device file."""

    gid: int
    group: str


class EngineLook(TypedDict, total=False):
    """The observed state of a host's engine, as far as this login may read it."""

    #: The path of the client; None if it is not installed.
    program: Optional[str]
    #: Why the engine does not answer, or empty.
    problem: str
    #: The answers of ``docker info`` and ``docker version``.
    info: EngineJson
    version: EngineJson
    #: The version that compose prints.
    compose: str
    #: The text of daemon.json; None if it is missing.
    daemon_text: Optional[str]
    #: Free space in the engine's data directory.
    filesystem: Filesystem
    #: Packages of an engine that are installed.
    installed: List[str]
    #: Addresses and keys in the package manager's source lists.
    sources: List[str]
    keys: List[str]
    #: By path.
    devices: Dict[str, DeviceGroup]
    #: The path of nvidia-ctk.
    toolkit: Optional[str]
    cdi_text: Optional[str]


class Engine(TypedDict):
    """The engine; ``version`` and the other fields are empty if it does not answer."""

    #: docker, podman, denied (it refuses this login), silent (a client without an answer) or none.
    kind: str
    version: str
    compose: str
    root_dir: str
    runtimes: List[str]
    #: containerd or graphdriver.
    store: str
    #: Number of images and containers.
    holds: int


class EngineUnit(TypedDict):
    """The engine's unit; ``stale``: it was started before daemon.json was last written."""

    known: bool
    masked: bool
    active: bool
    enabled: bool
    stale: bool


class EngineSource(TypedDict):
    """The source of the engine (empty: nothing has to be installed), and the reason."""

    source: str
    packages: List[str]
    why: str


class Repository(TypedDict):
    """A signed repository of packages."""

    name: str
    #: apt or rpm.
    kind: str
    url: str
    key_url: str
    #: The path of its key.
    key: str
    fingerprints: List[str]
    #: ``{path, content}``
    files: List[Dict[str, str]]


class DaemonPlan(TypedDict):
    """The plan for daemon.json; ``ours`` are our options, ``kept`` those of others."""

    differs: bool
    content: str
    ours: DaemonOptions
    kept: List[str]


class ToolkitPlan(TypedDict):
    """The plan for NVIDIA's toolkit: packages, and whether its CDI file must be written."""

    packages: List[str]
    cdi: bool


class EnginePlan(TypedDict):
    """The plan for an engine."""

    engine: Engine
    #: In words.
    found: str
    why: str
    packages: List[str]
    repositories: List[Repository]
    daemon: DaemonPlan
    toolkit: ToolkitPlan
