"""TCP listeners of this host, and their programs."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from typing import Dict, Iterable, List, Optional, Sequence, Set

from ..document import TypedDict
from ..system.filesystems import is_inside, lines, names_in, read_link
from ..types.host import Listener

_TCP_LISTEN = "0A"


def listeners(
    ports: Optional[Iterable[int]] = None,
    *,
    own_paths: Sequence[str] = (),
    own_units: Sequence[str] = (),
    proc: str = "/proc",
) -> List[Listener]:
    """Return the TCP listeners: ``{port, address, uid, pid, name, exe, own}``.

    ``pid``, ``name`` and ``exe`` are None if this user may not read them. ``own`` is true for our
    processes: the program or one of its arguments is in ``own_paths``, or the process belongs to
    one of the systemd units ``own_units``.
    """
    wanted = None if ports is None else set(ports)
    found = [
        entry
        for table in ("tcp", "tcp6")
        for entry in _read_table(os.path.join(proc, "net", table))
        if wanted is None or entry["port"] in wanted
    ]
    owners = _owners({entry["inode"] for entry in found}, proc) if found else {}
    described = [
        _describe(entry, owners.get(entry["inode"]), own_paths, own_units, proc) for entry in found
    ]
    return sorted(described, key=lambda entry: (entry["port"], entry["address"]))


class _Row(TypedDict):
    """A row of the kernel's table."""

    port: int
    address: str
    uid: int
    inode: str


def _read_table(path: str) -> Iterable[_Row]:
    for line in lines(path)[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _TCP_LISTEN:
            continue
        host, _, port = fields[1].partition(":")
        yield {
            "port": int(port, 16),
            "address": _address(host),
            "uid": int(fields[7]),
            "inode": fields[9],
        }


def _address(text: str) -> str:
    """Return the address that /proc/net prints as native-endian 32-bit words."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    family = socket.AF_INET if len(words) == 1 else socket.AF_INET6
    return socket.inet_ntop(family, struct.pack("=%dI" % len(words), *words))


def _owners(inodes: Set[str], proc: str) -> Dict[str, int]:
    """Return the process of each socket, as far as this user may read it."""
    wanted = {"socket:[%s]" % inode: inode for inode in inodes}
    owners: Dict[str, int] = {}
    for name in sorted(filter(str.isdigit, names_in(proc)), key=int):
        folder = os.path.join(proc, name, "fd")
        for handle in names_in(folder):
            inode = wanted.get(read_link(os.path.join(folder, handle)) or "")
            if inode:
                owners.setdefault(inode, int(name))
        if len(owners) == len(inodes):
            break
    return owners


def _describe(
    row: _Row, pid: Optional[int], own_paths: Sequence[str], own_units: Sequence[str], proc: str
) -> Listener:
    found: Listener = {
        "port": row["port"],
        "address": row["address"],
        "uid": row["uid"],
        "pid": None,
        "name": None,
        "exe": None,
        "own": False,
    }
    if pid is None:
        return found
    home = os.path.join(proc, str(pid))
    exe = read_link(os.path.join(home, "exe"))
    arguments = "".join(lines(os.path.join(home, "cmdline"))).split("\0")
    units = {part for line in lines(os.path.join(home, "cgroup")) for part in line.split("/")}
    own = any(is_inside(word, path) for word in (exe or "", *arguments) for path in own_paths)
    return {
        **found,
        "pid": pid,
        "name": "".join(lines(os.path.join(home, "comm"))) or None,
        "exe": exe,
        "own": own or not units.isdisjoint(own_units),
    }


def holder(listener: Listener) -> str:
    """Describe the program of a listener for a person."""
    pid = listener.get("pid")
    if pid:
        return "%s (pid %d)" % (listener.get("name") or "a program", pid)
    return "a program of %s" % _user(listener.get("uid"))


def _user(uid: Optional[int]) -> str:
    try:
        return "user %s" % pwd.getpwuid(int(uid or 0)).pw_name
    except KeyError:
        return "user id %s" % uid
