"""The decision of a run (``dream_choice``), made from settings, facts and catalogue."""

from __future__ import annotations

from typing import Dict, List, Optional

from ..document import TypedDict
from .compose import Project
from .resource import Resource
from .service import ServiceSummary


class NextTier(TypedDict):
    """A better tier, and a description of what the host lacks for it."""

    id: str
    rule: str
    needs: str


class Tier(TypedDict, total=False):
    """The tier of a host, and the reason."""

    id: str
    name: str
    #: The catalogue's rule that matched; empty if the user chose the tier.
    rule: str
    reason: str
    overridden: bool
    #: None for the best tier.
    next: Optional[NextTier]
    min_ram_gb: int
    min_disk_gb: int


class ModelFile(TypedDict, total=False):
    """One file of a model, with its download addresses."""

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
    """The header of a GGUF file; unknown counts are 0."""

    architecture: str
    name: str
    #: The context the model was trained for.
    context_tokens: int
    attention: List[Layers]


class Model(ModelFile, total=False):
    """A model as this host serves it, with ``file``, ``urls`` and so on of its first file."""

    id: str
    name: str
    files: List[ModelFile]
    context_tokens: int
    #: Size of weights and cache at that context, in MiB.
    need_mb: int
    #: Decimal megabytes, the catalogue's planning figure.
    size_mb: int
    why: str
    #: Sampling defaults for requests without their own.
    sampling: Dict[str, float]
    #: A built-in template of llama.cpp; empty: the file's own.
    chat_template: str
    #: The header of the file, for a model that is not in the catalogue.
    described: Header


class HelperModel(TypedDict):
    """A model that a service uses in addition to the engine's."""

    id: str
    name: str
    files: List[ModelFile]


class Features(TypedDict):
    """The enabled features by name, the reasons, and the ids of the services they need."""

    enabled: Dict[str, bool]
    reasons: Dict[str, str]
    services: List[str]


class GpuAssignment(TypedDict, total=False):
    """The use of the GPUs, by id. An empty ``engine`` means that they cannot hold the model."""

    engine: List[str]
    helpers: Dict[str, List[str]]
    #: dedicated or colocated.
    strategy: str
    #: none or pipeline.
    parallel: str
    #: llama.cpp's: none or layer.
    split_mode: str
    #: The share of each of the engine's GPUs.
    tensor_split: List[float]
    #: The assignment of an earlier run is still valid.
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
    #: The default port.
    usual: int
    #: account, key or none.
    guard: str


class StackDirectory(TypedDict):
    """A mounted directory; ``mode`` is octal, ``owner`` empty or ``uid:gid``."""

    path: str
    mode: str
    owner: str
    #: The service owns it after its creation.
    data: bool


class StackFile(TypedDict):
    """A configuration file of a service; ``mode`` is octal."""

    path: str
    mode: str
    content: str


class StackProblem(TypedDict):
    """Why the stack cannot run on this host."""

    code: str
    what: str
    hint: str


class Api(TypedDict, total=False):
    """The engine's API: paths below its URL, and the name of its model."""

    health: str
    path: str
    model: str


class Stack(TypedDict, total=False):
    """The containers of the full profile and their needs (docs/developer/stack.md)."""

    project: str
    services: List[ServiceSummary]
    images: List[StackImage]
    ports: List[StackPort]
    #: Keys of ``.env`` that are updated in every run.
    environment: Dict[str, str]
    #: Keys of ``.env`` that are created once.
    secrets: List[str]
    models: List[HelperModel]
    directories: List[StackDirectory]
    files: List[StackFile]
    compose: Project
    api: Api
    problems: List[StackProblem]
    #: By phase.
    resources: Dict[str, List[Resource]]


class Webui(TypedDict):
    """Open WebUI in the native profile."""

    version: str
    #: The Pythons that its packages are for, such as ``3.11``.
    pythons: List[str]
    #: How many there are, and their bytes; for the Python with the largest ones.
    packages: int
    download_bytes: int
    port: StackPort
    service: ServiceSummary
    #: What runs in its process, for the tests of the features.
    parts: List[ServiceSummary]


class Upgrade(TypedDict):
    """The upgrade to the host's own model (docs/developer/upgrade.md)."""

    model: Model
    stack: Optional[Stack]


#: New versions that change the data of a service: ``{service, from, to, kind}``.
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
    #: The address on which the engine listens.
    engine_address: str
    #: The URL of the engine on this host.
    address: str
    url: str
    #: systemd-system, systemd-user or supervisord.
    supervisor: str
    fast_start: FastStart
    upgrade: Optional[Upgrade]
    #: None for native.
    stack: Optional[Stack]
    #: None for full, which has it in its stack, and where nobody asked for it.
    webui: Optional[Webui]
    data_changes: List[DataChange]
    #: One line for each port that differs from its default.
    port_notes: List[str]
    #: Sizes in bytes from the servers, by file; only for a check.
    size_hints: Dict[str, int]
