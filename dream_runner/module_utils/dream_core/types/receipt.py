"""Receipts: what each phase made and found on a host.

``records/receipt_form.py`` defines the fields that a reader may rely on.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Union

from ..document import TypedDict
from .resource import Resource
from .service import ServiceSummary


class Proof(TypedDict, total=False):
    """How the model was asked for its last answer."""

    #: native or full.
    profile: str
    url: str
    health_path: str
    api_path: str
    model: str
    deadline_seconds: float
    #: The compose project; empty for the native profile.
    project: str
    services: List[ServiceSummary]
    #: The unit or supervised program of the engine: ``{kind, ...}``.
    watch: Resource
    #: The path of the file with the key, or empty.
    key_file: Optional[str]


class PendingFile(TypedDict):
    """A file that the upgrade of a fast start still has to fetch."""

    file: str
    size_bytes: Optional[int]


class PendingUpgrade(TypedDict, total=False):
    """The upgrade that the models phase has started in the background."""

    model: str
    #: The model that answers in the meantime.
    until: str
    sha256: str
    unit: str
    #: system, user or background.
    scope: str
    files: List[PendingFile]


#: The facts of a phase for later phases and runs. Every role has its own keys (``_FACTS`` in
#: ``records/receipt_form.py``), and a summary has more.
PhaseFacts = Dict[str, Any]


class Receipt(TypedDict, total=False):
    """The receipt of one phase. Times are UTC in ISO 8601."""

    schema: int
    phase: str
    #: running, done, failed or removed.
    state: str
    version: Optional[str]
    run_id: Optional[str]
    install_dir: Optional[str]
    started_at: Optional[str]
    finished_at: Optional[str]
    facts: PhaseFacts
    #: ``{name: digest}`` of the phase's inputs; None: the phase is checked again.
    inputs: Optional[Dict[str, str]]
    resources: List[Resource]
    #: Resources from a newer version: kept, but never acted on.
    foreign: List[Any]


#: By phase.
Receipts = Mapping[str, Receipt]


#: The common fields of a run's receipts: version, run_id, install_dir and started_at.
Stamp = Receipt


class Wanted(TypedDict, total=False):
    """The inputs of a phase that are known before it runs."""

    #: ``{name: digest}``
    inputs: Dict[str, str]
    #: Phases whose facts the role reads.
    consumes: List[str]


class Mark(TypedDict):
    """The mark in an install directory that an install created."""

    schema: int
    install_dir: str
    #: The identities of resources outside the directory.
    made: List[List[Union[str, int]]]


class LastGood(TypedDict, total=False):
    """The manifest in ``proved/``: the last working configuration."""

    schema: int
    install_dir: Optional[str]
    version: Optional[str]
    proof: Proof
    #: The kept configuration files, each with its ``original``.
    files: List[Resource]
