"""Containers, images, networks and volumes."""

from __future__ import annotations

from ..containers import engine_objects
from ..types.resource import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_container(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a container, image, network or volume through its engine."""
    known = host.once("engine", lambda: engine_objects.Engine(host.resources))
    return engine_objects.observe(resource, known)


def remove_container(resource: Resource) -> None:
    """Remove a container, image, network or volume."""
    from ..containers.engine_objects import remove as remove_of_engine

    remove_of_engine(resource)


KINDS = {
    "container": Kind(observe_container, remove_container),
    "network": Kind(observe_container, remove_container),
    "image": Kind(observe_container, remove_container, is_precious=True),
    "volume": Kind(observe_container, remove_container, is_precious=True),
}
