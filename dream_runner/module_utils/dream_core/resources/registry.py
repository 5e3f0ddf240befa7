"""All kinds of resources, by name."""

from __future__ import annotations

from typing import Dict, Iterable, List, Sequence

from ..types.resource import Resource, Seen
from . import container, engine_access, file, kernel, model, package, port, supervised, unit
from .kind import GLANCE, LOOK, Kind
from .observed_host import Host

_FILES = (container, engine_access, file, kernel, model, package, port, supervised, unit)
KINDS: Dict[str, Kind] = {name: kind for item in _FILES for name, kind in item.KINDS.items()}


def observe(resource: Resource, host: Host, depth: int = LOOK) -> Seen:
    """Return the current state of ``resource``; a missing one is ``{"present": False}``."""
    return KINDS[resource["kind"]].observe(resource, host, depth)


def observe_all(resources: Iterable[Resource]) -> List[Resource]:
    """Return the resources, each with its current state under ``seen``."""
    known = list(resources)
    host = Host(known)
    return [{**item, "seen": observe(item, host)} for item in known]


def was_there(resources: Sequence[Resource]) -> List[bool]:
    """Return for each resource whether it is on the host before a phase changes it.

    Links are not followed: an object of any type at the path counts. A unit, program or port with
    that name did not exist before our first receipt, or it was ours.
    """
    host = Host(resources)
    return [
        KINDS[item["kind"]].can_precede_us and observe(item, host, GLANCE)["present"]
        for item in resources
    ]


def remove(resource: Resource) -> None:
    """Remove a resource that is on the host.

    Raises Cannot with the reason if it stays, DreamError, OSError or SubprocessError.
    """
    how = KINDS[resource["kind"]].remove
    if how is not None:
        how(resource)
