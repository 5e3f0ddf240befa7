"""Check that a virtual environment is complete and unchanged.

Every file is compared with a list of digests, which was written after pip had installed the
verified packages.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Dict, Mapping

from ..files import json_file
from ..files.hashing import hash_file
from ..system.process import run_child

#: The list of digests in a finished environment.
MANIFEST = ".dream-runner.json"
_MANIFEST_SCHEMA = 1


def defect(path: str, requirements: str) -> str:
    """Return why ``path`` is not the wanted environment; empty if it is."""
    if not os.path.lexists(path):
        return "it does not exist"
    version = _runs_as(path)
    if not version:
        return "its Python does not start"
    manifest, why = json_file.read_json(os.path.join(path, MANIFEST))
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return "its list of files cannot be used: %s" % (why or "its creation was interrupted")
    if manifest.get("python") != version:
        return "it was created for another Python than %s" % version
    if manifest.get("requirements") != _digest_of_text(requirements):
        return "it was created from another list of packages"
    return _difference(manifest["files"], _files(path))


def is_made_from(path: str, requirements: str) -> bool:
    """Tell whether ``path`` says that it was made from a list; reads none of its files."""
    manifest, _ = json_file.read_json(os.path.join(path, MANIFEST))
    found = manifest.get("requirements") if isinstance(manifest, dict) else None
    return bool(found == _digest_of_text(requirements))


def _difference(recorded: Mapping[str, str], found: Mapping[str, str]) -> str:
    for name in sorted({*recorded, *found}):
        if name not in found:
            return "%s is missing" % name
        if recorded.get(name) != found[name]:
            return "%s has changed" % name
    return ""


def _files(path: str) -> Dict[str, str]:
    """Describe each file; byte code, which Python writes by itself, is skipped."""
    found = {}
    for folder, names, files in os.walk(path):
        names[:] = [name for name in names if name != "__pycache__"]
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        for name in files + links:
            full = os.path.join(folder, name)
            relative = os.path.relpath(full, path)
            if relative != MANIFEST:
                found[relative] = _described(full)
    return found


def _described(path: str) -> str:
    """Return the mode and digest of a file, or the target of a link."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return "link to " + os.readlink(path)
        return "%04o %s" % (stat.S_IMODE(status.st_mode), hash_file(path))
    except OSError as error:
        return "unreadable: %s" % error.strerror


def is_whole(path: str) -> bool:
    """Return whether an environment is complete and unchanged, whatever its list of packages."""
    manifest, _ = json_file.read_json(os.path.join(path, MANIFEST))
    files = manifest.get("files") if isinstance(manifest, dict) else None
    return isinstance(files, dict) and files == _files(path) and bool(_runs_as(path))


def record(path: str, requirements: str) -> None:
    """Write the list of digests; its presence marks the environment as finished."""
    manifest = {
        "schema": _MANIFEST_SCHEMA,
        "python": _runs_as(path),
        "requirements": _digest_of_text(requirements),
        "files": _files(path),
    }
    json_file.write_json(os.path.join(path, MANIFEST), manifest, mode=0o644)


def _digest_of_text(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _runs_as(path: str) -> str:
    """Return major.minor of the environment's Python; empty if it does not start."""
    python = os.path.join(path, "bin", "python")
    look = "import sys; print('%d.%d' % sys.version_info[:2]); print(sys.prefix)"
    try:
        done = run_child([python, "-I", "-c", look], environment={}, directory="/")
    except OSError:
        return ""
    version, _, prefix = done.output.partition("\n")
    is_ours = os.path.realpath(prefix) == os.path.realpath(path)
    return version if done.status == 0 and is_ours else ""
