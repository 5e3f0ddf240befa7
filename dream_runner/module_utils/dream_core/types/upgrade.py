"""The upgrade of a fast start: what its program is told, and what is seen of it."""

from __future__ import annotations

from typing import Any, Dict, List, Literal

from ..document import TypedDict
from .choice import Api, Model, StackImage
from .compose import Project
from .receipt import PhaseFacts, Wanted
from .service import ServiceSummary

#: Which configuration: the small model, or the host's own.
SideName = Literal["before", "after"]


class UpgradeSide(TypedDict, total=False):
    """What runs before or after the switch; ``compose`` and what follows of containers only."""

    model: Model
    #: Keys of ``.env``.
    env: Dict[str, str]
    api: Api
    #: ``{path, mode, content}``
    files: List[Dict[str, str]]
    services: List[ServiceSummary]
    #: Services without which nothing works.
    core: List[str]
    compose: Project
    images: List[StackImage]


class NativeSide(TypedDict, total=False):
    """A configuration of the native engine, in a file of its own."""

    #: Of the model.
    sha256: str
    #: The engine's configuration, in its own words.
    config: Dict[str, Any]
    command: List[str]
    files: List[Dict[str, str]]
    #: systemd-system, systemd-user or supervisord.
    supervisor: str
    unit: str
    program: str
    log: str
    revision: str


class UpgradeUnit(TypedDict):
    """What keeps the program running; ``path`` is empty where no unit does."""

    name: str
    #: system, user or background.
    scope: str
    path: str


class FetchOrders(TypedDict):
    """How the model is fetched."""

    reserve_bytes: int
    #: A path, or empty.
    token_file: str


class UpgradeDocument(TypedDict, total=False):
    """upgrade.json: all that the program needs to know."""

    schema: str
    state_dir: str
    install_dir: str
    #: native, or containers.
    engine: str
    #: The container engine's client.
    command: str
    #: The engine's.
    url: str
    #: The host's own model.
    model: Model
    before: UpgradeSide
    after: UpgradeSide
    fetch: FetchOrders
    unit: UpgradeUnit
    #: Facts that the switch changes, by phase.
    facts: Dict[str, PhaseFacts]
    #: The inputs of each phase afterwards.
    upgraded: Dict[str, Wanted]
    summary_file: str


class Refusal(TypedDict, total=False):
    """Why a model was refused, and the digest of the document that told of it."""

    digest: str
    why: str


class UpgradeState(TypedDict, total=False):
    """state.json: what the program writes of itself."""

    schema: str
    #: fetching, waiting, testing, switching, retiring or failed.
    stage: str
    why: str
    #: The start of the program that wrote it.
    invocation: str
    model: str
    refused: Refusal


class UpgradeSeen(TypedDict):
    """How far a pending upgrade is."""

    model: str
    #: The model that answers meanwhile.
    until: str
    #: As in ``UpgradeState``, or starting, restarting or stopped.
    stage: str
    why: str
    done_bytes: int
    #: 0: unknown.
    total_bytes: int
    unit: str
    scope: str
    unit_state: str
