"""What the health of an installation is told with: the model's answer, the features, the access."""

from __future__ import annotations

from typing import Dict, List, Optional

from ..document import TypedDict


class Endpoint(TypedDict):
    """Where the engine is and how it is asked; ``url`` is empty if it is unknown."""

    url: str
    health: str
    #: The path before ``/v1``.
    path: str
    model: str
    #: A path, or empty.
    key_file: str


class Asked(TypedDict, total=False):
    """What was seen while the engine was asked one question."""

    url: str
    listening: bool
    #: The program that has the port, in words.
    holder: str
    ours: bool
    healthy: bool
    model: str
    answer: str
    #: The program that answers is ours.
    answers: bool
    busy: bool
    seconds: float
    why: str


class Fetched(TypedDict):
    """The status of one GET; None, with an error, where nothing answered."""

    status: Optional[int]
    error: str


class Answer(TypedDict):
    """An answer of the model, and how long it took."""

    text: str
    seconds: float
    busy: bool


class FeatureTests(TypedDict, total=False):
    """The tests of the features: those that passed, and why others failed or were left out."""

    passed: List[str]
    failed: Dict[str, str]
    unproven: Dict[str, str]
