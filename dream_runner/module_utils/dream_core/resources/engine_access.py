"""What lets an account use the container engine: a group, options of the daemon."""

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
    """See options of ours in a JSON file of somebody else's."""
    return {"present": daemon_options.holds(engine_look.read(resource["path"]), resource["set"])}


def remove_group(resource: Resource) -> None:
    """Take an account out of a group."""
    run_or_keep(["gpasswd", "--delete", resource["user"], resource["group"]])


def remove_options(resource: Resource) -> None:
    """Take our options out of the file; an empty one goes."""
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
