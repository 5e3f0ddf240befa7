"""Re-check a host against its receipts: what still holds, and what drifted.

``observe`` looks at one resource and returns plain data; the receipt of a done
phase keeps what was seen then. ``drift`` looks again and says, in words, where
the two differ. Cheap looks first: a file's content is read only where size,
time or inode differ, a model's only where its stamp does not vouch for it.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
from typing import Any, Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence

from ..containers import compose_project, daemon_options, engine_look
from ..fetch.disk.stamp import ITS_DIGEST, is_present
from ..system import live
from ..system.account import SYSTEM_PATH
from .receipt import LINGER_DIRECTORY

Resource = Dict[str, Any]
Seen = Dict[str, Any]

#: How closely to look: never read content, read what a stamp does not vouch for, read all.
GLANCE, LOOK, READ = range(3)

#: What a unit must show to count as working, in systemctl's own words.
_UNIT_PROPERTIES = ("LoadState", "ActiveState", "UnitFileState")


class Host:
    """What is asked for many resources at once, asked once and only when needed."""

    def __init__(self, resources: Iterable[Resource] = ()) -> None:
        self._resources = list(resources)
        self._listeners: Optional[List[Dict[str, Any]]] = None
        self._packages: Optional[FrozenSet[str]] = None
        self._units: Dict[str, Dict[str, Dict[str, str]]] = {}
        self.engine = compose_project.Engine(self._resources)

    def listens(self, port: int) -> bool:
        """Tell whether anything on this host listens on TCP ``port``."""
        if self._listeners is None:
            self._listeners = live.listeners()
        return any(item["port"] == port for item in self._listeners)

    def has_package(self, name: str) -> bool:
        """Tell whether the package is installed, by the host's own package database."""
        if self._packages is None:
            self._packages = _installed(self._named("package"))
        return name in self._packages

    def unit(self, scope: str, name: str) -> Dict[str, str]:
        """Return what systemd shows of a unit of ``scope``; empty where there is no systemd."""
        if scope not in self._units:
            self._units[scope] = _shown_units(scope, self._named("unit", scope))
        return self._units[scope].get(name, {})

    def _named(self, kind: str, scope: str = "") -> List[str]:
        return sorted(
            {
                item["name"]
                for item in self._resources
                if item["kind"] == kind and item.get("scope", "") == scope
            }
        )


def observe(resource: Resource, host: Host, depth: int = LOOK) -> Seen:
    """Return what is seen of ``resource`` now; an absent one is ``{"present": False}``."""
    return _OBSERVERS[resource["kind"]](resource, host, depth)


#: A unit, program or port of that name was not there before our first receipt, or it was ours.
_NEVER_FOUND = frozenset(("unit", "supervisor", "background", "port"))


def was_there(resources: Sequence[Resource]) -> List[bool]:
    """Tell for each resource whether it is on the host before a phase touches it.

    Links are not followed: what stands in the way was there, whatever it is.
    """
    host = Host(resources)
    return [
        item["kind"] not in _NEVER_FOUND and observe(item, host, GLANCE)["present"]
        for item in resources
    ]


def observe_all(resources: Iterable[Resource]) -> List[Resource]:
    """Return the resources, each with what is seen of it now under ``seen``."""
    known = list(resources)
    host = Host(known)
    return [dict(item, seen=observe(item, host)) for item in known]


def survey(
    receipts: Dict[str, Dict[str, Any]], verify: bool = False
) -> Dict[str, List[Dict[str, str]]]:
    """Return ``{phase: [{what, found}]}`` for every phase that has a receipt.

    An empty list means that everything the phase made still holds.
    """
    host = Host(item for receipt in receipts.values() for item in receipt.get("resources", []))
    return {
        phase: [
            line
            for item in receipt.get("resources", [])
            for line in [drift(item, host, verify)]
            if line
        ]
        for phase, receipt in receipts.items()
    }


