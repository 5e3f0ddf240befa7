"""A system package."""

from __future__ import annotations

from ..packages.installed import installed
from ..types.resource import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_package(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe whether a system package is installed, by the host's own package database."""
    present = host.once("packages", lambda: installed(host.names("package")))
    return {"present": resource["name"] in present}


KINDS = {
    # All packages are removed together, with their own dependencies (packages/removal.py).
    "package": Kind(observe_package),
}
