"""Which port every service publishes: last time's, else its own, else the next free one.

Ports that users have bookmarked must not move, so that what was given once is
kept; two services of ours never get the same one.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Sequence, Set

from .errors import RequirementError
from .requirements import is_free

#: How far from its own port a service may be put.
_SPAN = 100


def choose_all(
    services: Sequence[Mapping[str, Any]],
    engine_port: int,
    receipts: Mapping[str, Any],
    listeners: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Any],
) -> List[Dict[str, Any]]:
    """Return ``[{service, key, port, container, address}]`` for everything published.

    The engine's port was chosen before. Raises RequirementError PORT_TAKEN when
    there is none left for a service.
    """
    previous = previous_ports(receipts)
    address = str(settings["bind_address"])
    # Nobody is moved onto the port that another one of ours has by itself.
    own = {item["host"] for service in services for item in service.get("ports", ())}
    taken: Set[int] = {engine_port}
    found = []
    for service in services:
        for item in service.get("ports", ()):
            if item["key"] == _ENGINE_KEY:
                port = engine_port
            else:
                avoid = taken | (own - {item["host"]})
                port = _choose(item, previous.get(item["key"]), avoid, listeners, address)
            taken.add(port)
            found.append(
                {
                    "service": service["id"],
                    "key": item["key"],
                    "port": port,
                    "container": item["container"],
                    "address": address,
                }
            )
    return found


_ENGINE_KEY = "OLLAMA_PORT"


def previous_ports(receipts: Mapping[str, Any]) -> Dict[str, int]:
    """Return the ports that an earlier run gave, by their keys."""
    facts = (receipts.get("requirements") or {}).get("facts") or {}
    saved = facts.get("ports")
    return dict(saved) if isinstance(saved, dict) else {}


def _choose(
    item: Mapping[str, Any],
    previous: Any,
    avoid: Set[int],
    listeners: Sequence[Mapping[str, Any]],
    address: str,
) -> int:
    wanted = [int(previous)] if previous else []
    wanted += range(item["host"], item["host"] + _SPAN + 1)
    for port in wanted:
        if port not in avoid and is_free(port, previous, listeners, address):
            return port
    raise RequirementError(
        "every port from %d to %d is taken" % (item["host"], item["host"] + _SPAN),
        code="PORT_TAKEN",
        where=str(item["key"]),
        hint="stop one of the programs there, then run again",
    )
