"""Services as they run: what is known of each, and its container."""

from __future__ import annotations

from typing import Any, Dict, List

from ..document import TypedDict

#: What an engine prints as JSON, in its own words.
EngineJson = Dict[str, Any]


class ServiceSummary(TypedDict):
    """What the health phase, the plan and a person need to know of a service."""

    id: str
    title: str
    core: bool
    part_of: str
    #: It ends by itself when its work is done.
    once: bool
    #: Where this host reaches it; empty if it publishes nothing.
    url: str
    probe: str
    budget_seconds: int
    #: What it downloads by itself, in words.
    fetches: str


class Container(TypedDict):
    """A container of a compose project."""

    id: str
    name: str
    service: str
    #: Compose's digest of its configuration.
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
