"""A kernel setting."""

from __future__ import annotations

from ..system import kernel
from ..types.resource import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_sysctl(resource: Resource, host: Host, depth: int) -> Seen:
    """See the value in force: a file of settings says what the next boot brings."""
    value = kernel.sysctl(resource["name"])
    return {"present": value is not None, "value": value}


KINDS = {
    # Its file goes; the value in force stays until the next boot.
    "sysctl": Kind(observe_sysctl),
}
