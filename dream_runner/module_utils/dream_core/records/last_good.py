"""What the model last answered with, kept so that a change that fails can be turned back.

When the health phase has its answer, the files that decide what runs are copied into
the state directory, and what an older engine's packages lie in is let go. Until the next answer
nothing here changes: a run that is killed, or that fails again and again, still finds
what worked. Secrets are not copied; a re-run never changes one.
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
#: The phases that write what a service or the engine reads at its start.
_PHASES = ("directories", "services")
#: All of them are configuration; anything larger is not.
_LIMIT_BYTES = 4 * 1024 * 1024


def keep(state_dir: str, receipts: Receipts, proof: Proof, home: str = "~") -> List[str]:
    """Keep the files as they are now; return warnings. ``proof`` tells how the model was asked."""
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
        # Last: until then the one before still names content that is there.
        if manifest != read(state_dir):
            json_file.write_json(os.path.join(folder, _MANIFEST), manifest)
        _drop(folder, {(item["original"] or {})["sha256"] for item in files})
        for path in trees(receipts, home):
            if os.path.isdir(former(path)):
                shutil.rmtree(former(path))
    except (DreamError, OSError) as error:
        return ["a change that fails later cannot be turned back: %s" % error]
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
            raise OSError("%s is no small file" % path)
        return stream.read(), status


def _drop(folder: str, needed: Any) -> None:
    for name in os.listdir(folder):
        if name not in needed and name != _MANIFEST:
            os.unlink(os.path.join(folder, name))


def read(state_dir: str) -> Optional[LastGood]:
    """Return what was kept last, or None where there is nothing to trust."""
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
    """Return those of the kept files that the host has otherwise by now.

    A file outside the bounds of the install is not ours to write, whatever the manifest says.
    """
    limits = bounds.Bounds(kept.get("install_dir"), os.path.expanduser(home))
    ours = [item for item in kept["files"] if not limits.place_of(item["path"])]
    return [item for item in ours if not originals.is_same(item)]


def put_back(items: List[Resource], state_dir: str) -> None:
    """Make the files what they were. Raises restore.Lost, DreamError or OSError."""
    for item in items:
        originals.give_back(item, state_dir, FOLDER)


def put_trees_back(receipts: Receipts, home: str = "~") -> List[str]:
    """Let former packages take the place of their successors; return what was put back."""
    found = [path for path in trees(receipts, home) if os.path.isdir(former(path))]
    for path in found:
        # In this order: a kill in between leaves the former ones where they are looked for.
        if os.path.lexists(path):
            shutil.rmtree(path)
        os.rename(former(path), path)
    return found
