"""What changes by the minute: disk, listeners, memory, clock. Read when needed, never cached.

Everything here only looks, except ``probe_semantics``, which says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import importlib.util
import os
import pwd
import re
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
from typing import Any, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from . import file_lock, ip_addresses
from .atomic import TEMP_PREFIX

#: Filesystems that honour modes, links and case; no need to write anything to find out.
SOUND_FILESYSTEMS = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay", "tmpfs", "bcachefs", "jfs")
)

#: What ``probe_semantics`` tries.
SEMANTICS = ("chmod", "symlink", "case", "lock", "socket")

_TCP_LISTEN = "0A"


# --- filesystems -------------------------------------------------------------


def existing_parent(path: str) -> str:
    """Return ``path``, or its nearest ancestor that is there."""
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def filesystem(path: str, mountinfo: str = "/proc/self/mountinfo") -> Dict[str, Any]:
    """Describe the filesystem that ``path`` is on, or would be on once it is made.

    ``device`` tells filesystems apart (two paths with the same one share the
    free bytes); ``free_bytes`` is what an ordinary user may still fill. ``own``: the path is there
    and this user's, who may open it again. None stands for what the kernel would not say.
    """
    there = existing_parent(path)
    mount, fstype = _mount_of(os.path.realpath(there), mountinfo)
    answer: Dict[str, Any] = {
        "path": path,
        "existing": there,
        "mount": mount,
        "fstype": fstype,
        "device": None,
        "free_bytes": None,
        "total_bytes": None,
        "read_only": False,
        "noexec": False,
        "is_directory": os.path.isdir(there),
        "writable": os.access(there, os.W_OK | os.X_OK),
        "own": False,
    }
    with contextlib.suppress(OSError):
        numbers, status = os.statvfs(there), os.stat(there)
        answer.update(
            own=there == path and status.st_uid == os.geteuid(),
            device=status.st_dev,
            free_bytes=numbers.f_bavail * numbers.f_frsize,
            total_bytes=numbers.f_blocks * numbers.f_frsize,
            read_only=bool(numbers.f_flag & os.ST_RDONLY),
            noexec=bool(numbers.f_flag & os.ST_NOEXEC),
        )
    return answer


def _mount_of(path: str, mountinfo: str) -> Tuple[Optional[str], Optional[str]]:
    """Return the mount point and type of ``path``; the last of the longest matches counts."""
    best: Tuple[Optional[str], Optional[str]] = (None, None)
    for line in _lines(mountinfo):
        left, _, right = line.partition(" - ")
        fields, kind = left.split(" "), right.split()
        if len(fields) < 5 or not kind:
            continue
        point = _unescape(fields[4])
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best[0] or ""):
            best = (point, kind[0])
    return best


def mount_points() -> List[str]:
    """Return the mount points of this process; names that are not UTF-8 keep their bytes."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as lines:
            # Only this character separates fields; other whitespace is part of a name.
            return sorted(_unescape(line.split(" ")[4]) for line in lines)
    except OSError:
        return []


def _unescape(text: str) -> str:
    """Undo the octal escapes of the kernel's mount tables."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def probe_semantics(directory: str) -> Dict[str, Optional[bool]]:
    """Try whether ``directory`` has modes, links, case, file locks and sockets.

    Writes a private temporary directory there and removes it. None: could not
    be tried.
    """
    answer: Dict[str, Optional[bool]] = dict.fromkeys(SEMANTICS)
    try:
        with tempfile.TemporaryDirectory(prefix=TEMP_PREFIX, dir=directory) as home:
            probe = os.path.join(home, "probe")
            with open(probe, "wb"):
                pass
            answer["chmod"] = _honours_chmod(probe)
            answer["case"] = not os.path.exists(os.path.join(home, "PROBE"))
            answer["symlink"] = _can_link(probe, os.path.join(home, "link"))
            answer["lock"] = file_lock.has_locks(home)
            answer["socket"] = _can_bind(home)
    except OSError:
        pass
    return answer


def _can_bind(directory: str) -> bool:
    handle = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            # Through the directory's descriptor: a path of any length fits into the address.
            server.bind("/proc/self/fd/%d/socket" % handle)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _honours_chmod(path: str) -> bool:
    modes = (0o600, 0o640)
    try:
        for mode in modes:
            os.chmod(path, mode)
            if stat.S_IMODE(os.stat(path).st_mode) != mode:
                return False
    except OSError:
        return False
    return True


def _can_link(target: str, link: str) -> bool:
    try:
        os.symlink(target, link)
    except OSError:
        return False
    return True


def allocated_bytes(path: str) -> int:
    """Return the bytes that ``path`` (a file, or all files below it) takes on its disk."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    total = status.st_blocks * 512
    if stat.S_ISDIR(status.st_mode):
        for directory, folders, files in os.walk(path):
            for name in folders + files:
                with contextlib.suppress(OSError):
                    total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


