"""The upgrade of a fast start: the input of its program, and its observed state."""

from __future__ import annotations

from typing import Any, Dict, List, Literal

from ..document import TypedDict
from .choice import Api, Model, StackImage
from .compose import Project
from .receipt import PhaseFacts, Wanted
from .service import ServiceSummary

#: A side of the switch: before (the small model) or after (the host's own).
SideName = Literal["before", "after"]


class UpgradeSide(TypedDict, total=False):
    """One side of the switch; ``compose`` and the following fields are for containers only."""

    model: Model
    #: Keys of ``.env``.
    env: Dict[str, str]
    api: Api
    #: ``{path, mode, content}``
    files: List[Dict[str, str]]
    services: List[ServiceSummary]
    #: Services that the stack cannot work without.
    core: List[str]
    compose: Project
    images: List[StackImage]


class NativeSide(TypedDict, total=False):
    """A configuration of the native engine, in a separate file."""

    #: The digest of the model.
    sha256: str
    #: The content of the engine's configuration file.
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
    """The unit of the program; ``path`` is empty if it runs without a unit."""

    name: str
    #: system, user or background.
    scope: str
    path: str


class FetchOrders(TypedDict):
    """Options for fetching the model."""

    reserve_bytes: int
    #: A path, or empty.
    token_file: str


class UpgradeDocument(TypedDict, total=False):
    """upgrade.json: the input of the program."""

    schema: str
    state_dir: str
    install_dir: str
    #: native, or containers.
    engine: str
    #: The container engine's client.
    command: str
    #: The URL of the engine.
    url: str
    #: The host's own model.
    model: Model
    before: UpgradeSide
    after: UpgradeSide
    fetch: FetchOrders
    unit: UpgradeUnit
    #: The facts that the switch changes, by phase.
    facts: Dict[str, PhaseFacts]
    #: The inputs of each phase after the switch.
    upgraded: Dict[str, Wanted]
    summary_file: str


class Refusal(TypedDict, total=False):
    """Why a model was refused, and the digest of its upgrade document."""

    digest: str
    why: str


class UpgradeState(TypedDict, total=False):
    """state.json: the state that the program writes."""

    schema: str
    #: fetching, waiting, testing, switching, retiring or failed.
    stage: str
    why: str
    #: The id of the start of the program that wrote it.
    invocation: str
    model: str
    refused: Refusal


class UpgradeSeen(TypedDict):
    """The progress of a pending upgrade."""

    model: str
    #: The model that answers in the meantime.
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
