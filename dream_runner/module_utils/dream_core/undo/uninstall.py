"""Uninstall: process the receipts in reverse order.

It removes the resources that the receipts list as made, and restores changed files, within the
limits that the host confirms (bounds.py): no name patterns, no followed links, no entered mounts.
It can be killed at any time: a receipt is removed only after all of its resources.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from typing import Any, Container, Dict, List, Sequence, Set

from .. import layout
from ..containers import engine_objects
from ..errors import DreamError
from ..fetch.disk.names import WHEEL, stem
from ..fetch.disk.partial import find_partials, wheel_leftovers
from ..fetch.disk.stamp import stamp_path
from ..packages import removal
from ..phases import PHASES
from ..records import bounds, install_mark, last_good, originals, receipt
from ..resources import kind, observed_host, registry
from ..resources.file import has_former
from ..resources.kind import Cannot
from ..system import atomic
from ..types.receipt import Receipt
from ..types.resource import Resource

Answer = Dict[str, List[str]]

#: Phases whose packages ``purge`` removes. Others may use the container engine by now.
_PURGED_PACKAGES = ("requirements", "devtools")


#: Errors about one resource, after which the uninstall continues.
_TROUBLE = (
    *(Cannot, originals.Lost, removal.Refused, DreamError),
    *(OSError, subprocess.SubprocessError),
)


def remove(state_dir: str, home: str, *, purge: bool, dry: bool = False) -> Answer:
    """Remove what the install made; return ``{removed, restored, kept, left}`` as texts.

    ``left`` lists what could not be removed, with the reasons; the uninstall continues after an
    error. With ``dry`` nothing is changed, and the answer describes what would happen.
    """
    walk = _Walk(state_dir, home, purge, dry)
    receipts, _ = receipt.read_all(state_dir)
    for phase in reversed(PHASES):
        if phase in receipts:
            walk.phase(receipts[phase])
        elif os.path.lexists(receipt.path_of(state_dir, phase)):
            walk.unreadable(phase)
    if not dry and not walk.answer["left"]:
        _remove_state(state_dir, purge)
    return walk.answer


class _Walk:
    """One uninstall, with its options and its result so far."""

    def __init__(self, state_dir: str, home: str, purge: bool, dry: bool) -> None:
        self.answer: Answer = {"removed": [], "restored": [], "kept": [], "left": []}
        self._state_dir = state_dir
        self._home = home
        self._purge = purge
        self._dry = dry
        self._bounds: Dict[str, bounds.Bounds] = {}
        #: Paths that are removed, or would be, so that a dry run knows which directories become
        #: empty.
        self._gone: Set[str] = set()

    def phase(self, document: Receipt) -> None:
        """Remove what one phase made, in reverse order; keep a receipt of the rest."""
        resources = document.get("resources", [])
        remaining = [item for item in reversed(resources) if not self._settle(item, document)]
        remaining += self._packages(document)
        for item in document.get("foreign", []):
            self.answer["kept"].append(_name_of_foreign(item) + " (from an unknown version)")
        if not self._dry:
            self._file(document, list(reversed(remaining)))

    def unreadable(self, phase: str) -> None:
        """Report a phase whose receipt cannot be read."""
        self.answer["left"].append(
            "resources of phase %s: its receipt cannot be read; install again to rewrite it, "
            "then uninstall" % phase
        )

    def _settle(self, resource: Resource, document: Receipt) -> bool:
        """Remove, restore or keep one resource; return whether the receipt may drop it."""
        if resource["kind"] == "package" and resource["origin"] == "made":
            return True  # Packages are removed together, later.
        name = kind.name_of(resource)
        try:
            if resource["origin"] == "found":
                return self._give_back(resource, document, name)
            if _stays(resource, self._purge):
                return self._keep(resource, name)
            return self._take_away(resource, document, name)
        except _TROUBLE as error:
            self.answer["left"].append("%s: %s" % (name, error))
            return False

    def _give_back(self, resource: Resource, document: Receipt, name: str) -> bool:
        state = originals.state_of(resource)
        if state == originals.OURS and _stays(resource, self._purge):
            return self._keep(resource, name)
        if state == originals.OURS:
            self._guard(resource, document)
            if not self._dry:
                originals.give_back(resource, self._state_dir)
            if (resource["original"] or {}).get("backup") is False:
                self._unlink([path for path in belongings_of(resource) if os.path.lexists(path)])
            self.answer["restored"].append(name)
        else:
            since = "; changed since by others" if state == originals.THEIRS else ""
            self.answer["kept"].append("%s (existed before the install%s)" % (name, since))
        return True

    def _keep(self, resource: Resource, name: str) -> bool:
        is_there = _is_there(resource) or any(map(os.path.lexists, belongings_of(resource)))
        if is_there:
            self.answer["kept"].append(name)
        # After a purge, resources that stay no longer belong to an install.
        return not is_there or self._purge

    def _take_away(self, resource: Resource, document: Receipt, name: str) -> bool:
        self._guard(resource, document)
        belongings = [path for path in belongings_of(resource) if os.path.lexists(path)]
        if resource["kind"] == "directory":
            belongings += self._litter(resource["path"], document)
        is_there = _is_there(resource) or has_former(resource)
        # Not an error: it contains files of the user, or kept files.
        if is_there and resource["kind"] == "directory" and not self._is_empty(resource["path"]):
            self._unlink(belongings)
            self.answer["kept"].append(name + " (not empty)")
            # A system directory with files of others now belongs to them.
            return self._purge and resource["path"] in bounds.SYSTEM_FOLDERS
        if is_there and resource["kind"] in ("container", "network", "volume"):
            self._refuse_of_another_install(resource, document)
        self._unlink(belongings)
        if is_there and not self._dry:
            registry.remove(resource)
        if is_there or belongings:
            self.answer["removed"].append(name)
        if resource.get("path"):
            self._gone.update((resource["path"], layout.former(resource["path"])))
        return True

    def _guard(self, resource: Resource, document: Receipt) -> None:
        why = self._within(document).refusal(resource, str(document.get("state")))
        if why:
            raise Cannot(why)

    def _within(self, document: Receipt) -> bounds.Bounds:
        """Return the bounds of a receipt's directory, as of the start of the uninstall."""
        place = str(document.get("install_dir") or "")
        if place not in self._bounds:
            self._bounds[place] = bounds.Bounds(place, self._home)
        return self._bounds[place]

    def _refuse_of_another_install(self, resource: Resource, document: Receipt) -> None:
        why = engine_objects.of_another_install(resource, str(document.get("install_dir") or ""))
        if why:
            raise Cannot(why)

    def _litter(self, path: str, document: Receipt) -> List[str]:
        """Return our files in a directory that no receipt lists."""
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(path) if name.startswith(atomic.TEMP_PREFIX)]
            if path == document.get("install_dir") and install_mark.read(path):
                names.append(install_mark.NAME)
            found = [os.path.join(path, name) for name in names]
            self._gone.update(found)
            return found
        return []

    def _is_empty(self, path: str) -> bool:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            raise Cannot("it is no longer a directory")
        return all(os.path.join(path, name) in self._gone for name in os.listdir(path))

    def _unlink(self, paths: Sequence[str]) -> None:
        self._gone.update(paths)
        for path in () if self._dry else paths:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _packages(self, document: Receipt) -> List[Resource]:
        """Purge the packages that a phase installed; return those that stay."""
        made = [
            item
            for item in document.get("resources", [])
            if item["kind"] == "package" and item["origin"] == "made"
        ]
        host = observed_host.Host(made)
        made = [item for item in made if registry.observe(item, host)["present"]]
        made = self._without_foreign_packages(made, document)
        if not made:
            return []
        names = [item["name"] for item in made]
        is_ours = self._purge and document["phase"] in _PURGED_PACKAGES
        going = removal.plan(names) if is_ours else removal.Removal([], "other programs may use it")
        if going.why:
            self.answer["kept"] += ["package %s (%s)" % (name, going.why) for name in names]
            return [] if self._purge else made
        try:
            if not self._dry:
                removal.remove(going)
        except _TROUBLE as error:
            self.answer["left"].append("packages %s: %s" % (" ".join(names), error))
            return made
        self.answer["removed"] += ["package %s" % name for name in going.names]
        return []

    def _without_foreign_packages(self, made: List[Resource], document: Receipt) -> List[Resource]:
        """Return the packages that may be removed; report the others as kept."""
        whys = [self._within(document).refusal(item) for item in made]
        self.answer["kept"] += [
            "package %s (%s)" % (item["name"], why) for item, why in zip(made, whys) if why
        ]
        return [item for item, why in zip(made, whys) if not why]

    def _file(self, document: Receipt, remaining: List[Resource]) -> None:
        """Remove the receipt of a phase, or reduce it to the resources that remain."""
        path = receipt.path_of(self._state_dir, document["phase"])
        if remaining or document.get("foreign"):
            rest: Receipt = {
                **document,
                "state": "removed",
                "resources": remaining,
                "facts": {},
            }
            warning = receipt.write(self._state_dir, rest)
            if warning:
                self.answer["left"].append(warning)
            return
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _name_of_foreign(item: Any) -> str:
    """Describe a resource whose form is unknown to this version."""
    if not isinstance(item, dict):
        return "something"
    label = next((item[key] for key in ("path", "name", "reference") if item.get(key)), "")
    return "%s %s" % (item.get("kind", "something"), label)


