"""What one look at a host tells, here or from a controller."""

from __future__ import annotations

from typing import Dict, List, Mapping

from ..document import TypedDict
from .facts import Facts
from .host import Filesystem, Listener, Session
from .receipt import Receipt

#: What differs from a phase's receipt: ``{phase: [{what, found}]}``.
Drift = Mapping[str, List[Dict[str, str]]]


class Look(TypedDict):
    """Everything that the decisions of a run are made from."""

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
    #: Bytes that are there of each model file; of a partial under ``NAME.part``.
    held: Dict[str, int]
    #: Lines for the user.
    notes: List[str]


class EngineAnswer(TypedDict, total=False):
    """What the model of a host answered; ``url`` is empty where no install has ended."""

    url: str
    model: str
    answers: bool
    why: str
    seconds: float


class Visit(TypedDict):
    """What a controller needs to know of a host."""

    install_dir: str
    state_dir: str
    home: str
    #: The same for two names of one account on one machine, and only then; empty: unknown.
    account: str
    #: The version of the host's Python, and its path.
    python: str
    interpreter: str
    #: Bytes that are there of each model file.
    present: Dict[str, int]
    #: Of the install directory.
    filesystem: Filesystem
    engine: EngineAnswer
    #: The system has what the native engine needs.
    loads_engine: bool
    lingers: bool
    context: Look
