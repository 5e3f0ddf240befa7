"""Services of the catalogue, their images, and the compose project that is made of them."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Union

from ..document import TypedDict


class FromKey(TypedDict, total=False):
    """A value that comes from ``.env``, or is made of what comes from there."""

    key: str
    first_of: List[str]
    default: str
    required: bool
    template: str


#: A value of a service's environment or command.
Value = Union[str, FromKey]


class ServicePort(TypedDict):
    """A port that a service publishes."""

    #: Inside the container.
    container: int
    #: On the host, unless it is taken or another one is chosen.
    host: int
    #: Its key in ``.env``.
    key: str
    #: page (``--lan`` opens it) or inner (only ``--expose`` does).
    exposure: str
    #: account, key or none: its sign-in.
    guard: str


class _Volume(TypedDict):
    #: Relative to the install directory, or the name of a volume.
    source: str
    target: str
    #: data, config or named.
    kind: str


class ServiceVolume(_Volume, total=False):
    """What is mounted into a service."""

    read_only: bool


class Healthcheck(TypedDict, total=False):
    """How the engine asks a service whether it is up: by a URL or a program."""

    url: str
    exec: List[str]
    interval_seconds: int
    timeout_seconds: int
    retries: int
    start_seconds: int


#: A configuration file of a service; ``with`` names another service that it is for.
ServiceFile = TypedDict("ServiceFile", {"path": str, "content": str, "with": str}, total=False)


class Addition(TypedDict, total=False):
    """What a service gets where another one runs too."""

    environment: Dict[str, Value]
    volumes: List[ServiceVolume]


#: ``with``: additions by the id of the other service, in this order.
_With = TypedDict("_With", {"with": Dict[str, Addition]}, total=False)


class Service(_With, total=False):
    """A service of the catalogue; a variant holds what differs for a backend."""

    id: str
    title: str
    #: core, recommended or optional.
    group: str
    part_of: str
    summary: str
    image: str
    user: Value
    shm_size: str
    network_mode: str
    networks: List[str]
    ports: List[ServicePort]
    internal_ports: List[int]
    volumes: List[ServiceVolume]
    devices: List[str]
    groups: List[str]
    capabilities: List[str]
    entrypoint: List[Value]
    command: List[Value]
    files: List[ServiceFile]
    environment: Dict[str, Value]
    #: Ids of helper models.
    models: List[str]
    #: By service: started, healthy or completed.
    depends_on: Dict[str, str]
    #: Keys of ``.env`` that are made once.
    secrets: List[str]
    owners: Dict[str, str]
    #: By arch and backends: where it exists.
    supported: Dict[str, List[str]]
    memory_mb: int
    reserve_mb: int
    cpus: float
    #: all, one or assigned.
    gpus: str
    probe_path: str
    healthcheck: Healthcheck
    #: Versions whose data changes cannot be undone, or every.
    migrates: Union[str, List[str]]
    #: What it downloads by itself, in words.
    fetches: str
    #: By backend.
    variants: Dict[str, "Service"]


#: An image that is pinned: by a registry's digest, or by the id of an image in an archive.
LockedImage = TypedDict(
    "LockedImage",
    {
        "digest": str,
        # A mirror's repository, from which it is pulled instead.
        "from": str,
        "id": str,
        # The digest of its manifest, by which an engine with containerd's store knows it.
        "manifest": str,
        # Relative to the bundle.
        "archive": str,
        # What the digest names: index, amd64, arm64, unknown or unclear.
        "kind": str,
        # Number of independent public files that name the digest.
        "sources": int,
        # Earlier versions of the catalogue named it.
        "former": bool,
        "platforms": List[str],
    },
    total=False,
)


#: By tag.
Locked = Mapping[str, LockedImage]


class Settled(TypedDict):
    """What was done to a project; ``degraded`` says why optional services did not start."""

    changed: bool
    steps: List[Step]
    degraded: Dict[str, str]


class SettledImages(TypedDict):
    """What was done to have images: tags, and why an optional service lacks its image."""

    changed: bool
    fetched: List[str]
    degraded: Dict[str, str]


#: A service of a compose file, in compose's own words.
ComposeService = Dict[str, Any]


class Project(TypedDict, total=False):
    """A compose file; networks and volumes in compose's own words."""

    name: str
    services: Dict[str, ComposeService]
    networks: Dict[str, Any]
    volumes: Dict[str, Any]


class Step(TypedDict):
    """One thing to do with a service of a project; ``remove`` names containers."""

    #: create, recreate, start or remove.
    action: str
    service: str
    why: str
    remove: List[str]
