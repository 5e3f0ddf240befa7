"""A TCP port."""

from __future__ import annotations

from ..network import listeners
from ..types.resource import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_port(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe whether a program listens on a port."""
    found = host.once("listeners", listeners.listeners)
    return {"present": any(item["port"] == resource["port"] for item in found)}


KINDS = {
    # The port closes with its program.
    "port": Kind(observe_port, can_precede_us=False),
}
