"""Choose the published port and address of every service.

The port is the user's choice, else the last run's, else the service's default, else the next free
one. Users bookmark ports, so a port stays the same; two services never share one. A page with a
sign-in listens on the address of the settings. Every other port listens on this machine
only, unless --expose names it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..module_utils.dream_core.checks.ports import PREFERRED_PORT, is_free, published
from ..module_utils.dream_core.errors import RequirementError
from ..module_utils.dream_core.network.listeners import holder
from ..module_utils.dream_core.system import ip_addresses
from ..module_utils.dream_core.types.choice import Choice, StackPort
from ..module_utils.dream_core.types.compose import Service, ServicePort
from ..module_utils.dream_core.types.host import Listener
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.settings import SettingValues

#: Maximum distance from a service's default port.
_SPAN = 100


def choose_all(
    services: Sequence[Service],
    engine_port: int,
    receipts: Receipts,
    listeners: Sequence[Listener],
    settings: SettingValues,
    loopbacks: Sequence[str] = ip_addresses.LOOPBACKS,
) -> list[StackPort]:
    """Return ``[{service, key, port, container, address, usual, guard}]`` of all published ports.

    The engine's port was chosen before. Raises RequirementError PORT_TAKEN if no port is left
    for a service, or if another program uses the chosen one.
    """
    chosen = _chosen(services, settings.get("ports") or ())
    previous = previous_ports(receipts)
    # Do not assign a port that is the default of another service of ours.
    own = {item["host"] for service in services for item in service.get("ports", ())}
    own |= set(chosen.values())
    taken: set[int] = {engine_port}
    found: list[StackPort] = []
    for service in services:
        for item in service.get("ports", ()):
            address = _address_of(str(service["id"]), item, settings, loopbacks)
            if item["key"] == _ENGINE_KEY:
                port = engine_port
            elif item["key"] in chosen:
                port = chosen[item["key"]]
                _check(item, port, previous.get(item["key"]), taken, listeners, address)
            else:
                avoid = taken | (own - {item["host"]}) | set(chosen.values())
                port = _choose(item, previous.get(item["key"]), avoid, listeners, address)
            taken.add(port)
            found.append(
                {
                    "service": service["id"],
                    "key": item["key"],
                    "port": port,
                    "container": item["container"],
                    "address": address,
                    "usual": chosen.get(item["key"], item["host"]),
                    "guard": item["guard"],
                }
            )
    return found


def _address_of(
    service: str, item: ServicePort, settings: SettingValues, loopbacks: Sequence[str]
) -> str:
    """Return the address that a port listens on; ``--lan`` opens only pages with a sign-in."""
    exposed = settings.get("expose") or ()
    if item["exposure"] == "page" or service in exposed or item["key"] in exposed:
        return str(settings["bind_address"])
    return next(
        (here for here in ip_addresses.LOOPBACKS if here in loopbacks), ip_addresses.LOOPBACKS[0]
    )


def engine_address(
    services: Sequence[Service],
    settings: SettingValues,
    loopbacks: Sequence[str] = ip_addresses.LOOPBACKS,
) -> str:
    """Return the address that the engine listens on. The native engine serves the only page."""
    if settings["profile"] == "native":
        return str(settings["bind_address"])
    for service in services:
        for item in service.get("ports", ()):
            if item["key"] == _ENGINE_KEY:
                return _address_of(str(service["id"]), item, settings, loopbacks)
    raise KeyError(_ENGINE_KEY)


def exposable(services: Sequence[Service]) -> list[str]:
    """Return the names that ``--expose`` accepts: services with a port, and the ports' keys."""
    publishing = [item for item in services if item.get("ports")]
    keys = [port["key"] for item in publishing for port in item["ports"]]
    return [str(item["id"]) for item in publishing] + keys


_ENGINE_KEY = "OLLAMA_PORT"


def notes(
    settings: SettingValues,
    choice: Choice,
    receipts: Receipts,
    listeners: Sequence[Listener],
) -> list[str]:
    """Return a line for each port that is not the default, with the program that uses the default.

    The line of an earlier run is repeated for a port that stayed: the other program may be gone.
    """
    before = ((receipts.get("requirements") or {}).get("facts") or {}).get("port_notes") or ()
    rows = [(int(settings["engine_port"]) or PREFERRED_PORT, int(choice["engine_port"]), "")]
    rows += [
        (int(item["usual"]), int(item["port"]), " for {}".format(item["service"]))
        for item in published(choice)
        if item["key"] != _ENGINE_KEY
    ]
    found = []
    for usual, used, whose in rows:
        end = f"; using {used}{whose}."
        said = [line for line in before if line.endswith(end)]
        others = [item for item in listeners if item["port"] == usual and not item.get("own")]
        if used != usual and (said or others):
            line = said[0] if said else f"Port {usual} is used by {holder(others[0])}{end}"
            found.append(line)
    return found


def names(services: Sequence[Service]) -> list[str]:
    """Return the names that --ports accepts: services with one port, and the keys of all ports."""
    single = [item["id"] for item in services if len(_own(item)) == 1]
    return single + [port["key"] for item in services for port in _own(item)]


def _own(service: Service) -> list[ServicePort]:
    """Return the ports of a service without the engine's, which has its own setting."""
    return [item for item in service.get("ports", ()) if item["key"] != _ENGINE_KEY]


def _chosen(services: Sequence[Service], words: Sequence[str]) -> dict[str, int]:
    """Return the chosen ports of the running services, by key."""
    found = {}
    for word in words:
        name, _, port = word.partition("=")
        for service in services:
            for item in _own(service):
                if name == item["key"] or (name == service["id"] and len(_own(service)) == 1):
                    found[item["key"]] = int(port)
    return found


def _check(
    item: ServicePort,
    port: int,
    previous: Any,
    taken: set[int],
    listeners: Sequence[Listener],
    address: str,
) -> None:
    if port in taken or not is_free(port, previous, listeners, address):
        raise RequirementError(
            f"port {port} is already in use",
            code="PORT_TAKEN",
            where=str(item["key"]),
            hint="'ss -ltnp' shows the program; choose another port: --ports {}=PORT".format(
                item["key"]
            ),
        )


def previous_ports(receipts: Receipts) -> dict[str, int]:
    """Return the ports that an earlier run assigned, by key."""
    facts = (receipts.get("requirements") or {}).get("facts") or {}
    saved = facts.get("ports")
    return dict(saved) if isinstance(saved, dict) else {}


def _choose(
    item: ServicePort,
    previous: Any,
    avoid: set[int],
    listeners: Sequence[Listener],
    address: str,
) -> int:
    wanted = [int(previous)] if previous else []
    wanted += range(item["host"], item["host"] + _SPAN + 1)
    for port in wanted:
        if port not in avoid and is_free(port, previous, listeners, address):
            return port
    raise RequirementError(
        f"all ports from {item['host']} to {item['host'] + _SPAN} are in use",
        code="PORT_TAKEN",
        where=str(item["key"]),
        hint="stop one of the programs that use them ('ss -ltnp'), then run this again",
    )
