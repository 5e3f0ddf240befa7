"""Findings of the checks of a host, and the input of the checks."""

from __future__ import annotations

from typing import Dict, List, Optional

from ..document import TypedDict
from .choice import Choice
from .facts import Facts
from .host import Filesystem, Listener, Session
from .receipt import Receipt
from .settings import SettingValues


class Finding(TypedDict, total=False):
    """One unmet requirement or warning."""

    #: The id for ``--accept``.
    id: str
    #: blocker or warning.
    severity: str
    what: str
    needed: str
    found: str
    hint: str
    #: The class, code and place of the resulting error.
    error: str
    code: str
    where: str
    #: The finding cannot be accepted.
    final: bool


class DiskNeed(TypedDict, total=False):
    """A need for disk space; the last four fields are read from the host."""

    path: str
    #: MiB
    mb: int
    what: str
    #: Paths whose present content already counts.
    there: List[str]
    there_bytes: int
    device: Optional[int]
    mount: Optional[str]
    free_bytes: Optional[int]


class Needs(TypedDict):
    """The needs of an install in MiB: below ``memory_mb`` nothing works."""

    memory_mb: int
    #: Below this it is slow.
    memory_wanted_mb: int
    #: The disk space that a host of the tier should have; 0: the tier does not matter.
    disk_wanted_mb: int
    disk: List[DiskNeed]


class PreflightProbes(TypedDict):
    """The input of the preflight check."""

    install_dir: Filesystem
    #: Names in the install directory.
    entries: List[str]
    #: The features of the filesystem, by name; None if its type is known.
    semantics: Optional[Dict[str, Optional[bool]]]
    #: The directory of another installation that this one would replace.
    old_install: Optional[str]
    docker_usable: bool
    #: Seconds since 1970.
    now: float


class RequirementProbes(TypedDict, total=False):
    """The input of the requirements check."""

    #: Whether this host has the address for the engine.
    has_address: bool
    addresses: List[str]
    disk: List[DiskNeed]
    listeners: List[Listener]
    available_mb: Optional[int]
    #: The first port that needs no root.
    first_free_port: int
    #: The ports of an earlier run.
    previous_port: Optional[int]
    previous_ports: Dict[str, Optional[int]]
    missing_packages: List[str]


class TuningFile(TypedDict):
    """A file of the AMD tuning, and how it takes effect: sysctl or boot."""

    path: str
    content: str
    needs: str


class TuningPlan(TypedDict):
    """The tuning of a host with AMD GPUs."""

    applies: bool
    reason: str
    files: List[TuningFile]
    sysctl: Dict[str, int]
    #: Parameters by module.
    modules: Dict[str, Dict[str, str]]
    #: The profile of tuned.
    governor: str
    advice: List[str]


class CheckRequest(TypedDict, total=False):
    """The request for a check: a phase, and the decisions so far."""

    phase: str
    settings: SettingValues
    host: Facts
    session: Session
    choice: Choice
    receipts: Dict[str, Receipt]
    state_dir: str
    may_write: bool
    #: The package names of this distribution, by the library or tool that they provide.
    packages: Dict[str, str]
    #: The path of this host's Python.
    python: str
    force: bool


class CheckAnswer(TypedDict, total=False):
    """The result of a check, and the input for the role."""

    findings: List[Finding]
    #: Ids of blockers that the user accepted.
    accepted: List[str]
    #: ``{type, mount}`` of the install directory.
    filesystem: Dict[str, Optional[str]]
    missing_packages: List[str]
    interrupted_packages: bool
    #: Usable memory in MiB.
    memory_mb: Optional[int]
    #: Descriptions of the available artefacts.
    proved: List[str]
    plan: TuningPlan
    sysctl_pending: List[str]
    reboot_pending: List[str]
    #: The other fields are those of a module's result.
    changed: bool
    warnings: List[str]
    failed: bool
    msg: str
    dream_error: Dict[str, object]
