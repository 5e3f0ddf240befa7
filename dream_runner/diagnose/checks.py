"""What is wrong on this host: independent checks, each with evidence and a remedy.

Nothing here asks a role, the catalogue or Ansible, so that it also speaks on a
host where those are broken. A check that breaks is a finding of its own and
stops no other.
"""

from __future__ import annotations

import calendar
import contextlib
import os
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..module_utils.dream_core import layout
from ..module_utils.dream_core.containers import engine
from ..module_utils.dream_core.errors import EngineError
from ..module_utils.dream_core.fetch.disk.partial import find_partials
from ..module_utils.dream_core.network import listeners
from ..module_utils.dream_core.packages import installed
from ..module_utils.dream_core.records import survey
from ..module_utils.dream_core.records.receipt import interrupted, read_all
from ..module_utils.dream_core.resources import kind as kind_
from ..module_utils.dream_core.resources import observed_host, registry
from ..module_utils.dream_core.system import atomic, filesystems, kernel
from ..module_utils.dream_core.upgrade import progress

OK, WARNING, ERROR = "ok", "warning", "error"

#: Less than this and the next log line may be the last.
_LOW_DISK_BYTES = 1_000_000_000
_LOW_INODES = 1_000
_LOW_MEMORY_MB = 200
#: A certificate is refused, and a log misread, long before this; 2026 is when this was written.
_EARLIEST_CLOCK = 1_767_225_600
#: Clocks of two machines differ; one that went back a day differs more.
_CLOCK_SLACK_SECONDS = 3600
_NVIDIA, _AMD = "0x10de", "0x1002"
_AGAIN = "run 'dream-runner install' to repair it"


class Finding(NamedTuple):
    """What one check saw: a stable id, how bad it is, the evidence, and what to do."""

    id: str
    severity: str
    evidence: str
    remedy: str = ""


class Place(NamedTuple):
    """What the checks look at; ``root`` is / but in tests."""

    state_dir: str
    receipts: Mapping[str, Any]
    warnings: Sequence[str]
    now: float
    root: str = "/"

    def path(self, *names: str) -> str:
        """Return a path of the host."""
        return os.path.join(self.root, *names)

    def resources(self, *kinds: str) -> Iterator[dict[str, Any]]:
        """Yield the resources of some kinds."""
        for document in self.receipts.values():
            for item in document.get("resources", []):
                if item["kind"] in kinds:
                    yield item

    def install_dirs(self) -> list[str]:
        """Return the install directories that the receipts name."""
        found = {str(item.get("install_dir") or "") for item in self.receipts.values()}
        return sorted(found - {""})


Check = Callable[[Place], Iterator[Finding]]


def examine(state_dir: str, more: Mapping[str, Check], root: str = "/") -> list[Finding]:
    """Return what every check found, the worst first; ``more`` are the caller's checks."""
    receipts, warnings = read_all(state_dir)
    place = Place(state_dir, receipts, warnings, time.time(), root)
    found = [
        finding
        for name, check in {**CHECKS, **more}.items()
        for finding in _findings(name, check, place)
    ]
    return sorted(found, key=lambda finding: (ERROR, WARNING, OK).index(finding.severity))


