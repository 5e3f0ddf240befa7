"""A container engine: what is seen of it, and what is to be done about it."""

from __future__ import annotations

from typing import Any, Dict, List, Optional

from ..document import TypedDict
from .host import Filesystem
from .service import EngineJson

#: The options of an engine's daemon (daemon.json), in its own words.
DaemonOptions = Dict[str, Any]


class DeviceGroup(TypedDict):
    """The group of a device file."""

    gid: int
    group: str


class EngineLook(TypedDict, total=False):
    """What a look at a host's engine finds, as this login sees it."""

    #: The path of the client; None: there is none.
    program: Optional[str]
    #: Why it does not answer, or empty.
    problem: str
    #: The answers of ``docker info`` and ``docker version``.
    info: EngineJson
    version: EngineJson
    #: The version of compose, as it prints it.
    compose: str
    #: The text of daemon.json; None: there is none.
    daemon_text: Optional[str]
    #: Of the engine's data directory.
    filesystem: Filesystem
    #: Packages of an engine that are installed.
    installed: List[str]
    #: Addresses and keys that the package manager's lists name.
    sources: List[str]
    keys: List[str]
    #: By path.
    devices: Dict[str, DeviceGroup]
    #: The path of nvidia-ctk.
    toolkit: Optional[str]
    cdi_text: Optional[str]


class Engine(TypedDict):
    """What answers: ``version`` and the rest are empty where nothing does."""

    #: docker, podman, denied (it refuses this login), silent (a client, no answer) or none.
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
    """The engine's unit; ``stale``: it was started before its file was last written."""

    known: bool
    masked: bool
    active: bool
    enabled: bool
    stale: bool


class EngineSource(TypedDict):
    """Where the engine comes from (empty: nothing is installed), and why."""

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
    """What becomes of daemon.json; ``ours`` are our options, ``kept`` those of others."""

    differs: bool
    content: str
    ours: DaemonOptions
    kept: List[str]


class ToolkitPlan(TypedDict):
    """What NVIDIA's toolkit needs: packages, and whether its CDI file is due."""

    packages: List[str]
    cdi: bool


class EnginePlan(TypedDict):
    """All that is to be done for an engine."""

    engine: Engine
    #: In words.
    found: str
    why: str
    packages: List[str]
    repositories: List[Repository]
    daemon: DaemonPlan
    toolkit: ToolkitPlan
