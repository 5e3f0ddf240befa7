"""Find problems on this host: independent checks, each with evidence and a remedy.

No check uses a role, the catalogue or Ansible, so they still work when those are broken. A
check that fails itself is reported as a finding, and the others still run.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping

from ..module_utils.dream_core import layout
from ..module_utils.dream_core.containers import engine
from ..module_utils.dream_core.errors import EngineError
from ..module_utils.dream_core.fetch.disk.partial import find_partials
from ..module_utils.dream_core.network import listeners
from ..module_utils.dream_core.records import survey
from ..module_utils.dream_core.records.receipt import interrupted, read_all
from ..module_utils.dream_core.resources import observed_host, registry
from ..module_utils.dream_core.resources.kind import GLANCE, name_of
from ..module_utils.dream_core.system import atomic, filesystems
from ..module_utils.dream_core.upgrade import progress
from .finding import ERROR, OK, WARNING, Check, Finding, Place
from .host_checks import certificates, clock, disk, gpu, hardware, memory, packages

_AGAIN = "run 'dream-runner install' to repair it"


def examine(state_dir: str, more: Mapping[str, Check], root: str = "/") -> list[Finding]:
    """Run all checks and return the findings, worst first; ``more`` are the caller's checks."""
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
    except Exception as error:  # one broken check must not stop the others
        evidence = f"the check itself failed: {error!r}"
        return [
            Finding(
                name,
                WARNING,
                evidence,
                "please report this with the archive of: dream-runner doctor --bundle FILE",
            )
        ]


# --- records -----------------------------------------------------------------------


def _records(place: Place) -> Iterator[Finding]:
    remedy = "run 'dream-runner install': it checks the host and writes the record again"
    for warning in place.warnings:
        yield Finding("records", WARNING, warning, remedy)


def _writable(place: Place) -> Iterator[Finding]:
    there = filesystems.existing_parent(place.state_dir)
    if not os.access(there, os.W_OK | os.X_OK):
        remedy = f"make {there} writable for this user; installs cannot be recorded until then"
        yield Finding("records-writable", ERROR, f"{there} cannot be written", remedy)


def _unfinished(place: Place) -> Iterator[Finding]:
    for phase in interrupted(dict(place.receipts)):
        evidence = f"phase {phase} was interrupted"
        yield Finding("interrupted", WARNING, evidence, "run 'dream-runner install' to continue")


def _failed(place: Place) -> Iterator[Finding]:
    for phase, document in place.receipts.items():
        if document["state"] == "failed":
            remedy = (
                f"see the newest log in {place.state_dir}/runs, then run 'dream-runner install'"
            )
            yield Finding("failed", ERROR, f"phase {phase} failed", remedy)
        for name, why in sorted((document.get("facts", {}).get("degraded") or {}).items()):
            yield Finding("degraded", WARNING, f"{name} (phase {phase}): {why}", _AGAIN)


def _drift(place: Place) -> Iterator[Finding]:
    for phase, found in survey.survey(dict(place.receipts)).items():
        if place.receipts[phase]["state"] != "done":
            continue
        for item in found:
            evidence = "{} (phase {}): {}".format(item["what"], phase, item["found"])
            yield Finding("drift", ERROR, evidence, _AGAIN)


def _services(place: Place) -> Iterator[Finding]:
    host = observed_host.Host(place.resources("unit", "supervisor", "container"))
    for item in place.resources("unit", "supervisor", "container"):
        if item.get("name") == layout.UPGRADE_UNIT:
            continue  # The check "upgrade" handles it.
        seen = registry.observe(item, host, GLANCE)
        was = str((item.get("seen") or {}).get("active", ""))
        state = str(seen.get("active", "missing"))
        # A unit that is still starting, long after its install, restarts again and again.
        if was in ("activating", *_WORKING) and state not in _WORKING:
            evidence = "%s: %s (was %s)"
            evidence %= (name_of(item), *map(survey.state_in_words, (state, was)))
            yield Finding("services", ERROR, evidence, _AGAIN)


def _upgrade(place: Place) -> Iterator[Finding]:
    """Report the state of the switch from the small model to the host's own."""
    seen = progress.look(place.receipts)
    if seen is None:
        return
    evidence = progress.sentence(seen, lambda size: "%.1f GB" % (size / 1e9))
    if seen["stage"] == progress.FAILED:
        log = " and ".join(f"{path}/logs/upgrade.log" for path in place.install_dirs())
        remedy = f"see {log}; run 'dream-runner install' to retry, or use another --model"
        yield Finding("upgrade", ERROR, evidence, remedy)
    elif seen["stage"] == progress.STOPPED:
        yield Finding("upgrade", WARNING, evidence, "run 'dream-runner install' to start it")
    else:
        yield Finding("upgrade", OK, evidence)