def _findings(name: str, check: Check, place: Place) -> list[Finding]:
    try:
        return list(check(place)) or [Finding(name, OK, "")]
    except Exception as error:  # one broken check must not hide the others
        evidence = f"the check itself broke: {error!r}"
        return [Finding(name, WARNING, evidence, "please report it: dream-runner doctor --bundle")]


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 3 for errors, 11 for warnings only, else 0."""
    severities = {finding.severity for finding in findings}
    return 3 if ERROR in severities else 11 if WARNING in severities else 0


# --- records -----------------------------------------------------------------------


def _records(place: Place) -> Iterator[Finding]:
    remedy = "the next 'dream-runner install' looks at the host again and writes it anew"
    for warning in place.warnings:
        yield Finding("records", WARNING, warning, remedy)


def _writable(place: Place) -> Iterator[Finding]:
    there = filesystems.existing_parent(place.state_dir)
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = f"make {there} writable for this user; until then nothing can be recorded"
        yield Finding("records-writable", ERROR, f"{there} cannot be written", remedy)


def _unfinished(place: Place) -> Iterator[Finding]:
    for phase in interrupted(dict(place.receipts)):
        evidence = f"phase {phase} did not end"
        yield Finding("interrupted", WARNING, evidence, "run 'dream-runner install' to continue")


def _failed(place: Place) -> Iterator[Finding]:
    for phase, document in place.receipts.items():
        if document["state"] == "failed":
            remedy = f"see the newest log below {place.state_dir}/runs, then install again"
            yield Finding("failed", ERROR, f"phase {phase} failed", remedy)
        for name, why in sorted((document.get("facts", {}).get("degraded") or {}).items()):
            yield Finding("degraded", WARNING, f"{name} of phase {phase}: {why}", _AGAIN)


def _drift(place: Place) -> Iterator[Finding]:
    for phase, found in survey.survey(dict(place.receipts)).items():
        if place.receipts[phase]["state"] != "done":
            continue
        for item in found:
            evidence = "{} of phase {}: {}".format(item["what"], phase, item["found"])
            yield Finding("drift", ERROR, evidence, _AGAIN)


def _services(place: Place) -> Iterator[Finding]:
    host = observed_host.Host(place.resources("unit", "supervisor", "container"))
    for item in place.resources("unit", "supervisor", "container"):
        if item.get("name") == layout.UPGRADE_UNIT:
            continue  # It has a check of its own.
        seen = registry.observe(item, host, kind_.GLANCE)
        was = str((item.get("seen") or {}).get("active", ""))
        state = str(seen.get("active", "not there"))
        # A unit that is being started during this check fails again and again.
        if was in ("activating", *_WORKING) and state not in _WORKING:
            evidence = "%s: %s (was %s)"
            evidence %= (kind_.name_of(item), *map(survey.state_in_words, (state, was)))
            yield Finding("services", ERROR, evidence, _AGAIN)


def _upgrade(place: Place) -> Iterator[Finding]:
    """Tell of the model that is to take the small one's place."""
    seen = progress.look(place.receipts)
    if seen is None:
        return
    evidence = progress.sentence(seen, lambda size: "%.1f GB" % (size / 1e9))
    if seen["stage"] == progress.FAILED:
        log = " and ".join(f"{path}/logs/upgrade.log" for path in place.install_dirs())
        remedy = f"{log} says more; 'dream-runner install' tries again, --model takes another"
        yield Finding("upgrade", ERROR, evidence, remedy)
    elif seen["stage"] == progress.STOPPED:
        yield Finding("upgrade", WARNING, evidence, "run 'dream-runner install': it is started")
    else:
        yield Finding("upgrade", OK, evidence)


_WORKING = ("active", "RUNNING", "STARTING", "running")


def _container_engine(place: Place) -> Iterator[Finding]:
    """Ask the engine itself: where it is silent, every container looks as if it was gone."""
    if not any(place.resources("container")):
        return
    facts = place.receipts.get("docker", {}).get("facts", {})
    try:
        said = engine.info(str(facts.get("command") or "docker"))
        trouble = "; ".join(map(str, said.get("ServerErrors") or ()))
    except EngineError as error:
        trouble = error.what
    if trouble and facts.get("become") and os.geteuid() != 0:
        remedy = "run the doctor as root: the engine answers nobody else here"
        yield Finding("container-engine", WARNING, trouble, remedy)
    elif trouble:
        remedy = "start it (systemctl start docker); 'journalctl -u docker' says why it stopped"
        yield Finding("container-engine", ERROR, trouble, remedy)


def _ports(place: Place) -> Iterator[Finding]:
    wanted = {int(item["port"]) for item in place.resources("port")}
    own = [*place.install_dirs(), place.state_dir]
    for listener in listeners.listeners(sorted(wanted), own_paths=own) if wanted else ():
        # A process that this user may not see has no name here.
        if listener["name"] not in _PUBLISHERS and not listener["own"]:
            evidence = "port {} belongs to {}".format(listener["port"], listeners.holder(listener))
            remedy = "stop that program, or install with another --engine-port"
            yield Finding("ports", ERROR, evidence, remedy)


#: Who listens for a container; unknown where another user's.
_PUBLISHERS = (None, "docker-proxy", "rootlessport", "rootlesskit")


