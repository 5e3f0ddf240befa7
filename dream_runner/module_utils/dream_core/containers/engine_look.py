"""Inspect a host's container engine, as far as this login may."""

from __future__ import annotations

import glob
import grp
import json
import os
import re
import stat
from typing import Dict, List, Optional, Sequence, Tuple

from ..packages import installed
from ..system import filesystems, systemd, tools
from ..types.engine import DeviceGroup, EngineLook, EngineUnit
from ..types.service import EngineJson
from . import daemon_options
from .daemon_options import DAEMON_FILE, DEFAULT_ROOT
from .engine_choice import CDI_FILE
from .engine_source import ENGINE_PACKAGES

_LISTS = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/*", "/etc/yum.repos.d/*.repo")
_DEVICES = ("/dev/kfd", "/dev/dri", "/dev/dri/renderD*")
#: An engine that is starting takes a few seconds; a hanging one is not waited for.
_PATIENCE_SECONDS = 60
#: Seconds by which the boot clock and file times may differ.
_SLACK_SECONDS = 2


def look(command: str, family: str, data_root: str = "") -> EngineLook:
    """Return the input of ``engine_choice.plan``."""
    program = tools.path_of(command)
    answer: EngineLook = {"program": program, "problem": ""}
    if program:
        answer.update(_ask(program))
    text = read(DAEMON_FILE)
    place = data_root or str((answer.get("info") or {}).get("DockerRootDir") or "")
    place = place or str(daemon_options.parse(text).get("data-root", DEFAULT_ROOT))
    sources, keys = _sources()
    names = sorted(ENGINE_PACKAGES)
    missing = installed.missing_packages(names, family) if program else names
    return {
        **answer,
        "daemon_text": text,
        "filesystem": filesystems.filesystem(place),
        "installed": [name for name in names if name not in missing],
        "sources": sources,
        "keys": keys,
        "devices": _devices(),
        "toolkit": tools.path_of("nvidia-ctk"),
        "cdi_text": read(CDI_FILE),
    }


def _ask(program: str) -> EngineLook:
    info, problem = _json([program, "info", "--format", "{{json .}}"])
    version, _ = _json([program, "version", "--format", "{{json .}}"])
    compose, _ = _output([program, "compose", "version", "--short"])
    # The client writes this if it cannot reach the engine, and exits 0 or 1.
    said = "; ".join(info.get("ServerErrors") or []) or problem
    return {"info": info, "version": version, "compose": compose, "problem": said}


def _json(argv: Sequence[str]) -> Tuple[EngineJson, str]:
    text, problem = _output(argv, also_failed=True)
    try:
        document = json.loads(text)
    except ValueError:
        return {}, problem
    return (document if isinstance(document, dict) else {}), problem


def _output(argv: Sequence[str], also_failed: bool = False) -> Tuple[str, str]:
    """Return a program's output and its error; the output is empty if it failed."""
    try:
        done = tools.run(argv, _PATIENCE_SECONDS)
    except tools.NOT_RUN as error:
        return "", str(error)
    text = done.output.strip()
    return (text if also_failed or done.status == 0 else ""), done.errors.strip()


def read(path: str) -> Optional[str]:
    """Return the text of a file; None if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except FileNotFoundError:
        return None


def _sources() -> Tuple[List[str], List[str]]:
    """Return the addresses and keys in the package manager's source lists."""
    text = ""
    for pattern in _LISTS:
        for path in glob.glob(pattern):
            text += "\n" + (read(path) or "")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    addresses = re.findall(r"https?://\S+", "\n".join(lines))
    keys = re.findall(r"(?:Signed-By:\s*|signed-by=|gpgkey=file://)(/[^\s\]]+)", "\n".join(lines))
    return sorted(set(addresses)), sorted(set(keys))


def _devices() -> Dict[str, DeviceGroup]:
    """Return the device files for containers, with their groups."""
    found: Dict[str, DeviceGroup] = {}
    for pattern in _DEVICES:
        for path in glob.glob(pattern):
            number = os.stat(path).st_gid
            found[path] = {"gid": number, "group": _group_name(number)}
    return found


def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def unit(name: str = "docker.service", proc: str = "/proc") -> EngineUnit:
    """Return ``{known, masked, active, enabled, stale}`` of the engine's unit.

    ``stale`` means that it was started before the daemon's file was last written.
    """
    properties = ("LoadState", "ActiveState", "UnitFileState", "MainPID")
    shown = systemd.show(name, "system", properties)
    return {
        "known": shown.get("LoadState") == "loaded",
        "masked": shown.get("LoadState") == "masked",
        "active": shown.get("ActiveState") == "active",
        "enabled": shown.get("UnitFileState") == "enabled",
        "stale": _is_stale(shown.get("MainPID", "0"), proc),
    }


def _is_stale(pid: str, proc: str) -> bool:
    if pid in ("", "0") or not os.path.exists(DAEMON_FILE):
        return False
    started = _started(pid, proc)
    return started is not None and os.stat(DAEMON_FILE).st_mtime > started - _SLACK_SECONDS


def mode(path: str, default: str) -> str:
    """Return the permissions of ``path`` in octal, ``default`` where it is missing."""
    try:
        return "%04o" % stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return default


def is_member(user: str, group: str = "docker") -> bool:
    """Return whether the account database lists ``user`` in ``group``; the login may lack it."""
    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return False


def _started(pid: str, proc: str) -> Optional[float]:
    """Return the start time of a process, in seconds since 1970."""
    status, boot = read("%s/%s/stat" % (proc, pid)), read("%s/stat" % proc)
    found = re.search(r"^btime (\d+)$", boot or "", re.MULTILINE)
    if status is None or found is None:
        return None
    # The 22nd field; the second one may hold spaces and brackets.
    ticks = int(status.rsplit(")", 1)[1].split()[19])
    return int(found.group(1)) + ticks / os.sysconf("SC_CLK_TCK")
