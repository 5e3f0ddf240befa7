"""The decision of a run (``dream_choice``): what follows from settings, facts and catalogue."""

from __future__ import annotations

from typing import Dict, List, Optional

from ..document import TypedDict
from .compose import Project
from .resource import Resource
from .service import ServiceSummary


class NextTier(TypedDict):
    """A better tier, and in words what the host lacks for it."""

    id: str
    rule: str
    needs: str


class Tier(TypedDict, total=False):
    """How capable a host is, and why."""

    id: str
    name: str
    #: The rule of the catalogue that fired; empty if the user named the tier.
    rule: str
    reason: str
    overridden: bool
    #: None for the best one.
    next: Optional[NextTier]
    min_ram_gb: int
    min_disk_gb: int


class ModelFile(TypedDict, total=False):
    """One file of a model, with the addresses it can be fetched from."""

    #: Its name below ``data/models``.
    file: str
    sha256: str
    #: None: unknown.
    size_bytes: Optional[int]
    urls: List[str]


class Layers(TypedDict, total=False):
    """Layers of one shape; ``heads`` of recurrent ones, ``kv_heads`` of the others."""

    layers: int
    kv_heads: int
    heads: int
    key_dim: int
    value_dim: int
    window_tokens: int


class Header(TypedDict):
    """What a GGUF file says of itself; counts are 0 where it does not say."""

    architecture: str
    name: str
    #: The context the model was trained for.
    context_tokens: int
    attention: List[Layers]


class Model(ModelFile, total=False):
    """A model as it is served here, with ``file``, ``urls`` and so on of its first file."""

    id: str
    name: str
    files: List[ModelFile]
    context_tokens: int
    #: MiB of weights and cache at that context.
    need_mb: int
    #: Decimal megabytes, the catalogue's planning figure.
    size_mb: int
    why: str
    #: The engine's defaults for requests that name none.
    sampling: Dict[str, float]
    #: A template that llama.cpp has built in; empty: the file's own.
    chat_template: str
    #: Of a model that is not in the catalogue: the header of its file.
    described: Header


class HelperModel(TypedDict):
    """A model that a service reads beside the engine's."""

    id: str
    name: str
    files: List[ModelFile]


class Features(TypedDict):
    """Which features run, by name, why, and the ids of the services they need."""

    enabled: Dict[str, bool]
    reasons: Dict[str, str]
    services: List[str]


class GpuAssignment(TypedDict, total=False):
    """Which GPUs serve what, by id. An empty ``engine``: they cannot hold the model."""

    engine: List[str]
    helpers: Dict[str, List[str]]
    #: dedicated or colocated.
    strategy: str
    #: none or pipeline.
    parallel: str
    #: llama.cpp's: none or layer.
    split_mode: str
    #: The share of each GPU of the engine.
    tensor_split: List[float]
    #: The assignment of an earlier run still holds.
    kept: bool


class FastStart(TypedDict):
    """Whether a small model answers during the download, and why."""

    use: bool
    why: str


class StackImage(TypedDict):
    """The image of a service; ``also`` is its other name, ``archive`` its file in a bundle."""

    service: str
    tag: str
    #: By digest or id; empty if it is not pinned.
    reference: str
    also: str
    archive: str
    #: ``linux/amd64``
    platform: str


class StackPort(TypedDict):
    """A port that a service publishes."""

    service: str
    #: Its key in ``.env``.
    key: str
    port: int
    #: Inside the container.
    container: int
    address: str
    #: The port it would have by itself.
    usual: int
    #: account, key or none.
    guard: str


class StackDirectory(TypedDict):
    """A directory that is mounted; ``mode`` is octal, ``owner`` empty or ``uid:gid``."""

    path: str
    mode: str
    owner: str
    #: It is the service's own once it is made.
    data: bool


class StackFile(TypedDict):
    """A configuration file of a service; ``mode`` is octal."""

    path: str
    mode: str
    content: str


class StackProblem(TypedDict):
    """Why the stack cannot run here."""

    code: str
    what: str
    hint: str


class Api(TypedDict, total=False):
    """How the engine is asked: paths below its URL, and the model's name there."""

    health: str
    path: str
    model: str


class Stack(TypedDict, total=False):
    """The containers of the full profile with everything they need (docs/developer/stack.md)."""

    project: str
    services: List[ServiceSummary]
    images: List[StackImage]
    ports: List[StackPort]
    #: Keys of ``.env`` that follow the choices on every run.
    environment: Dict[str, str]
    #: Keys of ``.env`` that are made once.
    secrets: List[str]
    models: List[HelperModel]
    directories: List[StackDirectory]
    files: List[StackFile]
    compose: Project
    api: Api
    problems: List[StackProblem]
    #: By phase.
    resources: Dict[str, List[Resource]]


class Upgrade(TypedDict):
    """The host's own model while a small one answers (docs/developer/upgrade.md)."""

    model: Model
    stack: Optional[Stack]


#: A new version that changes the data of a service: ``{service, from, to, kind}``.
DataChange = Dict[str, str]


class Choice(TypedDict, total=False):
    """The whole decision."""

    #: native or full.
    profile: str
    profile_why: str
    tier: Tier
    #: nvidia, amd, intel, apple or cpu.
    backend: str
    features: Features
    model: Model
    context_tokens: int
    gpu_assignment: Optional[GpuAssignment]
    engine_port: int
    #: Where the engine listens.
    engine_address: str
    #: Where this host asks it.
    address: str
    url: str
    #: systemd-system, systemd-user or supervisord.
    supervisor: str
    fast_start: FastStart
    upgrade: Optional[Upgrade]
    #: None for native.
    stack: Optional[Stack]
    data_changes: List[DataChange]
    #: A line for each port that is another than usual.
    port_notes: List[str]
    #: Sizes in bytes that servers told, by file; only where a check is asked for them.
    size_hints: Dict[str, int]
