"""Access to the container engine: membership in a group, and options of the daemon."""

from __future__ import annotations

import os

from ..containers import daemon_options, engine_look
from ..system import atomic
from ..types.resource import Resource, Seen
from .kind import Kind, run_or_keep
from .observed_host import Host


def observe_group(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe whether an account is a member of a group."""
    return {"present": engine_look.is_member(resource["user"], resource["group"])}


def observe_options(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe our options in a JSON file that belongs to others."""
    return {"present": daemon_options.holds(engine_look.read(resource["path"]), resource["set"])}


def remove_group(resource: Resource) -> None:
    """Remove an account from a group."""
    run_or_keep(["gpasswd", "--delete", resource["user"], resource["group"]])


def remove_options(resource: Resource) -> None:
    """Remove our options from the file, and the file if it is then empty."""
    path = resource["path"]
    rest = daemon_options.without(engine_look.read(path), resource["set"])
    if rest:
        atomic.write_bytes(path, rest.encode(), int(engine_look.mode(path, "0644"), 8))
    else:
        os.unlink(path)


KINDS = {
    "group": Kind(observe_group, remove_group),
    "options": Kind(observe_options, remove_options),
}
