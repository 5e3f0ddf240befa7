"""Everything known about this machine before anything is done to it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import answers, catalog, plan, sources
from .module_utils.dream_core import due, live
from .module_utils.dream_core.choice import decide
from .module_utils.dream_core.context import look
from .settings import (
    Given,
    Saved,
    Settings,
    default_state_dir,
    from_environment,
    merge,
    near_misses,
)
from .values import Known
from .version import __version__

#: Who may write here needs no root to run containers.
_CONTAINER_SOCKET = "/var/run/docker.sock"
#: The library that the native engine needs from the system; its package, and how to get that.
_ENGINE_LIBRARY = "libgomp.so.1"
_LIBRARY_PACKAGES = {
    "debian": ("libgomp1", "apt-get install -y"),
    "redhat": ("libgomp", "dnf install -y"),
    "suse": ("libgomp1", "zypper install -y"),
    "arch": ("gcc-libs", "pacman -S --needed"),
    "alpine": ("libgomp", "apk add"),
    "void": ("libgomp", "xbps-install -y"),
}


@dataclass(frozen=True)
class Target:
    """Settings, host and what follows from them; ``notes`` are lines for the user."""

    state_dir: str
    settings: Settings
    saved: Saved
    host: Mapping[str, Any]
    choice: Mapping[str, Any]
    reasons: Mapping[str, due.Reason]
    is_silent: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def receipts(self) -> Mapping[str, Any]:
        """Return the receipts by phase."""
        receipts: Mapping[str, Any] = self.host["receipts"]
        return receipts


@dataclass(frozen=True)
class Said:
    """Settings as merged, with what they were merged from."""

    state_dir: str
    settings: Settings
    saved: Saved
    notes: tuple[str, ...]


def listen(
    flags: Mapping[str, Given], answers_file: str | None, environment: Mapping[str, str]
) -> Said:
    """Merge the settings from every place; raise SettingsError with all that is wrong."""
    state_dir = default_state_dir(environment)
    saved, notes = answers.read_saved(state_dir)
    told, problems = answers.read_answers(answers_file) if answers_file else ({}, [])
    settings = merge(flags, from_environment(environment), saved, told, known(), problems)
    notes += near_misses(environment)
    return Said(state_dir, settings, saved, (*notes, *settings.notes))


def known() -> Known:
    """Return the ids that the catalogue knows."""
    loaded = catalog.load()
    return Known(
        tiers=tuple(str(item["id"]) for item in loaded.tiers["tiers"]),
        models=tuple(str(item["id"]) for item in loaded.models["models"]),
    )


def meet(
    said: Said, *, fresh: bool, save: bool, full: bool = False, verify: bool = False
) -> Target:
    """Look at the host and decide; ``save`` False writes nothing at all."""
    host = look(
        state_dir=said.state_dir,
        install_dir=said.settings["install_dir"],
        version=__version__,
        force=fresh,
        full=fresh or full,
        verify=verify,
        save=save,
    )
    settings = said.settings.values()
    choice = decide(
        settings,
        host["facts"],
        host["session"],
        catalog.load(),
        host["receipts"],
        host["listeners"],
    )
    reasons = _reasons(said.settings, host, choice, full=fresh or full)
    return Target(
        said.state_dir,
        said.settings,
        said.saved,
        host,
        choice,
        reasons,
        notes=(*said.notes, *host["notes"]),
    )


def unanswered(known: Target) -> Target:
    """Return the target with an engine that was asked in vain."""
    reasons = _reasons(known.settings, known.host, known.choice, is_silent=True)
    return replace(known, reasons=reasons, is_silent=True)


def _reasons(
    settings: Settings,
    host: Mapping[str, Any],
    choice: Mapping[str, Any],
    *,
    full: bool = False,
    is_silent: bool = False,
) -> Mapping[str, due.Reason]:
    return due.decide(
        host["receipts"],
        due.with_silence(host["drift"], is_silent),
        sources.wanted(settings.values(), choice, host["facts"], host["session"]),
        install_dir=settings["install_dir"],
        version=__version__,
        full=full,
    )


def plan_of(target: Target) -> plan.Plan:
    """Return the plan for this machine."""
    return plan.build(
        target.settings,
        target.host["session"],
        target.choice,
        target.reasons,
        _found(target),
    )


def _found(target: Target) -> plan.Found:
    session = target.host["session"]
    package, command = _missing_package(target)
    return plan.Found(
        present=_present(target),
        missing_packages=(package,) if package else (),
        package_command=f"{command} {package}" if command else "",
        lingers=session["sudo"] == "none"
        or os.path.exists(f"/var/lib/systemd/linger/{session['user']}"),
        has_containers=os.access(_CONTAINER_SOCKET, os.R_OK | os.W_OK),
        model_about_bytes=_about_bytes(target.choice["model"]["id"]),
    )


def _about_bytes(model_id: str) -> int:
    """Return the catalogue's planning figure, for a file whose exact size nobody has measured."""
    sizes = {item["id"]: item["size_mb"] for item in catalog.load().models["models"]}
    return int(sizes.get(model_id, 0)) * 1_000_000


def _missing_package(target: Target) -> tuple[str, str]:
    """Return the package that the native engine lacks, and the command that installs one."""
    if target.settings["profile"] != "embedded" or live.can_load(_ENGINE_LIBRARY):
        return "", ""
    family = target.host["facts"]["os"]["family"]
    return _LIBRARY_PACKAGES.get(family, (_ENGINE_LIBRARY, ""))


def model_progress(target: Target) -> tuple[int, int]:
    """Return the bytes of the chosen model that are present, and all of its bytes (0: unknown)."""
    files = [_progress(target, item) for item in target.choice["model"]["files"]]
    return sum(done for done, _ in files), sum(total for _, total in files)


def _present(target: Target) -> dict[str, int]:
    files = target.choice["model"]["files"]
    return {item["file"]: _progress(target, item)[0] for item in files}


def _progress(target: Target, item: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes present and in all of one file; one of another size is not it."""
    # Imported where it is used: it pulls in the HTTP client of the fetcher.
    from .module_utils.dream_core.fetch import partial_progress

    path = os.path.join(target.settings["install_dir"], "data", "models", item["file"])
    total = item.get("size_bytes") or 0
    if os.path.isfile(path) and total in (0, os.path.getsize(path)):
        return os.path.getsize(path), os.path.getsize(path)
    done, found = partial_progress(path) or (0, 0)
    return done, total or found
