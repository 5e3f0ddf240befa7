"""``dream-runner lock``: look up the digests of container images, and record them.

Images are updated only by this command, never by an install (K8). It records the current
digests of the registries; they then take precedence over those of the release.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import catalog, wording
from ..catalog import hub, image_archives, image_lock
from ..catalog.entries import HubFile
from ..catalog.image_lock import Answers
from ..machine import output_file, target
from ..module_utils.dream_core.errors import IntegrityError, NetworkError, UsageError
from ..module_utils.dream_core.network import network_env
from ..module_utils.dream_core.types.compose import LockedImage
from ..settings.values import Given


@dataclass(frozen=True)
class Asked:
    """Which images to look up: the named ones, all, or those of the enabled features."""

    images: tuple[str, ...] = ()
    all: bool = False


@dataclass(frozen=True)
class Locked:
    """The pins of the requested images, which of them changed, and images without a pin."""

    path: Path
    images: Mapping[str, LockedImage]
    changed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Checked:
    """Which pins their registries confirmed."""

    confirmed: tuple[str, ...]


def run(asked: Asked | None = None, bundle: str = "", output: str = "") -> Locked:
    """Record the digests of the requested images, or of the images in a bundle.

    Raises NetworkError LOCK_FAILED with every image whose registry did not respond;
    the others are recorded first.
    """
    path = Path(output_file.require(output)) if output else catalog.lock_path()
    if bundle:
        wanted = catalog.image_tags(catalog.load().services)
        entries = image_archives.of_bundle(Path(bundle).expanduser(), wanted)
        return _recorded(path, wanted, entries)
    network_env.require(os.environ)
    wanted = _wanted(asked or Asked())
    answers = image_lock.ask(wanted, catalog.load().images["images"])
    if answers.is_network_dead:
        raise _failed(answers.reasons()[0])
    locked = _recorded(path, wanted, answers.found if output else _changed_pins(answers.found))
    if answers.failed:
        gone = any(item.is_gone for item in answers.failed.values())
        raise _failed(_partly(answers, path), _GONE if gone else _UNREACHED)
    return locked


def _recorded(path: Path, wanted: Sequence[str], entries: Mapping[str, LockedImage]) -> Locked:
    changed = image_lock.record(path, entries)
    images = {**catalog.load().images["images"], **image_lock.read(path)}
    found = {tag: images[tag] for tag in wanted if tag in images}
    missing = tuple(tag for tag in wanted if tag not in images and "@" not in tag)
    return Locked(path, found, changed, missing)


def _changed_pins(found: Mapping[str, LockedImage]) -> dict[str, LockedImage]:
    """Return the entries that differ from the current pins; the others stay in their lock."""
    known = catalog.load().images["images"]
    return {
        tag: entry
        for tag, entry in found.items()
        if entry["digest"] != known.get(tag, {}).get("digest")
    }


def _partly(answers: Answers[LockedImage], path: Path) -> str:
    count, total = len(answers.failed), len(answers.failed) + len(answers.found)
    lines = "".join(f"\n- {line}" for line in answers.reasons())
    rest = f"; the others were recorded in {path}" if answers.found else ""
    return f"{count} of {total} images could not be looked up{rest}:{lines}"


_AGAIN = "check the connection or the proxy, then run the command again"
_UNREACHED = f"{_AGAIN}, or use --bundle DIR"
_GONE = "if an image no longer exists, update dream-runner, or set a mirror in the lock ('from')"


def _failed(what: str, hint: str = _UNREACHED) -> NetworkError:
    return NetworkError(what, code="LOCK_FAILED", hint=hint)


def check(asked: Asked | None = None) -> Checked:
    """Check that the registries still have every pinned digest; write nothing.

    Raises IntegrityError PIN_GONE with every digest that no longer exists, or NetworkError
    LOCK_FAILED if a registry did not respond.
    """
    network_env.require(os.environ)
    known = catalog.load().images["images"]
    wanted = _wanted(asked or Asked())
    answers = image_lock.check({tag: known[tag] for tag in wanted if tag in known})
    gone = {tag: item for tag, item in answers.failed.items() if item.is_gone}
    if gone:
        names = "\n".join(f"- {tag} ({known[tag]['digest']})" for tag in sorted(gone))
        raise IntegrityError(
            f"registries no longer have these pinned images:\n{names}",
            code="PIN_GONE",
            hint=f"to pin their current digests: dream-runner lock {' '.join(sorted(gone))}",
        )
    if answers.failed:
        lines = "\n".join(answers.reasons())
        raise _failed(f"some pins could not be checked: {lines}", _AGAIN)
    return Checked(tuple(sorted(answers.found)))


def _wanted(asked: Asked) -> list[str]:
    services = catalog.load().services
    if asked.images and asked.all:
        what = "--all and IMAGE cannot be used together"
        raise UsageError(what, code="USAGE", hint="use one of them")
    if asked.all:
        return catalog.image_tags(services)
    if asked.images:
        return [tag for word in asked.images for tag in image_lock.of_name(word, services)]
    return _of_this_machine()


def _of_this_machine() -> list[str]:
    """Return the images that the full profile would use here, with the enabled features."""
    full = {"profile": Given("full", "--profile", "flag")}
    said = target.read_settings(full, None, os.environ)
    known = target.observe(said, fresh=False, save=False, locked=True)
    return sorted({item["tag"] for item in (known.choice["stack"] or {})["images"]})


@dataclass(frozen=True)
class Models:
    """The hub's answers about model files, by address, and the catalogue's digests of them."""

    answers: Answers[HubFile]
    pinned: Mapping[str, str]

    @property
    def exit_code(self) -> int:
        """Return 0 if every file was found, else the exit code of a network error."""
        return NetworkError.exit_code if self.answers.failed else 0


def models(words: Sequence[str] = ()) -> Models:
    """Look up commit, digest and size of model files on their hub; write nothing.

    Raises NetworkError LOCK_FAILED if nothing could be reached, UsageError UNKNOWN_MODEL.
    """
    network_env.require(os.environ)
    wanted = hub.files(words, catalog.load().models)
    answers = hub.ask(wanted)
    if answers.is_network_dead:
        raise _failed(answers.reasons()[0])
    return Models(answers, {file.address: file.sha256 for file in wanted})


# --- output -------------------------------------------------------------------------------


def as_json(locked: Locked) -> dict[str, Any]:
    """Return the result as the data that ``--json`` prints."""
    return {
        "path": str(locked.path),
        "images": dict(locked.images),
        "changed": list(locked.changed),
        "missing": list(locked.missing),
        "exit_code": 0,
    }


def as_text(locked: Locked) -> str:
    """Return the changed images, one line each."""
    lines = [
        f"{tag}: {entry.get('digest') or entry['id']}"
        for tag in locked.changed
        for entry in [locked.images[tag]]
    ]
    total = wording.plural(len(locked.images), "image")
    lines.append(f"{len(locked.changed)} of {total} changed in {locked.path}")
    if locked.missing:
        lines.append("not locked: " + ", ".join(locked.missing))
    return "\n".join(lines)


def checked_as_json(checked: Checked) -> dict[str, Any]:
    """Return the result of a check as the data that ``--json`` prints."""
    return {"confirmed": list(checked.confirmed), "exit_code": 0}


def checked_as_text(checked: Checked) -> str:
    """Return how many pins were confirmed."""
    return f"Registries confirmed {wording.plural(len(checked.confirmed), 'pinned image')}."


def models_as_json(found: Models) -> dict[str, Any]:
    """Return the hub's answers as the data that ``--json`` prints."""
    files = [
        {**entry, "asked": address, "is_pinned_digest": _is_pinned(found, address)}
        for address, entry in sorted(found.answers.found.items())
    ]
    failed = {address: item.what for address, item in sorted(found.answers.failed.items())}
    return {"files": files, "failed": failed, "exit_code": found.exit_code}


def models_as_text(found: Models) -> str:
    """Return each file as a row of models.yml, and what could not be looked up."""
    lines = []
    for address, entry in sorted(found.answers.found.items()):
        lines.append(f"- file: {entry['url'].rsplit('/', 1)[-1]}")
        replaced = _is_pinned(found, address) is False
        note = "  # differs from the catalogue: the file was replaced" if replaced else ""
        lines.append(f"  sha256: {entry['sha256']}{note}")
        lines.append(f"  size_bytes: {entry['size_bytes']}")
        lines.append(f"  urls: [{entry['url']}]")
    lines += [f"# not looked up: {line}" for line in found.answers.reasons()]
    return "\n".join(lines)


def _is_pinned(found: Models, address: str) -> bool | None:
    """Tell whether the hub has the file that the catalogue pins; None if it pins none."""
    pinned = found.pinned.get(address)
    return found.answers.found[address]["sha256"] == pinned if pinned else None
