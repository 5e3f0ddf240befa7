"""Services of the catalogue, their images, and the compose project."""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Union

from ..document import TypedDict


class FromKey(TypedDict, total=False):
    """A value that is read from ``.env`` or built from such values."""

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
    #: The default port on the host.
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
    """A volume or directory that is mounted into a service."""

    read_only: bool


class Healthcheck(TypedDict, total=False):
    """The health check of a service: a URL or a program."""

    url: str
    exec: List[str]
    interval_seconds: int
    timeout_seconds: int
    retries: int
    start_seconds: int


#: A configuration file of a service; ``with`` is the other service that it is for.
ServiceFile = TypedDict("ServiceFile", {"path": str, "content": str, "with": str}, total=False)


class Addition(TypedDict, total=False):
    """Additions to a service if another service runs too."""

    environment: Dict[str, Value]
    volumes: List[ServiceVolume]


#: ``with``: additions by the id of the other service, in this order.
_With = TypedDict("_With", {"with": Dict[str, Addition]}, total=False)


class Service(_With, total=False):
    """A service of the catalogue; a variant has the differences for a backend."""

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
    #: Keys of ``.env`` that are created once.
    secrets: List[str]
    owners: Dict[str, str]
    #: The arch and backends for which the service exists.
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
    #: A description of what it downloads by itself.
    fetches: str
    #: By backend.
    variants: Dict[str, "Service"]


#: A pinned image: by a registry's digest, or by the id of an image in an archive.
LockedImage = TypedDict(
    "LockedImage",
    {
        "digest": str,
        # The repository of a mirror to pull from instead.
        "from": str,
        "id": str,
        # The digest of its manifest, which is its id in containerd's store.
        "manifest": str,
        # A path relative to the bundle.
        "archive": str,
        # The kind of the digest: index, amd64, arm64, unknown or unclear.
        "kind": str,
        # Number of independent public files that contain the digest.
        "sources": int,
        # An earlier version of the catalogue contained it.
        "former": bool,
        "platforms": List[str],
    },
    total=False,
)


#: By tag.
Locked = Mapping[str, LockedImage]


class Settled(TypedDict):
    """The changes to a project; ``degraded`` has the reasons of optional services."""

    changed: bool
    steps: List[Step]
    degraded: Dict[str, str]


class SettledImages(TypedDict):
    """The loaded and pulled images by tag, and why optional services lack their image."""

    changed: bool
    fetched: List[str]
    degraded: Dict[str, str]


#: A service in the form of a compose file.
ComposeService = Dict[str, Any]


class Project(TypedDict, total=False):
    """A compose file; networks and volumes in compose's form."""

    name: str
    services: Dict[str, ComposeService]
    networks: Dict[str, Any]
    volumes: Dict[str, Any]


class Step(TypedDict):
    """One change to a service of a project; ``remove`` lists containers to remove."""

    #: create, recreate, start or remove.
    action: str
    service: str
    why: str
    remove: List[str]