def drift(resource: Resource, host: Host, verify: bool = False) -> Optional[Dict[str, str]]:
    """Return ``{what, found}`` when the host no longer shows what the receipt saw.

    ``verify`` reads every file whatever its size and time say.
    """
    if resource.get("coming"):
        # A unit of ours makes it, and takes it away, in its own time.
        return None
    before = resource.get("seen")
    if before is None or before.get("unknown"):
        return {"what": name_of(resource), "found": "not looked at when its phase ended"}
    if not verify:
        glance = observe(resource, host, GLANCE)
        if glance.get("unknown"):
            return {"what": name_of(resource), "found": "the engine refuses this user"}
        if glance == {key: before.get(key) for key in glance}:
            return None
    found = difference(resource, before, observe(resource, host, READ if verify else LOOK))
    return {"what": name_of(resource), "found": found} if found else None


def difference(resource: Resource, before: Seen, now: Seen) -> str:
    """Return the first difference that matters, in words; empty when there is none."""
    if before["present"] != now["present"]:
        if now["present"] and resource["kind"] == "port":
            return ""  # It opened after its phase had ended, as is wanted.
        return "missing" if before["present"] else "there although it was not"
    # What it is comes before how it is: a link's mode says nothing.
    for key in sorted(set(before) | set(now), key=lambda name: (name != "type", name)):
        if key in _VOLATILE or (resource.get("volatile") and key in ("sha256", "size_bytes")):
            continue
        if before.get(key) != now.get(key):
            return _changed(key, before.get(key), now.get(key))
    return ""


#: What systemd, supervisord and container engines call the same things.
_STATES = {
    **dict.fromkeys(("active", "RUNNING", "running", "reloading"), "running"),
    **dict.fromkeys(("inactive", "STOPPED", "EXITED", "stopped", "exited", "dead"), "stopped"),
    **dict.fromkeys(("activating", "STARTING", "BACKOFF", "restarting"), "starting again"),
    **dict.fromkeys(("failed", "FATAL"), "failed"),
}


def state_in_words(state: str) -> str:
    """Return ``running``, ``stopped``, ``starting again``, ``failed``, or the state itself."""
    return _STATES.get(state, state)


def _changed(key: str, before: Any, now: Any) -> str:
    """Return in words that a value is another one."""
    if key == "active":
        words = state_in_words(str(now)), state_in_words(str(before))
        # Two names for one state are told apart by the names.
        return "%s (was %s)" % (words if words[0] != words[1] else (now, before))
    if key == "sha256":
        return "sha256 changed: was %s, now %s" % (_short(before), _short(now))
    return "%s is %s, was %s" % (key, now, before)


def _short(digest: Any) -> str:
    text = str(digest)
    return text[:12] + "..." if len(text) == 64 else text


#: Seen only to know whether a closer look is due.
_VOLATILE = ("mtime_ns", "ctime_ns", "inode")


def name_of(resource: Resource) -> str:
    """Return the words a person knows the resource by."""
    label = resource.get("path") or resource.get("name") or resource.get("user")
    label = label or resource.get("service") or resource.get("reference")
    if resource["kind"] == "supervisor":
        label = resource["program"]
    if resource["kind"] == "background":
        label = resource["name"]
    if resource["kind"] == "port":
        label = "%s:%s" % (resource.get("address", "127.0.0.1"), resource["port"])
    return "%s %s" % (resource["kind"], label)


def _status(path: str) -> Optional[os.stat_result]:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _mode(status: os.stat_result) -> str:
    return "%04o" % stat.S_IMODE(status.st_mode)


def _file(resource: Resource, host: Host, depth: int) -> Seen:
    status = _status(resource["path"])
    if status is None:
        return {"present": False}
    seen = {
        "present": True,
        "type": _type(status),
        "mode": _mode(status),
        "owner": "%d:%d" % (status.st_uid, status.st_gid),
    }
    if not resource.get("volatile"):
        seen.update(
            size_bytes=status.st_size,
            mtime_ns=status.st_mtime_ns,
            # An editor can put the time of change back, but not this one.
            ctime_ns=status.st_ctime_ns,
            inode=status.st_ino,
        )
        if depth > GLANCE and stat.S_ISREG(status.st_mode):
            seen["sha256"] = _sha256(resource["path"])
    return seen


