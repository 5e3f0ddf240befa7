"""Keep the last working configuration, so that a failed change can be rolled back.

After the model has answered in the health phase, the configuration files are copied to the state
directory, and the packages of an older engine are removed. Nothing changes here until the next
answer: a run that is killed, or that fails repeatedly, still finds the working state. Secrets are
not copied, because an install never changes them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from typing import Any, Iterator, List, Optional, cast

from .. import forms
from ..errors import DreamError
from ..files import json_file
from ..layout import former
from ..system import atomic
from ..types.receipt import LastGood, Proof, Receipt, Receipts
from ..types.resource import Resource
from . import bounds, originals, receipt_form

FOLDER = "proved"
_MANIFEST = "manifest.json"
_SCHEMA = 1
#: The phases that write files which a service or the engine reads at its start.
_PHASES = ("directories", "services")
#: Maximum size of a configuration file.
_LIMIT_BYTES = 4 * 1024 * 1024


def keep(state_dir: str, receipts: Receipts, proof: Proof, home: str = "~") -> List[str]:
    """Copy the current files; return warnings. ``proof`` records how the model was asked."""
    folder = os.path.join(state_dir, FOLDER)
    services = receipts.get("services", {})
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        files = [_kept(folder, path) for path in sorted(set(_paths(receipts)))]
        manifest: LastGood = {
            "schema": _SCHEMA,
            "install_dir": services.get("install_dir"),
            "version": services.get("version"),
            "proof": proof,
            "files": files,
        }
        # Written last: until then the previous manifest is still valid.
        if manifest != read(state_dir):
            json_file.write_json(os.path.join(folder, _MANIFEST), manifest)
        _drop(folder, {(item["original"] or {})["sha256"] for item in files})
        for path in trees(receipts, home):
            if os.path.isdir(former(path)):
                shutil.rmtree(former(path))
    except (DreamError, OSError) as error:
        return ["a later failed change cannot be rolled back: %s" % error]
    return []


def _paths(receipts: Receipts) -> Iterator[str]:
    for item in _resources(receipts):
        is_configuration = not item.get("volatile") and not item.get("secret")
        if item["kind"] == "file" and is_configuration and os.path.lexists(item["path"]):
            yield item["path"]


def trees(receipts: Receipts, home: str = "~") -> List[str]:
    """Return the directories of packages that a change replaces, within the install's bounds."""
    home = os.path.expanduser(home)
    return [
        item["path"]
        for phase in _PHASES
        for item in receipts.get(phase, {}).get("resources", [])
        if item["kind"] == "tree" and _may_go(item, receipts[phase], home)
    ]


def _may_go(item: Resource, document: Receipt, home: str) -> bool:
    limits = bounds.Bounds(document.get("install_dir"), home)
    return not limits.place_of(former(item["path"])) and not limits.refusal(item, "running")


def _resources(receipts: Receipts) -> Iterator[Resource]:
    for phase in _PHASES:
        yield from receipts.get(phase, {}).get("resources", [])


def _kept(folder: str, path: str) -> Resource:
    content, status = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    copy = os.path.join(folder, digest)
    if not os.path.exists(copy):
        atomic.write_bytes(copy, content, 0o600)
    return {
        "kind": "file",
        "path": path,
        "original": {**originals.rights(status), "sha256": digest},
    }


def _read(path: str) -> Any:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LIMIT_BYTES:
            raise OSError("%s is not a small regular file" % path)
        return stream.read(), status


def _drop(folder: str, needed: Any) -> None:
    for name in os.listdir(folder):
        if name not in needed and name != _MANIFEST:
            os.unlink(os.path.join(folder, name))


def read(state_dir: str) -> Optional[LastGood]:
    """Return the last kept state, or None if there is no valid one."""
    found, _ = json_file.read_json(os.path.join(state_dir, FOLDER, _MANIFEST))
    if found is None or _FORM(found) or found["schema"] != _SCHEMA:
        return None
    return cast("LastGood", found)


_FORM = forms.fields(
    {
        "schema": forms.whole,
        "install_dir": forms.path,
        "proof": receipt_form.PROOF,
        "files": forms.list_of(
            forms.fields(
                {"path": forms.path, "original": receipt_form.ORIGINAL["file"]},
                {"kind": forms.name},
            )
        ),
    },
    {"version": forms.maybe(forms.name)},
)


def differing(kept: LastGood, home: str = "~") -> List[Resource]:
    """Return the kept files that differ on the host.

    A file outside the bounds of the install is never written, whatever the manifest lists.
    """
    limits = bounds.Bounds(kept.get("install_dir"), os.path.expanduser(home))
    ours = [item for item in kept["files"] if not limits.place_of(item["path"])]
    return [item for item in ours if not originals.is_same(item)]


def put_back(items: List[Resource], state_dir: str) -> None:
    """Restore the files. Raises originals.Lost, DreamError or OSError."""
    for item in items:
        originals.give_back(item, state_dir, FOLDER)


def put_trees_back(receipts: Receipts, home: str = "~") -> List[str]:
    """Replace package directories with their former versions; return the restored ones."""
    found = [path for path in trees(receipts, home) if os.path.isdir(former(path))]
    for path in found:
        # In this order, because after a kill in between the former directory is still found.
        if os.path.lexists(path):
            shutil.rmtree(path)
        os.rename(former(path), path)
    return found
