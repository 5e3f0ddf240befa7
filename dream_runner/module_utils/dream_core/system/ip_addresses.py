"""Addresses of this host: which exist, which one a client asks, how a URL spells it."""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import socket
import struct
from typing import Any, Iterable, List, Sequence, Tuple

from .filesystems import lines

#: What a server listens on when it listens everywhere, with the loopback addresses that
#: then answer, the best first. ``::`` takes IPv4 connections as well.
_ASKED_AT = {"0.0.0.0": ("127.0.0.1",), "::": ("::1", "127.0.0.1")}
LOOPBACKS = ("127.0.0.1", "::1")


def is_everywhere(address: str) -> bool:
    """Return whether a server bound to ``address`` listens on every address of the host."""
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
    """Return whether this host can listen on ``address``; a wildcard needs a loopback address."""
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
    """Return whether two servers cannot have the same port on these addresses."""
    places = (canonical(one), canonical(other))
    if "::" in places or places[0] == places[1]:
        return True
    return "0.0.0.0" in places and not any(":" in place for place in places)


def is_loopback(address: str) -> bool:
    """Return whether only programs of this host reach what listens on ``address``."""
    try:
        return ipaddress.ip_address(canonical(address)).is_loopback
    except ValueError:
        return address == "localhost"


#: Interfaces that lead to containers and virtual machines of this host only.
_INNER = ("lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "lxc", "podman", "tap")


_SIOCGIFADDR = 0x8915


def addresses(if_inet6: str = "/proc/net/if_inet6") -> List[str]:
    """Return the addresses under which other computers see this one, the usual one first."""
    names = [name for _, name in socket.if_nameindex() if not name.startswith(_INNER)]
    found = [item for item in (_source_address(), *map(_ipv4, names)) if item]
    found += [address for name, address in _global_ipv6(if_inet6) if name in names]
    return list(dict.fromkeys(found))


def _source_address() -> str:
    """Return the address that this host sends from; a datagram socket connects without a byte."""
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
    """Yield interface and address of what is neither of this host nor of this link only."""
    for line in lines(path):
        fields = line.split()
        if len(fields) == 6 and fields[3] == "00":
            yield fields[5], socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[0]))
