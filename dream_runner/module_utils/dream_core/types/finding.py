"""What a check of a host found wrong."""

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

    #: What ``--accept`` names.
    id: str
    #: blocker or warning.
    severity: str
    what: str
    needed: str
    found: str
    hint: str
    #: The class of the error it becomes, its code and place.
    error: str
    code: str
    where: str
    #: It cannot be accepted.
    final: bool


class DiskNeed(TypedDict, total=False):
    """What has to be written somewhere; the last four are read from the host."""

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
    """What an install needs, in MiB: below ``memory_mb`` nothing works."""

    memory_mb: int
    #: Below this it is slow.
    memory_wanted_mb: int
    #: What a host of the tier should have; 0: the tier does not matter.
    disk_wanted_mb: int
    disk: List[DiskNeed]


class PreflightProbes(TypedDict):
    """What the preflight check judges."""

    install_dir: Filesystem
    #: Names in the install directory.
    entries: List[str]
    #: What the filesystem can do, by name; None: its type tells.
    semantics: Optional[Dict[str, Optional[bool]]]
    #: The directory of an installation that this one replaces.
    old_install: Optional[str]
    docker_usable: bool
    #: Seconds since 1970.
    now: float


class RequirementProbes(TypedDict, total=False):
    """What the requirements check judges."""

    #: This host has the address that the engine is to listen on.
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
    """A file of AMD's tuning, and what makes it take effect: sysctl or boot."""

    path: str
    content: str
    needs: str


class TuningPlan(TypedDict):
    """The tuning that a host with AMD's GPUs wants."""

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
    """What a check is asked: a phase, and all that was decided so far."""

    phase: str
    settings: SettingValues
    host: Facts
    session: Session
    choice: Choice
    receipts: Dict[str, Receipt]
    state_dir: str
    may_write: bool
    #: The names of packages here, by what they bring.
    packages: Dict[str, str]
    #: The interpreter of this host.
    python: str
    force: bool


class CheckAnswer(TypedDict, total=False):
    """What a check found, and what the role does about it."""

    findings: List[Finding]
    #: Ids of blockers that the user accepted.
    accepted: List[str]
    #: ``{type, mount}`` of the install directory.
    filesystem: Dict[str, Optional[str]]
    missing_packages: List[str]
    interrupted_packages: bool
    #: MiB that count.
    memory_mb: Optional[int]
    #: Artefacts that are here, in words.
    proved: List[str]
    plan: TuningPlan
    sysctl_pending: List[str]
    reboot_pending: List[str]
    #: The rest is a module's.
    changed: bool
    warnings: List[str]
    failed: bool
    msg: str
    dream_error: Dict[str, object]