def _stays(resource: Resource, purge: bool) -> bool:
    if resource.get("shared"):
        return True
    return not purge and (
        registry.KINDS[resource["kind"]].is_precious or bool(resource.get("secret"))
    )


def _is_there(resource: Resource) -> bool:
    return bool(registry.observe(resource, observed_host.Host([resource]), kind.GLANCE)["present"])


def belongings_of(resource: Resource) -> List[str]:
    """Return the files that were created with a resource and are removed with it."""
    path = str(resource.get("path"))
    if resource["kind"] == "model":
        partials = [
            info.path
            for info in find_partials(os.path.dirname(path))
            if info.path.startswith(stem(path) + ".") and info.sha256
        ]
        partials += [part + ".json" for part in partials]
        return [stamp_path(path), *partials, *wheel_leftovers(path), stamp_path(stem(path) + WHEEL)]
    # The previous content of the environment file is kept beside it.
    return [path + ".bak"] if resource["kind"] == "file" and resource.get("secret") else []


#: Names in the state directory besides receipts; ``runs`` and ``lock`` are in use.
_STATE_FILES = ("facts.json", "model.json")
_PURGED_STATE_FILES = ("settings.json", "images.lock.json")


def _remove_state(state_dir: str, purge: bool) -> None:
    """Remove state files that no receipt needs any more."""
    receipts, _ = receipt.read_all(state_dir)
    doomed = [os.path.join(state_dir, name) for name in _STATE_FILES]
    if purge:
        doomed += [os.path.join(state_dir, name) for name in _PURGED_STATE_FILES]
    if not receipts:
        doomed += [receipt.path_of(state_dir, phase) + ".aside" for phase in PHASES]
    needed = {
        (item.get("original") or {}).get("sha256")
        for document in receipts.values()
        for item in document.get("resources", [])
    }
    doomed += _files_of(state_dir, "originals", needed)
    doomed += _files_of(state_dir, "receipts", (), atomic.TEMP_PREFIX)
    doomed += _files_of(state_dir, last_good.FOLDER, ())
    for path in doomed:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
    # The state directory itself is removed last; it still contains the journals of past runs.
    folders = ("receipts", "originals", last_good.FOLDER)
    for name in (*folders, "") if purge else folders:
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(state_dir, name))


def _files_of(state_dir: str, folder: str, needed: Container[Any], prefix: str = "") -> List[str]:
    directory = os.path.join(state_dir, folder)
    with contextlib.suppress(OSError):
        names = [name for name in os.listdir(directory) if name.startswith(prefix)]
        return [os.path.join(directory, name) for name in names if name not in needed]
    return []
