"""A kernel setting."""

from __future__ import annotations

from ..system import kernel
from ..types.resource import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_sysctl(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe the value in force; the settings file only shows the value after the next boot."""
    value = kernel.sysctl(resource["name"])
    return {"present": value is not None, "value": value}


KINDS = {
    # Its file is removed; the value in force stays until the next boot.
    "sysctl": Kind(observe_sysctl),
}