def _secrets(place: Place) -> Iterator[Finding]:
    for item in place.resources("file"):
        path = item["path"]
        if item.get("secret") and os.path.exists(path) and os.stat(path).st_mode & 0o077:
            evidence = f"{path} can be read by others"
            yield Finding("secrets", ERROR, evidence, f"chmod 600 {path}")


# --- downloads and leftovers ------------------------------------------------------


def _partials(place: Place) -> Iterator[Finding]:
    models = {str(item["path"]): str(item["sha256"]) for item in place.resources("model")}
    # Being filled by the upgrade's unit, which has a check of its own.
    coming = {str(item["sha256"]) for item in place.resources("model") if item.get("coming")}
    for folder in sorted({os.path.dirname(path) for path in models}):
        for partial in find_partials(folder):
            if partial.sha256 in coming:
                continue
            size = "%.1f MB" % (partial.done_bytes / 1e6)
            if partial.total_bytes:
                size += " of %.1f MB" % (partial.total_bytes / 1e6)
            if partial.sha256 in models.values():
                evidence = f"{partial.path} holds {size}"
                yield Finding("partials", WARNING, evidence, "run 'dream-runner install'")
            else:
                whose = "of another model (%s)" % (partial.sha256[:12] or "unknown")
                evidence = f"{partial.path} holds {size} {whose}"
                remedy = "kept in case you go back; else: rm %s %s.json"
                yield Finding(
                    "partials-other", WARNING, evidence, remedy % (partial.path, partial.path)
                )


def _leftovers(place: Place) -> Iterator[Finding]:
    folders = {os.path.dirname(item["path"]) for item in place.resources("file", "model")}
    for folder in sorted(folders):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder)):
                if name.startswith((atomic.TEMP_PREFIX, ".pip-tmp", ".pip-cache")):
                    evidence = f"{os.path.join(folder, name)} was left by a killed run"
                    yield Finding("leftovers", WARNING, evidence, "run 'dream-runner install'")


# --- the host ---------------------------------------------------------------------


def _disk(place: Place) -> Iterator[Finding]:
    folders = {os.path.dirname(item["path"]) for item in place.resources("model", "data")}
    for path in sorted({place.state_dir, *place.install_dirs(), *folders}):
        filesystem = filesystems.filesystem(path)
        if filesystem["read_only"]:
            yield Finding("disk", ERROR, f"{path} is read-only", "see the kernel log: dmesg")
        free = filesystem["free_bytes"]
        if free is not None and free < _LOW_DISK_BYTES:
            evidence = f"{path}: {free / 1e6:.1f} MB free"
            yield Finding("disk", WARNING, evidence, "free some space")
        status = os.statvfs(filesystems.existing_parent(path))
        if status.f_files > 0 and status.f_favail < _LOW_INODES:
            evidence = f"{path}: {status.f_favail} files more can be made"
            yield Finding("disk-inodes", WARNING, evidence, "remove some files")


def _memory(place: Place) -> Iterator[Finding]:
    available = kernel.available_memory_mb(place.path("proc/meminfo"))
    if available is not None and available < _LOW_MEMORY_MB:
        evidence = f"{available} MB of memory are available"
        yield Finding("memory", WARNING, evidence, "stop something, or choose a smaller --model")


def _hardware(place: Place) -> Iterator[Finding]:
    """Repeat what the last look at the hardware found wrong."""
    facts, why = atomic.read_json(os.path.join(place.state_dir, "facts.json"))
    if why:
        yield Finding("hardware", WARNING, f"facts.json: {why}", "dream-runner facts --fresh")
    document = facts.get("facts", facts) if isinstance(facts, dict) else {}
    for item in document.get("findings") or []:
        if item.get("severity") in (WARNING, ERROR):
            evidence = "{}: {}".format(item.get("id"), item.get("what"))
            yield Finding("hardware", WARNING, evidence, str(item.get("hint") or ""))