def _model(resource: Resource, host: Host, depth: int) -> Seen:
    """See a model without reading it wherever its stamp still fits the file."""
    seen = _file(resource, host, GLANCE)
    if seen["present"] and depth > GLANCE:
        found = is_present(resource["path"], resource["sha256"], verify=depth == READ, write=False)
        seen["sha256"] = resource["sha256"] if found.present else _digest_of(found.why)
    return seen


def _digest_of(why: str) -> str:
    """Return the digest that was found, or why there is none."""
    return why[len(ITS_DIGEST) :] if why.startswith(ITS_DIGEST) else why


def _type(status: os.stat_result) -> str:
    for name, test in (
        ("file", stat.S_ISREG),
        ("directory", stat.S_ISDIR),
        ("link", stat.S_ISLNK),
        ("socket", stat.S_ISSOCK),
    ):
        if test(status.st_mode):
            return name
    return "other"


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as handle:
            while True:
                block = handle.read(1024 * 1024)
                if not block:
                    return digest.hexdigest()
                digest.update(block)
    except OSError as error:
        return "unreadable (%s)" % error.strerror


def _directory(resource: Resource, host: Host, depth: int) -> Seen:
    status = _status(resource["path"])
    if status is None:
        return {"present": False}
    return {
        "present": True,
        "type": _type(status),
        "mode": _mode(status),
        "owner": "%d:%d" % (status.st_uid, status.st_gid),
    }


def _tree(resource: Resource, host: Host, depth: int) -> Seen:
    """See a directory that is wholly ours as one number over its files.

    Name, mode, size and times of each: reading them all would cost a second for
    an engine's packages. Byte code that Python adds by itself is left out.
    """
    seen = _directory(resource, host, depth)
    if seen["present"]:
        seen["listing"] = _listing_digest(resource["path"])
    return seen


def _listing_digest(root: str) -> str:
    digest = hashlib.sha256()
    for folder, names, files in os.walk(root):
        names[:] = sorted(name for name in names if name != "__pycache__")
        for name in sorted(files) + [item for item in names if _is_link(folder, item)]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            target = os.readlink(path) if stat.S_ISLNK(status.st_mode) else ""
            entry = (os.path.relpath(path, root), status.st_mode, status.st_size, target)
            digest.update(repr((entry, status.st_mtime_ns, status.st_ctime_ns)).encode())
    return digest.hexdigest()


def _is_link(folder: str, name: str) -> bool:
    return os.path.islink(os.path.join(folder, name))


def _port(resource: Resource, host: Host, depth: int) -> Seen:
    return {"present": host.listens(resource["port"])}


def _unit(resource: Resource, host: Host, depth: int) -> Seen:
    shown = host.unit(resource["scope"], resource["name"])
    if shown.get("LoadState") != "loaded":
        return {"present": False}
    active = shown.get("ActiveState", "unknown")
    if resource.get("retries") and active in ("activating", "reloading"):
        # Between two starts, which are part of its work.
        active = "active"
    return {
        "present": True,
        "active": active,
        "enabled": shown.get("UnitFileState", "unknown"),
    }


def _shown_units(scope: str, names: Sequence[str]) -> Dict[str, Dict[str, str]]:
    """Return the properties of the named units; systemctl parts them by an empty line."""
    if not names:
        return {}
    argv = ["systemctl", *(["--user"] if scope == "user" else []), "show", *names]
    argv.append("--property=Id,Names," + ",".join(_UNIT_PROPERTIES))
    units = {}
    for block in _output(argv).split("\n\n"):
        shown = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        units.update({name: shown for name in shown.get("Names", "").split()})
    return units