_WORKING = ("active", "RUNNING", "STARTING", "running")


def _container_engine(place: Place) -> Iterator[Finding]:
    """Check that the engine answers: if it does not, every container seems to be missing."""
    if not any(place.resources("container")):
        return
    facts = place.receipts.get("docker", {}).get("facts", {})
    try:
        said = engine.info(str(facts.get("command") or "docker"))
        trouble = "; ".join(map(str, said.get("ServerErrors") or ()))
    except EngineError as error:
        trouble = error.what
    if trouble and facts.get("become") and os.geteuid() != 0:
        remedy = "run 'dream-runner doctor' as root: only root can use the engine on this host"
        yield Finding("container-engine", WARNING, trouble, remedy)
    elif trouble:
        remedy = (
            "start it with 'systemctl start docker'; 'journalctl -u docker' shows why it stopped"
        )
        yield Finding("container-engine", ERROR, trouble, remedy)


def _ports(place: Place) -> Iterator[Finding]:
    wanted = {int(item["port"]) for item in place.resources("port")}
    own = [*place.install_dirs(), place.state_dir]
    for listener in listeners.listeners(sorted(wanted), own_paths=own) if wanted else ():
        # The name of another user's process is unknown.
        if listener["name"] not in _PUBLISHERS and not listener["own"]:
            evidence = "port {} is used by {}".format(listener["port"], listeners.holder(listener))
            remedy = "stop that program, or install with another --engine-port"
            yield Finding("ports", ERROR, evidence, remedy)


#: Programs that listen for containers; None: a process of another user.
_PUBLISHERS = (None, "docker-proxy", "rootlessport", "rootlesskit")


def _secrets(place: Place) -> Iterator[Finding]:
    for item in place.resources("file"):
        path = item["path"]
        if item.get("secret") and os.path.exists(path) and os.stat(path).st_mode & 0o077:
            evidence = f"other users can read {path}"
            yield Finding("secrets", ERROR, evidence, f"run: chmod 600 {path}")


# --- downloads and leftovers ------------------------------------------------------


def _partials(place: Place) -> Iterator[Finding]:
    models = {str(item["path"]): str(item["sha256"]) for item in place.resources("model")}
    # The background download is running; the check "upgrade" handles it.
    coming = {str(item["sha256"]) for item in place.resources("model") if item.get("coming")}
    for folder in sorted({os.path.dirname(path) for path in models}):
        for partial in find_partials(folder):
            if partial.sha256 in coming:
                continue
            size = "%.1f MB" % (partial.done_bytes / 1e6)
            if partial.total_bytes:
                size += " of %.1f MB" % (partial.total_bytes / 1e6)
            if partial.sha256 in models.values():
                evidence = f"unfinished download {partial.path}: {size}"
                yield Finding(
                    "partials", WARNING, evidence, "run 'dream-runner install' to continue"
                )
            else:
                whose = "of another model (%s)" % (partial.sha256[:12] or "unknown")
                evidence = f"unfinished download {partial.path}: {size} {whose}"
                remedy = "it is kept in case you use that model again; to delete it: rm %s %s.json"
                yield Finding(
                    "partials-other", WARNING, evidence, remedy % (partial.path, partial.path)
                )


def _leftovers(place: Place) -> Iterator[Finding]:
    folders = {os.path.dirname(item["path"]) for item in place.resources("file", "model")}
    for folder in sorted(folders):
        with contextlib.suppress(OSError):
            for name in sorted(os.listdir(folder)):
                if name.startswith((atomic.TEMP_PREFIX, ".pip-tmp", ".pip-cache")):
                    evidence = f"{os.path.join(folder, name)} is left over from a killed run"
                    yield Finding(
                        "leftovers", WARNING, evidence, "run 'dream-runner install' to remove it"
                    )


#: In the order of the output; the names are the ids of passed checks.
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
    "disk": disk,
    "memory": memory,
    "hardware": hardware,
    "gpu": gpu,
    "packages": packages,
    "certificates": certificates,
    "clock": clock,
}
