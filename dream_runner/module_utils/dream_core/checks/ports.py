"""Choose a port for the model, and decide whether a service can publish a port. Pure."""

from __future__ import annotations

from typing import Collection, Dict, List, Optional, Sequence

from ..errors import RequirementError
from ..network.listeners import holder
from ..system.ip_addresses import collide
from ..types.choice import Choice, StackPort
from ..types.host import Listener

PREFERRED_PORT = 11434
PORT_SPAN = 100


def published(choice: Choice) -> List[StackPort]:
    """Return the ports of everything but the native engine: of the stack, or of Open WebUI."""
    app = choice.get("webui")
    return [*((choice.get("stack") or {}).get("ports") or ()), *([app["port"]] if app else [])]


def choose_port(
    requested: int,
    previous: Optional[int],
    listeners: Sequence[Listener],
    own: Collection[int] = (),
    *,
    bind_address: str = "127.0.0.1",
) -> int:
    """Return the engine's port: the user's, the previous one, 11434, or the next free one.

    ``own`` holds the ids of our processes; a listener marked ``own`` is ours as well. Raises
    RequirementError PORT_TAKEN, which names the program, if another program uses the user's port.
    """
    taken = _taken(previous, listeners, own, bind_address)
    if requested:
        if requested in taken:
            raise RequirementError(
                "port %d is in use by %s" % (requested, holder(taken[requested])),
                code="PORT_TAKEN",
                where="engine_port",
                hint="stop that program, or choose another port with --engine-port (0: the next "
                "free one)",
            )
        return requested
    candidates = [previous] if previous else []
    candidates += range(PREFERRED_PORT, PREFERRED_PORT + PORT_SPAN + 1)
    for port in candidates:
        if port not in taken:
            return port
    raise RequirementError(
        "all ports from %d to %d are in use" % (PREFERRED_PORT, PREFERRED_PORT + PORT_SPAN),
        code="PORT_TAKEN",
        where="engine_port",
        hint="choose a port with --engine-port",
    )


def is_free(
    port: int,
    previous: Optional[int],
    listeners: Sequence[Listener],
    bind_address: str = "127.0.0.1",
) -> bool:
    """Return whether a service can publish ``port``; ``previous`` is its port in the last run."""
    return port not in _taken(previous, listeners, (), bind_address)


def _taken(
    previous: Optional[int],
    listeners: Sequence[Listener],
    own: Collection[int],
    bind_address: str,
) -> Dict[int, Listener]:
    return {
        item["port"]: item
        for item in listeners
        if collide(str(item["address"]), bind_address) and not _is_own(item, previous, own)
    }


#: The program that holds a container's port on the host; its name does not show the container.
_PORT_HOLDER = "docker-proxy"


def _is_own(item: Listener, previous: Optional[int], own: Collection[int]) -> bool:
    if item.get("own") or item.get("pid") in own:
        return True
    # Its owner is unknown; on the port of the last run it counts as ours (U-25).
    hidden = item.get("pid") is None or item.get("name") == _PORT_HOLDER
    return hidden and item["port"] == previous
