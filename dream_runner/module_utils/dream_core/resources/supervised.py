"""Programs on hosts without systemd: under supervisord or under a keeper."""

from __future__ import annotations

from ..types.resource import Resource, Seen
from .kind import Kind
from .observed_host import Host


def observe_supervisor(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a program under supervisord."""
    # Imported here: only hosts without systemd have one.
    from ..native.supervisord_state import program_state

    state = program_state(resource["config"], resource["program"])
    return {"present": state is not None, "active": state or "stopped"}


def observe_background(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a program under a keeper."""
    # Imported here: only hosts without systemd have one.
    from ..native.background import problem, program_of

    if problem(program_of(resource)):
        return {"present": False}
    return {"present": True, "active": "active"}


def remove_supervisor(resource: Resource) -> None:
    """Stop supervisord and its programs."""
    from ..native.supervisord import stop

    stop(resource["config"])


def remove_background(resource: Resource) -> None:
    """Stop a keeper and its program."""
    from ..native.background import program_of, stop

    stop(program_of(resource))


KINDS = {
    "supervisor": Kind(observe_supervisor, remove_supervisor, can_precede_us=False),
    "background": Kind(observe_background, remove_background, can_precede_us=False),
}
