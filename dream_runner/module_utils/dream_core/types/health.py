"""The health of an installation: the model's answer, the features, the access."""

from __future__ import annotations

from typing import Dict, List, Optional

from ..document import TypedDict


class Endpoint(TypedDict):
    """The engine's address and API; ``url`` is empty if it is unknown."""

    url: str
    health: str
    #: The path before ``/v1``.
    path: str
    model: str
    #: A path, or empty.
    key_file: str


class Asked(TypedDict, total=False):
    """The observations while asking the engine one question."""

    url: str
    listening: bool
    #: A description of the program that uses the port.
    holder: str
    ours: bool
    healthy: bool
    model: str
    answer: str
    #: Whether the program that answers is ours.
    answers: bool
    busy: bool
    seconds: float
    why: str


class Fetched(TypedDict):
    """The status of one GET; None, with an error, if there was no answer."""

    status: Optional[int]
    error: str


class Answer(TypedDict):
    """An answer of the model, and its duration."""

    text: str
    seconds: float
    busy: bool


class FeatureTests(TypedDict, total=False):
    """The tests of the features: those that passed, and why others failed or were skipped."""

    passed: List[str]
    failed: Dict[str, str]
    unproven: Dict[str, str]