# --- listeners ---------------------------------------------------------------


def listeners(
    ports: Optional[Iterable[int]] = None,
    *,
    own_paths: Sequence[str] = (),
    own_units: Sequence[str] = (),
    proc: str = "/proc",
) -> List[Dict[str, Any]]:
    """Return who listens on TCP: ``{port, address, uid, pid, name, exe, own}``.

    ``pid``, ``name`` and ``exe`` are None where this user may not look. ``own``
    is true for a process of ours: its program or one of its arguments lies in
    ``own_paths``, or it belongs to one of the systemd units ``own_units``.
    """
    wanted = None if ports is None else set(ports)
    found = [
        entry
        for table in ("tcp", "tcp6")
        for entry in _read_table(os.path.join(proc, "net", table))
        if wanted is None or entry["port"] in wanted
    ]
    owners = _owners({entry["inode"] for entry in found}, proc) if found else {}
    for entry in found:
        pid = owners.get(entry.pop("inode"))
        entry.update(_describe(pid, own_paths, own_units, proc))
    return sorted(found, key=lambda entry: (entry["port"], entry["address"]))


def _read_table(path: str) -> Iterable[Dict[str, Any]]:
    for line in _lines(path)[1:]:
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
    """Return which process holds each socket, as far as this user may see."""
    wanted = {"socket:[%s]" % inode: inode for inode in inodes}
    owners: Dict[str, int] = {}
    for name in sorted(filter(str.isdigit, names_in(proc)), key=int):
        folder = os.path.join(proc, name, "fd")
        for handle in names_in(folder):
            inode = wanted.get(_link(os.path.join(folder, handle)) or "")
            if inode:
                owners.setdefault(inode, int(name))
        if len(owners) == len(inodes):
            break
    return owners


def _describe(
    pid: Optional[int], own_paths: Sequence[str], own_units: Sequence[str], proc: str
) -> Dict[str, Any]:
    if pid is None:
        return {"pid": None, "name": None, "exe": None, "own": False}
    home = os.path.join(proc, str(pid))
    exe = _link(os.path.join(home, "exe"))
    arguments = "".join(_lines(os.path.join(home, "cmdline"))).split("\0")
    units = {part for line in _lines(os.path.join(home, "cgroup")) for part in line.split("/")}
    own = any(is_inside(word, path) for word in (exe or "", *arguments) for path in own_paths)
    return {
        "pid": pid,
        "name": "".join(_lines(os.path.join(home, "comm"))) or None,
        "exe": exe,
        "own": own or not units.isdisjoint(own_units),
    }


def is_inside(path: str, directory: str) -> bool:
    """Tell whether ``path`` is ``directory`` or lies below it, by name alone."""
    directory = directory.rstrip("/")
    return bool(directory) and (path == directory or path.startswith(directory + "/"))


def holder(listener: Dict[str, Any]) -> str:
    """Name the program behind a listener in words for a person."""
    if listener.get("pid"):
        return "%s (pid %d)" % (listener.get("name") or "a program", listener["pid"])
    return "a program of %s" % _user(listener.get("uid"))


def _user(uid: Optional[int]) -> str:
    try:
        return "user %s" % pwd.getpwuid(int(uid or 0)).pw_name
    except KeyError:
        return "user id %s" % uid


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
    for line in _lines(path):
        fields = line.split()
        if len(fields) == 6 and fields[3] == "00":
            yield fields[5], socket.inet_ntop(socket.AF_INET6, bytes.fromhex(fields[0]))


# --- memory, clock, programs --------------------------------------------------


def available_memory_mb(meminfo: str = "/proc/meminfo") -> Optional[int]:
    """Return what the kernel says can be had without swapping, or None."""
    for line in _lines(meminfo):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return None


def can_load(library: str) -> bool:
    """Tell whether the dynamic linker finds ``library`` (``libgomp.so.1``)."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


#: How each family is asked for a package, with the answer that means installed.
_QUERIES = {
    "debian": (["dpkg-query", "-W", "-f=${db:Status-Status}"], "installed"),
    "redhat": (["rpm", "-q"], ""),
    "suse": (["rpm", "-q"], ""),
    "arch": (["pacman", "-Q"], ""),
    "alpine": (["apk", "info", "-e"], ""),
    "void": (["xbps-query"], ""),
}


def missing_packages(names: Sequence[str], family: str) -> List[str]:
    """Return the packages of ``names`` that are not installed; all where nobody can tell."""
    argv, answer = _QUERIES.get(family, (["false"], ""))
    return [name for name in names if not _says([*argv, name], answer)]


def _says(argv: Sequence[str], answer: str) -> bool:
    """Tell whether a program prints ``answer``; without one, whether it ends well."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    said = done.stdout.decode("utf-8", "replace").strip()
    return said == answer if answer else done.returncode == 0