def _gpu(place: Place) -> Iterator[Finding]:
    """Compare the cards on the bus with the drivers that speak for them."""
    vendors = {vendor for kind, vendor in _pci(place) if kind.startswith(("0x03", "0x12"))}
    wants = str(place.receipts.get("detection", {}).get("facts", {}).get("backend") or "")
    if wants == "nvidia" and _NVIDIA not in vendors and not os.path.exists(place.path("dev/dxg")):
        evidence = "installed for a GPU of NVIDIA, and none is on the bus"
        yield Finding("gpu", ERROR, evidence, "check the card, then run 'dream-runner install'")
    if _NVIDIA in vendors and not os.path.exists(place.path("proc/driver/nvidia/version")):
        severity = ERROR if wants == "nvidia" else WARNING
        evidence = "a GPU of NVIDIA is here, and its kernel driver is not loaded"
        remedy = "install or load the driver (modprobe nvidia), then run 'dream-runner install'"
        yield Finding("gpu-driver", severity, evidence, remedy)
    if wants == "amd" and not os.path.exists(place.path("dev/kfd")):
        evidence = "installed for a GPU of AMD, and /dev/kfd is not there"
        yield Finding("gpu-driver", ERROR, evidence, "load the driver: modprobe amdgpu")


def _pci(place: Place) -> Iterator[tuple[str, str]]:
    """Yield class and vendor of every device on the bus."""
    folder = place.path("sys/bus/pci/devices")
    for name in filesystems.names_in(folder):
        with contextlib.suppress(OSError):
            yield _word(folder, name, "class"), _word(folder, name, "vendor")


def _word(*names: str) -> str:
    with open(os.path.join(*names), encoding="ascii", errors="replace") as handle:
        return handle.read().strip()


def _clock(place: Place) -> Iterator[Finding]:
    remedy = "set it (timedatectl set-ntp true): downloads need the date"
    said = time.strftime("%Y-%m-%d", time.gmtime(place.now))
    if place.now < _EARLIEST_CLOCK:
        yield Finding("clock", ERROR, f"the clock says {said}", remedy)
    for phase, document in place.receipts.items():
        ended = _seconds(document.get("finished_at"))
        if ended > place.now + _CLOCK_SLACK_SECONDS:
            evidence = "phase %s ended at %s, and now it is %s: the clock went back"
            evidence %= (phase, document["finished_at"], said)
            yield Finding("clock", WARNING, evidence, remedy)
            return


def _seconds(text: Any) -> float:
    try:
        return calendar.timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return 0.0


def _certificates(place: Place) -> Iterator[Finding]:
    remedy = "install the package ca-certificates; behind an inspecting proxy give its CA file"
    trusted = ssl.create_default_context().get_ca_certs()
    if not trusted and not kernel.has_certificates():
        yield Finding("certificates", WARNING, "no certificate authority is trusted", remedy)
    usable = [item for item in trusted if _until(item) > place.now]
    if trusted and not usable:
        evidence = "every certificate authority has expired, or the clock is wrong"
        yield Finding("certificates", ERROR, evidence, remedy)


def _until(certificate: Mapping[str, Any]) -> float:
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"])))


def _packages(place: Place) -> Iterator[Finding]:
    folder = place.path("var/lib/dpkg")
    # While one is at work, what it has not finished is no defect.
    if installed.is_dpkg_interrupted(folder) and not _is_locked(os.path.join(folder, "lock")):
        evidence = "dpkg was stopped in the middle of its work"
        yield Finding("packages", ERROR, evidence, "as root: dpkg --configure -a")


def _is_locked(path: str) -> bool:
    """Tell whether a process holds a lock on a file, by the kernel's own list."""
    with contextlib.suppress(OSError):
        inode = f":{os.stat(path).st_ino} "
        with open("/proc/locks", encoding="ascii") as lines:
            return any(inode in line for line in lines)
    return False


#: In the order they are told; the names are the ids of what is well.
CHECKS: dict[str, Check] = {
    "records": _records,
    "records-writable": _writable,
    "interrupted": _unfinished,
    "failed": _failed,
    "drift": _drift,
    "container-engine": _container_engine,
    "services": _services,
    "upgrade": _upgrade,
    "ports": _ports,
    "secrets": _secrets,
    "partials": _partials,
    "leftovers": _leftovers,
    "disk": _disk,
    "memory": _memory,
    "hardware": _hardware,
    "gpu": _gpu,
    "packages": _packages,
    "certificates": _certificates,
    "clock": _clock,
}
