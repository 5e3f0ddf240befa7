"""A system package."""

from __future__ import annotations

from ..types import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_package(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe whether a system package is installed."""
    return {"present": host.has_package(resource["name"])}


KINDS = {
    # Removed all at once, with what only they need (packages/removal.py).
    "package": Kind(observe_package),
}
