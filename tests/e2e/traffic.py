"""Record where the packets of a machine without a network want to go.

``LEAD_NOWHERE`` routes every address to the loopback interface, where a packet for another machine
is seen and dropped. Also a script of its own, because it runs inside nodes: ``traffic.py REPORT
STOP`` until STOP is there. Standard library only.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import re
import socket
import sys
import time
from typing import Any

#: Nobody answers there: an address of the documentation, as the name server.
NAME_SERVER = "192.0.2.53"
LEAD_NOWHERE = f"""
set -e
ip route add default dev lo src 127.0.0.1
echo nameserver {NAME_SERVER} > /etc/resolv.conf
"""
_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmp6"}
#: Of <linux/if_ether.h>, <linux/socket.h> and <linux/if_packet.h>; Python has no names for them.
_EVERY_KIND, _SO_RCVBUFFORCE, _SOL_PACKET, _PACKET_STATISTICS = 3, 33, 263, 6


def target(frame: bytes) -> tuple[str, str] | None:
    """Return address and port, or protocol, that a frame is for; None if it is not IP."""
    kind, packet = int.from_bytes(frame[12:14], "big"), frame[14:]
    if kind == 0x0800 and len(packet) >= 20:
        address, protocol, rest = packet[16:20], packet[9], packet[(packet[0] & 15) * 4 :]
    elif kind == 0x86DD and len(packet) >= 40:
        address, protocol, rest = packet[24:40], packet[6], packet[40:]
    else:
        return None
    name = _PROTOCOLS.get(protocol, str(protocol))
    port = f"/{int.from_bytes(rest[2:4], 'big')}" if name in ("tcp", "udp") else ""
    return str(ipaddress.ip_address(address)), name + port


def own_addresses() -> set[str]:
    """Return the addresses of this machine, those of its bridges among them."""
    found: set[str] = set()
    with contextlib.suppress(OSError), open("/proc/net/fib_trie", encoding="ascii") as stream:
        found.update(re.findall(r"\|-- (\S+)\n +/32 host LOCAL", stream.read()))
    with contextlib.suppress(OSError), open("/proc/net/if_inet6", encoding="ascii") as stream:
        for line in stream:
            found.add(str(ipaddress.ip_address(bytes.fromhex(line.split()[0]))))
    return found


def is_here(address: str, own: set[str]) -> bool:
    return address in own or ipaddress.ip_address(address).is_loopback


def record(report: str, stop: str) -> None:
    """Write ``{packets, away: {"ADDRESS PROTOCOL/PORT": packets}}`` when ``stop`` is there."""
    seen: dict[tuple[str, str], int] = {}
    own, looked = own_addresses(), 0.0
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_KIND)) as wire:
        wire.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 * 1024 * 1024)
        wire.bind(("lo", 0))
        wire.settimeout(0.2)
        while not os.path.exists(stop):
            # A bridge comes and goes with its network.
            if time.monotonic() - looked > 0.5:
                own, looked = own | own_addresses(), time.monotonic()
            with contextlib.suppress(socket.timeout):
                frame, (_, _, direction, *_) = wire.recvfrom(256)
                found = target(frame) if direction == socket.PACKET_OUTGOING else None
                if found:
                    seen[found] = seen.get(found, 0) + 1
        lost = _lost(wire)
    away = {" ".join(key): count for key, count in seen.items() if not is_here(key[0], own)}
    said: dict[str, Any] = {"packets": sum(seen.values()), "lost": lost, "away": away}
    with open(report + ".new", "w", encoding="utf-8") as stream:
        json.dump(said, stream)
    os.replace(report + ".new", report)


def _lost(wire: socket.socket) -> int:
    """Return how many packets did not fit into the buffer."""
    counters = wire.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
    return int.from_bytes(counters[4:], sys.byteorder)


if __name__ == "__main__":
    record(sys.argv[1], sys.argv[2])
