"""Addresses of this host: which exist, which one a client asks, how a URL spells it."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any, List, Sequence

#: What a server listens on when it listens everywhere, with the loopback addresses that
#: then answer, the best first. ``::`` takes IPv4 connections as well.
_ASKED_AT = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}
LOOPBACKS = ("127.0.0.1", "::1")


def is_everywhere(address: str) -> bool:
    """Tell whether a server bound to ``address`` listens on every address of the host."""
    return address in _ASKED_AT


def authority(host: str, port: int) -> str:
    """Return ``host:port`` as a URL spells it: IPv6 in brackets, its zone escaped (RFC 6874)."""
    name = "[%s]" % host.replace("%25", "%").replace("%", "%25") if ":" in host else host
    return "%s:%d" % (name, port)


def base_url(host: str, port: int) -> str:
    """Return the address of an HTTP server of this host, without a path."""
    return "http://" + authority(host, port)


def reachable(address: str, loopbacks: Sequence[str] = LOOPBACKS) -> str:
    """Return where a client of this host asks a server that is bound to ``address``.

    Never ``localhost``, which may resolve to the other family (C8).
    """
    ways = _ASKED_AT.get(address)
    if ways is None:
        return address
    return next((way for way in ways if way in loopbacks), ways[0])


def loopbacks() -> List[str]:
    """Return the loopback addresses that this host has."""
    return [address for address in LOOPBACKS if has(address)]


def has(address: str) -> bool:
    """Tell whether this host can listen on ``address``; a wildcard needs a loopback of its kind."""
    return _can_bind(address) and any(map(_can_bind, _ASKED_AT.get(address, (address,))))


def _can_bind(address: str) -> bool:
    with contextlib.suppress(OSError, UnicodeError):
        with contextlib.closing(socket.socket(family(address), socket.SOCK_STREAM)) as probe:
            probe.bind(_place(address))
        return True
    return False


def family(address: str) -> socket.AddressFamily:
    """Return the family of an address that is spelled in numbers."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _place(address: str) -> Any:
    """Return what ``bind`` takes; the zone of a link-local address is a number there."""
    return socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][
        4
    ]


def canonical(address: str) -> str:
    """Return one spelling for one place: without zone, IPv4 also where IPv6 carries it."""
    try:
        found: Any = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


def collide(one: str, other: str) -> bool:
    """Tell whether two servers cannot have the same port on these addresses."""
    places = (canonical(one), canonical(other))
    if "::" in places or places[0] == places[1]:
        return True
    return "0.0.0.0" in places and not any(":" in place for place in places)


def is_loopback(address: str) -> bool:
    """Tell whether only programs of this host reach what listens on ``address``."""
    try:
        return ipaddress.ip_address(canonical(address)).is_loopback
    except ValueError:
        return address == "localhost"
