"""IP addresses of this host, and their form in URLs."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from typing import Any, Callable, Iterable, List, Sequence, Tuple

from .filesystems import lines

#: The wildcard addresses, with the loopback addresses that then answer, the best first. ``::``
#: accepts IPv4 connections as well.
_ASKED_AT = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}
LOOPBACKS = ("127.0.0.1", "::1")


def is_everywhere(address: str) -> bool:
    """Return whether ``address`` is a wildcard: a server then listens on every address."""
    return address in _ASKED_AT


def authority(host: str, port: int) -> str:
    """Return ``host:port`` for a URL: IPv6 in brackets, its zone escaped (RFC 6874)."""
    name = "[%s]" % host.replace("%25", "%").replace("%", "%25") if ":" in host else host
    return "%s:%d" % (name, port)


def base_url(host: str, port: int) -> str:
    """Return the base URL of an HTTP server on this host."""
    return "http://" + authority(host, port)


def reachable(address: str, loopbacks: Sequence[str] = LOOPBACKS) -> str:
    """Return the address at which a client on this host reaches a server bound to ``address``.

    Never ``localhost``, which may resolve to the other family (C8).
    """
    ways = _ASKED_AT.get(address)
    if ways is None:
        return address
    return next((way for way in ways if way in loopbacks), ways[0])


def loopbacks() -> List[str]:
    """Return the loopback addresses that this host has."""
    return [address for address in LOOPBACKS if has(address)]


def can_bind(address: str) -> bool:
    """Return whether a socket of this host can have ``address``."""
    with contextlib.suppress(OSError, UnicodeError):
        with contextlib.closing(socket.socket(family(address), socket.SOCK_STREAM)) as probe:
            probe.bind(_place(address))
        return True
    return False


def has(address: str, can_bind: Callable[[str], bool] = can_bind) -> bool:
    """Return whether this host can listen on ``address``; a wildcard needs a loopback address."""
    return can_bind(address) and any(map(can_bind, _ASKED_AT.get(address, (address,))))


def family(address: str) -> socket.AddressFamily:
    """Return the family of a numeric address."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _place(address: str) -> Any:
    """Return the argument for ``bind``, where the zone of a link-local address is a number."""
    return socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)[0][
        4
    ]


def canonical(address: str) -> str:
    """Return the canonical form of an address: no zone, and IPv4 for an IPv4-mapped address."""
    try:
        found: Any = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


def collide(one: str, other: str) -> bool:
    """Return whether two servers on these addresses cannot use the same port."""
    places = (canonical(one), canonical(other))
    if "::" in places or places[0] == places[1]:
        return True
    return "0.0.0.0" in places and not any(":" in place for place in places)


def is_loopback(address: str) -> bool:
    """Return whether only programs on this host can reach ``address``."""
    try:
        return ipaddress.ip_address(canonical(address)).is_loopback
    except ValueError:
        return address == "localhost"


#: Interfaces that connect only containers and virtual machines of this host.
_INNER = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "lxc", "podman", "tap")


_SIOCGIFADDR = 0x8915


def addresses(if_inet6: str = "/proc/net/if_inet6") -> List[str]:
    """Return the addresses at which other computers reach this one, the usual one first."""
    names = [name for _, name in socket.if_nameindex() if not name.startswith(_INNER)]
    found = [item for item in (_source_address(), *map(_ipv4, names)) if item]
    found += [address for name, address in _global_ipv6(if_inet6) if name in names]
    return list(dict.fromkeys(found))


def _source_address() -> str:
    """Return the source address of this host; connecting a datagram socket sends nothing."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.connect(("192.0.2.1", 9))
        found = str(sender.getsockname()[0])
        return "" if found.startswith("127.") else found
    return ""


def _ipv4(interface: str) -> str:
    request = struct.pack("256s", os.fsencode(interface)[:15])
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        return socket.inet_ntoa(fcntl.ioctl(asker.fileno(), _SIOCGIFADDR, request)[20:24])
    return ""


def _global_ipv6(path: str) -> Iterable[Tuple[str, str]]:
    """Yield interface and address of all global IPv6 addresses."""
    for line in lines(path):
        fields = line.split()
        if len(fields) == 6 and fields[3] == "00":
            yield fields[5], socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[0]))
