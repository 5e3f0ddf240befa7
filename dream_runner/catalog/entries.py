"""The types of the catalogue's files; the schemas next to the files define them."""

from __future__ import annotations

from dream_runner.module_utils.dream_core.document import TypedDict
from dream_runner.module_utils.dream_core.types.choice import HelperModel, Layers, ModelFile
from dream_runner.module_utils.dream_core.types.compose import LockedImage, Service


class Budgets(TypedDict):
    """How much of a host's memory a model may use."""

    gpu_reserve_mb: int
    unified_percent: int
    cpu_percent: int
    cpu_reserve_mb: int


class TierModels(TypedDict):
    """The models of a tier, best first, and their planned context."""

    context_tokens: int
    models: list[str]


class FastStartRule(TypedDict):
    """The small model, and the minimum download that it must save, in decimal megabytes."""

    model: str
    at_least_mb: int


class Gap(TypedDict):
    """Pins that a model's files lack, and why."""

    model: str
    lacks: list[str]
    why: str


class Architecture(TypedDict, total=False):
    """The shape of a model, from which the memory of a context follows."""

    #: Source of the numbers.
    basis: str
    attention: list[Layers]
    recurrent: Layers


class Avoid(TypedDict):
    """Hosts on which a model is not used: all keys of ``when`` must match."""

    when: dict[str, str]
    why: str


class ModelEntry(TypedDict, total=False):
    """A model of the catalogue."""

    id: str
    name: str
    family: str
    specialty: str
    quantization: str
    #: Decimal megabytes, rounded.
    size_mb: int
    max_context_tokens: int
    #: The first build of llama.cpp that can load it; None: any supported build.
    min_engine_build: int | None
    chat_template: str
    sampling: dict[str, float]
    architecture: Architecture
    files: list[ModelFile]
    avoid: list[Avoid]


class Helper(HelperModel):
    """A model that a service reads, with its license."""

    license: str


class Models(TypedDict, total=False):
    """The content of models.yml."""

    schema: str
    budgets: Budgets
    tiers: dict[str, TierModels]
    fallback: list[str]
    fast_start: FastStartRule
    known_gaps: list[Gap]
    helpers: list[Helper]
    models: list[ModelEntry]


class TierEntry(TypedDict):
    """A tier, and the recommended hardware."""

    id: str
    name: str
    rank: int
    min_ram_gb: int
    min_disk_gb: int


class Rule(TypedDict, total=False):
    """A rule that selects a tier: a host must match all of its keys."""

    id: str
    backend: str
    memory_class: str
    memory_mb: int
    ram_mb: int
    tier: str


class Tiers(TypedDict):
    """The content of tiers.yml."""

    schema: str
    #: Allowed shortfall of memory.
    tolerance_percent: int
    aliases: dict[str, str]
    tiers: list[TierEntry]
    rules: list[Rule]


class FeatureService(TypedDict, total=False):
    """A service that a feature needs, and the architectures that it supports."""

    id: str
    #: True: the feature also works without it.
    optional: bool
    arch: list[str]
    #: By architecture.
    max_page_size_bytes: dict[str, int]


class Feature(TypedDict, total=False):
    """A feature: its requirements, and the meaning of auto."""

    title: str
    auto: bool
    requires: list[str]
    conflicts: list[str]
    needs_backend: list[str]
    needs_context_tokens: int
    needs_tiers: list[str]
    auto_off_tiers: list[str]
    auto_off_when_offline: bool
    #: The reason.
    not_offered: str
    services: list[FeatureService]


class Features(TypedDict, total=False):
    """The content of features.yml, in order of precedence."""

    schema: str
    features: dict[str, Feature]


class Network(TypedDict, total=False):
    """A network of the compose project."""

    internal: bool


class NotIncluded(TypedDict):
    """A service that is left out, and why."""

    id: str
    why: str


class Services(TypedDict, total=False):
    """The content of services.yml."""

    schema: str
    #: The name of the compose project.
    project: str
    networks: dict[str, Network]
    services: list[Service]
    not_included: list[NotIncluded]


class HubFile(TypedDict):
    """A file on a hub; ``url`` contains a commit."""

    url: str
    sha256: str
    size_bytes: int


class Images(TypedDict):
    """The content of images.lock.json."""

    #: By tag.
    images: dict[str, LockedImage]
