"""Running services and their containers."""

from __future__ import annotations

from typing import Any, Dict, List

from ..document import TypedDict

#: JSON output of an engine.
EngineJson = Dict[str, Any]


class ServiceSummary(TypedDict):
    """The data about a service for the health phase, the plan and the user."""

    id: str
    title: str
    core: bool
    part_of: str
    #: It exits by itself when its work is done.
    once: bool
    #: Its URL on this host; empty if it publishes no port.
    url: str
    probe: str
    budget_seconds: int
    #: A description of what it downloads by itself.
    fetches: str


class Container(TypedDict):
    """A container of a compose project."""

    id: str
    name: str
    service: str
    #: Compose's hash of its configuration.
    hash: str
    #: The directory of its compose file.
    directory: str
    labels: Dict[str, str]
    image: str
    #: created, running, paused, restarting, exited or dead.
    state: str
    exit_code: int
    #: healthy, unhealthy, starting or empty.
    health: str
    restarts: int
    policy: str
    networks: List[str]
    environment: Dict[str, str]
    command: List[str]
    #: ``address:port:container``
    ports: List[str]
