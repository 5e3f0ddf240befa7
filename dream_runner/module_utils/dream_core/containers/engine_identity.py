"""Identify a container engine, and decide whether it can be used. Pure.

An engine is identified by its API: Podman also installs a program called docker (K6).
"""

from __future__ import annotations

import re
from typing import List, Mapping, Optional

from ..errors import DreamError, EngineError
from ..types.engine import Engine, EngineLook
from ..types.service import EngineJson

#: Engine versions that must not be used. ``backend`` empty: for all backends.
KNOWN_BAD = (
    {
        "engine": "29.3.",
        "backend": "amd",
        "why": "cannot pass AMD's devices into containers",
        "use": "29.2.1, or 29.4 and later",
    },
)


def identify(look: EngineLook) -> Engine:
    """Return ``{kind, version, compose, root_dir, runtimes, store, holds}`` of the engine.

    ``kind`` is ``docker``, ``podman``, ``denied`` (this login may not use it), ``silent`` (a client
    but no answer) or ``none``.
    """
    info, version = look.get("info") or {}, look.get("version") or {}
    answer: Engine = {
        "kind": _kind(look, info, version),
        "version": str(info.get("ServerVersion") or ""),
        "compose": _compose_version(str(look.get("compose") or "")),
        "root_dir": str(info.get("DockerRootDir") or ""),
        "runtimes": sorted(info.get("Runtimes") or {}),
        "store": _store(info),
        "holds": int(info.get("Images") or 0) + int(info.get("Containers") or 0),
    }
    if answer["kind"] == "podman":
        answer["version"] = str(
            (info.get("version") or {}).get("Version") or info.get("ServerVersion") or ""
        )
    return answer


def _kind(look: EngineLook, info: EngineJson, version: EngineJson) -> str:
    if not look.get("program"):
        return "none"
    components = (version.get("Server") or {}).get("Components") or []
    names = [str(item.get("Name")) for item in components]
    # Podman's shim answers in Podman's own form; a real client may be connected to Podman's socket.
    if "host" in info or any("Podman" in name for name in names):
        return "podman"
    if info.get("ServerVersion"):
        return "docker"
    return "denied" if "permission denied" in str(look.get("problem")).lower() else "silent"


def _store(info: EngineJson) -> str:
    """Return the image store: ``containerd`` (pulls resume) or ``graphdriver``."""
    status = dict(item for item in info.get("DriverStatus") or [] if len(item) == 2)
    is_containerd = "containerd.snapshotter" in str(status.get("driver-type"))
    return "containerd" if is_containerd else "graphdriver" if info.get("Driver") else ""


def _compose_version(text: str) -> str:
    found = re.search(r"\d+\.\d+[\w.+~-]*", text)
    return found.group(0) if found else ""


def has_compose(engine: Engine) -> bool:
    """Return whether ``docker compose`` has version 2 or later."""
    return int(str(engine.get("compose") or "0").split(".")[0] or 0) >= 2


def found(engine: Engine, look: EngineLook) -> str:
    """Describe the engine that was found."""
    what = {
        "docker": "engine " + str(engine["version"]),
        "podman": "Podman %s in place of Docker" % engine["version"],
        "denied": "an engine that refuses this login",
        "silent": "an engine that does not answer (%s)" % str(look.get("problem") or "").strip(),
        "none": "no engine",
    }[str(engine["kind"])]
    return "%s, compose %s" % (what, engine["compose"] or "missing")


def refusal(
    engine: Engine, look: EngineLook, backend: str, *, ready: bool = False
) -> Optional[DreamError]:
    """Return why the engine cannot be used, or None. ``ready``: it should work by now."""
    if engine["kind"] == "podman":
        return EngineError(
            "needed: a Docker engine; found: %s" % found(engine, look),
            code="DOCKER_IS_PODMAN",
            hint="remove podman-docker (Podman itself can stay) and run again: with Podman, "
            "compose may wait forever for health checks",
        )
    bad = known_bad(str(engine["version"]), backend)
    if bad:
        return EngineError(
            "engine %s %s" % (engine["version"], bad["why"]),
            code="DOCKER_KNOWN_BAD",
            hint="install version %s, then run again" % bad["use"],
        )
    if ready and not (engine["kind"] == "docker" and has_compose(engine)):
        return EngineError(
            "needed: a Docker engine with compose 2; found: %s" % found(engine, look),
            code="DOCKER_NOT_READY",
            hint="see 'journalctl -u docker'; without systemd start the engine by hand",
        )
    return None


def known_bad(version: str, backend: str) -> Optional[Mapping[str, str]]:
    """Return the row of the table that excludes this version here."""
    for row in KNOWN_BAD:
        if version.startswith(row["engine"]) and row["backend"] in ("", backend):
            return row
    return None


def bad_versions(backend: str) -> List[str]:
    """Return the prefixes of versions that must not be installed for ``backend``."""
    return [row["engine"] for row in KNOWN_BAD if row["backend"] in ("", backend)]