def is_dpkg_interrupted(folder: str = "/var/lib/dpkg") -> bool:
    """Tell whether dpkg was stopped in the middle: it then refuses all other work.

    Its journal is empty unless it was killed; a package between unpacked and
    configured says so in the status.
    """
    if names_in(os.path.join(folder, "updates")):
        return True
    stuck = ("unpacked", "half-configured", "half-installed")
    return any(
        line.startswith("Status: ") and line.split()[-1] in stuck
        for line in _lines(os.path.join(folder, "status"))
    )


def module_parameters(
    names: Iterable[str], sys_module: str = "/sys/module"
) -> Dict[str, Dict[str, str]]:
    """Return the parameters in force of the loaded kernel modules among ``names``."""
    found: Dict[str, Dict[str, str]] = {}
    for name in names:
        folder = os.path.join(sys_module, name, "parameters")
        if os.path.isdir(folder):
            found[name] = {
                parameter: "".join(_lines(os.path.join(folder, parameter))[:1])
                for parameter in names_in(folder)
            }
    return found


def sysctl(name: str, proc: str = "/proc") -> Optional[str]:
    """Return the value of a kernel setting in force, or None where there is no such setting."""
    path = os.path.join(proc, "sys", *name.split("."))
    return " ".join("\n".join(_lines(path)).split()) if os.path.exists(path) else None


def can_make_environments(python: str = "") -> bool:
    """Tell whether ``python`` (empty: this one) can make virtual environments.

    Debian keeps ensurepip in a package of its own.
    """
    if not python or python == sys.executable:
        return importlib.util.find_spec("ensurepip") is not None
    return _says([python, "-c", "import ensurepip, venv"], "")


def has_certificates() -> bool:
    """Tell whether OpenSSL finds certificate authorities, so that https can be verified."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile) or bool(paths.capath and names_in(paths.capath))


def _lines(path: str) -> List[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read().splitlines()
    except OSError:
        return []


def names_in(path: str) -> List[str]:
    """Return the entries of a directory; none where it cannot be read."""
    try:
        return os.listdir(path)
    except OSError:
        return []


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None


# --- what the two checks look at ------------------------------------------------

#: Any of them makes a directory an installation of the stack that we replace.
_OLD_MARKS = (".env", "dream-cli", "docker-compose.yml", "data")


def look_preflight(install_dir: str, home: str, now: float, *, may_write: bool) -> Dict[str, Any]:
    """Return what ``preflight.check`` judges. Writes only with ``may_write``, and cleans up.

    The filesystem is tried only where its type does not already tell, so that
    an ordinary run touches nothing.
    """
    place = filesystem(install_dir)
    unknown = place["fstype"] not in SOUND_FILESYSTEMS
    tried = may_write and unknown and place["writable"] and place["is_directory"]
    return {
        "install_dir": place,
        "entries": sorted(names_in(install_dir)),
        "semantics": probe_semantics(place["existing"]) if tried else None,
        "old_install": _old_install(os.path.join(home, "dream-server"), install_dir),
        "docker_usable": _docker_usable(),
        "now": now,
    }


def _old_install(path: str, install_dir: str) -> Optional[str]:
    there = any(os.path.lexists(os.path.join(path, name)) for name in _OLD_MARKS)
    return path if there and path != install_dir else None


def _docker_usable(path: str = "/var/run/docker.sock") -> bool:
    return os.path.exists(path) and os.access(path, os.R_OK | os.W_OK)


def look_requirements(
    disk: Sequence[Dict[str, Any]],
    ports: Sequence[int],
    *,
    bind_address: str = "127.0.0.1",
    own_paths: Sequence[str] = (),
    own_units: Sequence[str] = (),
) -> Dict[str, Any]:
    """Return what ``requirements.check`` judges, for the disk needs and the ports decided on."""
    return {
        "has_address": ip_addresses.has(bind_address),
        "addresses": [*ip_addresses.loopbacks(), *addresses()],
        "disk": [_fill_need(item) for item in disk],
        "listeners": listeners(ports, own_paths=own_paths, own_units=own_units),
        "available_mb": available_memory_mb(),
        "first_free_port": int(
            "".join(_lines("/proc/sys/net/ipv4/ip_unprivileged_port_start")[:1]) or 1024
        ),
    }


def _fill_need(item: Dict[str, Any]) -> Dict[str, Any]:
    place = filesystem(item["path"])
    free, wanted = place["free_bytes"], item["mb"] * 1024 * 1024
    # Counting a tree takes time; it matters only where space is short. Ten needs
    # of that size may share the filesystem before the short way could be wrong.
    plenty = free is not None and free > 10 * (wanted + 1024**3)
    there = 0 if plenty else sum(allocated_bytes(path) for path in item.get("there", ()))
    return dict(
        item,
        there_bytes=there,
        device=place["device"],
        mount=place["mount"],
        free_bytes=free,
    )
