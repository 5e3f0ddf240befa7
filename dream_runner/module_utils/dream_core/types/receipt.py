"""Receipts: what each phase made on a host, and what it found there.

``records/receipt_form.py`` says which fields a reader may rely on.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Union

from ..document import TypedDict
from .resource import Resource
from .service import ServiceSummary


class Proof(TypedDict, total=False):
    """How the model was asked when it last answered."""

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
    #: A path of the file that holds the key, or empty.
    key_file: Optional[str]


class PendingFile(TypedDict):
    """A file that the upgrade of a fast start still fetches."""

    file: str
    size_bytes: Optional[int]


class PendingUpgrade(TypedDict, total=False):
    """The upgrade that the models phase left to a program in the background."""

    model: str
    #: The model that answers meanwhile.
    until: str
    sha256: str
    unit: str
    #: system, user or background.
    scope: str
    files: List[PendingFile]


#: What a phase recorded for later phases and runs. Every role has keys of its own
#: (``_FACTS`` in ``records/receipt_form.py``), and a summary has more.
PhaseFacts = Dict[str, Any]


class Receipt(TypedDict, total=False):
    """What one phase left on a host. Times are UTC in ISO 8601."""

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
    #: ``{name: digest}`` of what the phase depended on; None: it is checked again.
    inputs: Optional[Dict[str, str]]
    resources: List[Resource]
    #: Resources that a newer version recorded: kept, never acted on.
    foreign: List[Any]


#: By phase.
Receipts = Mapping[str, Receipt]


#: What every receipt of a run carries: version, run_id, install_dir and started_at.
Stamp = Receipt


class Wanted(TypedDict, total=False):
    """What a phase depends on, known before it runs."""

    #: ``{name: digest}``
    inputs: Dict[str, str]
    #: Phases whose facts its role reads.
    consumes: List[str]


class Mark(TypedDict):
    """The mark in an install directory that we made."""

    schema: int
    install_dir: str
    #: The identity of each resource outside the directory.
    made: List[List[Union[str, int]]]


class LastGood(TypedDict, total=False):
    """The manifest in ``proved/``: what the model last answered with."""

    schema: int
    install_dir: Optional[str]
    version: Optional[str]
    proof: Proof
    #: Configuration files as they were, each with its ``original``.
    files: List[Resource]