def _supervisor(resource: Resource, host: Host, depth: int) -> Seen:
    # Imported here: only hosts without systemd have one.
    from ..native.supervisord import program_state

    state = program_state(resource["config"], resource["program"])
    return {"present": state is not None, "active": state or "stopped"}


def _background(resource: Resource, host: Host, depth: int) -> Seen:
    # Imported here: only hosts without systemd have one.
    from ..native.background import problem, program_of

    is_there = not problem(program_of(resource))
    return {"present": is_there, **({"active": "active"} if is_there else {})}


#: States of a unit (systemd) or program (supervisord) that never become "active" by waiting.
_FAILED_FOR_GOOD = frozenset(("failed", "FATAL", "STOPPED", "EXITED", "UNKNOWN"))


def failed_for_good(resource: Resource) -> str:
    """Return why waiting for this unit or program is useless, or an empty string."""
    state = observe(resource, Host([resource]), GLANCE).get("active", "")
    return "%s is %s" % (name_of(resource), state) if state in _FAILED_FOR_GOOD else ""


def _package(resource: Resource, host: Host, depth: int) -> Seen:
    return {"present": host.has_package(resource["name"])}


def _installed(names: Sequence[str]) -> FrozenSet[str]:
    """Return which of the packages the database of dpkg, rpm, pacman or apk has."""
    for program, query in _PACKAGE_QUERIES.items():
        if shutil.which(program, path=SYSTEM_PATH):
            lines = _output([program, *query, *names]).splitlines()
            # dpkg says "name[:arch] installed", the others the bare name.
            words = [line.split() for line in lines if line.strip()]
            return frozenset(
                word[0].split(":")[0] for word in words if word[1:] in ([], ["installed"])
            )
    return frozenset()


#: How each package manager is asked which of the names that follow are installed.
_PACKAGE_QUERIES = {
    "dpkg-query": ["--show", "--showformat=${Package} ${db:Status-Status}\\n"],
    "rpm": ["--query", "--queryformat=%{NAME}\\n"],
    "pacman": ["-Qq"],
    "apk": ["info", "-e"],
}


def _linger(resource: Resource, host: Host, depth: int) -> Seen:
    return {"present": os.path.exists(LINGER_DIRECTORY + resource["user"])}


def _sysctl(resource: Resource, host: Host, depth: int) -> Seen:
    """See the value in force: a file of settings says what the next boot brings."""
    value = live.sysctl(resource["name"])
    return {"present": value is not None, "value": value}


def _group(resource: Resource, host: Host, depth: int) -> Seen:
    return {"present": engine_look.is_member(resource["user"], resource["group"])}


def _options(resource: Resource, host: Host, depth: int) -> Seen:
    """See options of ours in a JSON file of somebody else's."""
    return {"present": daemon_options.holds(engine_look.read(resource["path"]), resource["set"])}


def _output(argv: Sequence[str]) -> str:
    """Return what a program prints; its rows are facts, whatever its exit code says."""
    program = shutil.which(argv[0], path=SYSTEM_PATH)
    if program is None:
        return ""
    done = subprocess.run(
        [program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=10,
        check=False,
    )
    return done.stdout.decode("utf-8", "replace")


def _of_engine(resource: Resource, host: Host, depth: int) -> Seen:
    return compose_project.observe(resource, host.engine)


def _data(resource: Resource, host: Host, depth: int) -> Seen:
    """See a directory whose mode and owner are the business of a service."""
    return {"present": os.path.isdir(resource["path"])}


_OBSERVERS: Dict[str, Callable[[Resource, Host, int], Seen]] = {
    "container": _of_engine,
    "image": _of_engine,
    "network": _of_engine,
    "volume": _of_engine,
    "data": _data,
    "file": _file,
    "model": _model,
    "directory": _directory,
    "tree": _tree,
    "port": _port,
    "unit": _unit,
    "supervisor": _supervisor,
    "background": _background,
    "package": _package,
    "linger": _linger,
    "sysctl": _sysctl,
    "group": _group,
    "options": _options,
}
