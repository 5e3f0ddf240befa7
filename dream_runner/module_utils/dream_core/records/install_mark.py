"""The mark in the install directory, which proves that we created it if the receipts are lost.

Receipts are in the user's state directory. Without them, the next install would record everything
as found, and no uninstall would remove it. The mark records who created the directory, and what was
created elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Iterable, List, Optional, Sequence, cast

from ..errors import DreamError
from ..files import json_file
from ..types.receipt import Mark
from ..types.resource import Resource
from . import receipt

#: Name of the mark, directly in the install directory.
NAME = ".dream-runner.json"
SCHEMA = 1


def path_of(install_dir: str) -> str:
    """Return the path of the mark of ``install_dir``."""
    return os.path.join(install_dir, NAME)


def note(install_dir: str, resources: Iterable[Resource]) -> Optional[str]:
    """Add the resources that a phase created to the mark; return a warning instead of failing.

    The phase that creates the install directory creates the mark; a directory that existed before
    is never marked. Nothing is written if the mark is complete.
    """
    made = [item for item in resources if item["origin"] == "made"]
    before = read(install_dir)
    if before is None and not any(_is_root(item, install_dir) for item in made):
        return None
    outside = [item for item in made if not _is_below(item, install_dir)]
    known = list(before["made"]) if before else []
    more = [list(receipt.identity(item) or ()) for item in outside]
    document = {
        "schema": SCHEMA,
        "install_dir": install_dir,
        "made": known + [item for item in more if item not in known],
    }
    if document == before:
        return None
    try:
        json_file.write_json(path_of(install_dir), document, 0o644)
    except (DreamError, OSError) as error:
        return "cannot write the install mark in %s: %s" % (install_dir, error)
    return None


def read(install_dir: str) -> Optional[Mark]:
    """Return the mark, or None if there is no valid one.

    A mark that was copied with its directory has another path; a mark of another user proves
    nothing.
    """
    path = path_of(install_dir)
    with contextlib.suppress(OSError):
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in (0, os.geteuid()):
            return None
        document, _ = json_file.read_json(path)
        if isinstance(document, dict) and document.get("install_dir") == install_dir:
            return cast("Mark", document) if isinstance(document.get("made"), list) else None
    return None


def owned(install_dir: str, resources: Sequence[Resource]) -> List[bool]:
    """Return for each resource whether the mark proves that an install created it."""
    mark = read(install_dir) if install_dir else None
    if mark is None:
        return [False for _ in resources]
    return [
        _is_below(item, install_dir) or list(receipt.identity(item) or ()) in mark["made"]
        for item in resources
    ]


def _is_root(resource: Resource, install_dir: str) -> bool:
    return bool(resource["kind"] == "directory" and resource["path"] == install_dir)


def _is_below(resource: Resource, install_dir: str) -> bool:
    path = str(resource.get("path") or resource.get("config") or "")
    return path == install_dir or path.startswith(install_dir.rstrip("/") + "/")
