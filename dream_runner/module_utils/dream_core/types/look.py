"""The result of inspecting a host, locally or from a controller."""

from __future__ import annotations

from typing import Dict, List, Mapping

from ..document import TypedDict
from .facts import Facts
from .host import Filesystem, Listener, Session
from .receipt import Receipt

#: The differences from the receipts: ``{phase: [{what, found}]}``.
Drift = Mapping[str, List[Dict[str, str]]]


class Look(TypedDict):
    """The input of all decisions of a run."""

    install_dir: str
    facts: Facts
    #: cache or gathered.
    facts_source: str
    session: Session
    receipts: Dict[str, Receipt]
    drift: Dict[str, List[Dict[str, str]]]
    listeners: List[Listener]
    #: Digests (sha256) of the bundle's files.
    bundled: List[str]
    #: Present bytes of each model file; of a partial file under ``NAME.part``.
    held: Dict[str, int]
    #: Lines for the user.
    notes: List[str]


class EngineAnswer(TypedDict, total=False):
    """The answer of a host's model; ``url`` is empty if no install has finished."""

    url: str
    model: str
    answers: bool
    why: str
    seconds: float


class Visit(TypedDict):
    """The data about a host that a controller needs."""

    install_dir: str
    state_dir: str
    home: str
    #: An id of the account on this machine, whatever name the host has; empty: unknown.
    account: str
    #: The version of the host's Python, and its path.
    python: str
    interpreter: str
    #: Present bytes of each model file.
    present: Dict[str, int]
    #: Of the install directory.
    filesystem: Filesystem
    engine: EngineAnswer
    #: Whether the system has the library that the native engine needs.
    loads_engine: bool
    lingers: bool
    context: Look
