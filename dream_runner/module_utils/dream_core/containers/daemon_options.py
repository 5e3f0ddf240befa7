"""The configuration of the Docker daemon: its file is merged, never replaced. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Collection, Dict, Mapping, Optional, Tuple

from ..errors import DiskError, UsageError
from ..types.engine import DaemonOptions, Engine
from ..types.host import Filesystem

DAEMON_FILE = "/etc/docker/daemon.json"
DEFAULT_ROOT = "/var/lib/docker"

#: The keys that lead to one option.
Path = Tuple[str, ...]


def parse(text: Optional[str], path: str = DAEMON_FILE) -> DaemonOptions:
    """Return the options in the daemon's file; none if it is missing or empty.

    Raises UsageError for a broken file, which is never replaced because others wrote it.
    """
    if text is None or not text.strip():
        return {}
    try:
        options = json.loads(text)
    except ValueError as error:
        raise UsageError(
            "%s is not JSON: %s" % (path, error),
            code="DAEMON_FILE_BROKEN",
            where=path,
            hint="correct it ('dockerd --validate' shows where), or move it away, then run again",
        ) from error
    if not isinstance(options, dict):
        raise UsageError(
            "%s is not a JSON object" % path,
            code="DAEMON_FILE_BROKEN",
            where=path,
            hint="move it away, then run again",
        )
    return options


def merge(
    present: DaemonOptions,
    wanted: DaemonOptions,
    ours: DaemonOptions,
    required: Collection[str] = (),
) -> DaemonOptions:
    """Return ``{options, ours, kept}``: the file's options with ours merged in.

    Options set by others stay and are listed in ``kept``. Options in ``ours`` (which we set before,
    from the receipt) are updated, or removed if they are no longer wanted. ``required`` lists the
    first keys of options that must have the wanted value: UsageError if others set them
    differently.
    """
    result = _leaves(present)
    before, asked = _leaves(ours), _leaves(wanted)
    for path in set(before) - set(asked):
        if result.get(path) == before[path]:
            del result[path]
    mine: Dict[Path, Any] = {}
    kept = []
    for path, value in asked.items():
        is_ours = path not in result or (path in before and result[path] == before[path])
        if is_ours and not _blocked(path, result):
            result[path] = mine[path] = value
        elif result.get(path) != value:
            kept.append(".".join(path))
    conflicts = sorted(name for name in kept if name.split(".")[0] in required)
    if conflicts:
        raise UsageError(
            "%s sets %s to another value than requested" % (DAEMON_FILE, ", ".join(conflicts)),
            code="DAEMON_FILE_CONFLICT",
            where=DAEMON_FILE,
            hint="change that file or your settings, then run again",
        )
    return {"options": _tree(result), "ours": _tree(mine), "kept": sorted(kept)}


def holds(text: Optional[str], ours: DaemonOptions) -> bool:
    """Return whether the file has every option of ``ours`` with our value."""
    try:
        present = _leaves(parse(text))
    except UsageError:
        return False
    return text is not None and all(
        path in present and present[path] == value for path, value in _leaves(ours).items()
    )


def without(text: Optional[str], ours: DaemonOptions) -> str:
    """Return the file without our options; empty if nothing else is in it."""
    return render(merge(parse(text), {}, ours)["options"])


def render(options: DaemonOptions) -> str:
    """Return ``options`` as the text of the file."""
    return json.dumps(options, indent=2, sort_keys=True) + "\n" if options else ""


def _blocked(path: Path, leaves: Mapping[Path, Any]) -> bool:
    """Return whether ``path`` needs an object where a value is, or the reverse."""
    return any(
        other != path and (other == path[: len(other)] or path == other[: len(path)])
        for other in leaves
    )


def _leaves(options: DaemonOptions, prefix: Path = ()) -> Dict[Path, Any]:
    found: Dict[Path, Any] = {}
    for key, value in options.items():
        if isinstance(value, dict) and value:
            found.update(_leaves(value, (*prefix, key)))
        else:
            found[(*prefix, key)] = value
    return found


def _tree(leaves: Mapping[Path, Any]) -> DaemonOptions:
    tree: DaemonOptions = {}
    for path, value in leaves.items():
        node = tree
        for key in path[:-1]:
            node = node.setdefault(key, {})
        node[path[-1]] = value
    return tree


def wanted_options(
    options: DaemonOptions,
    present: DaemonOptions,
    *,
    data_root: str = "",
    store: str = "default",
    nvidia: bool = False,
) -> DaemonOptions:
    """Return the options the daemon should have.

    Limits of the json-file log are set with that driver only: any other driver rejects them, and
    the engine does not start. In containerd's store, interrupted pulls resume.
    """
    wanted = dict(options)
    driver = present.get("log-driver", wanted.get("log-driver", "json-file"))
    if driver != wanted.get("log-driver", "json-file"):
        wanted.pop("log-driver", None)
        wanted.pop("log-opts", None)
    if data_root:
        wanted["data-root"] = data_root
    if store == "containerd":
        wanted["features"] = {**wanted.get("features", {}), "containerd-snapshotter": True}
    if nvidia:
        runtime = {"path": "nvidia-container-runtime", "args": []}
        wanted["runtimes"] = {**wanted.get("runtimes", {}), "nvidia": runtime}
    return wanted


def image_store(setting: str, engine: Engine, ours: DaemonOptions, data_root: str) -> str:
    """Return ``containerd``, or ``default`` to keep the engine's choice.

    The store of an engine that holds images or containers is not changed, because they would
    disappear. A data directory that the user chose is kept too: containerd uses another one.
    """
    if setting != "auto":
        return setting
    if data_root:
        return "default"
    is_ours = bool((ours.get("features") or {}).get("containerd-snapshotter"))
    is_empty = engine["store"] == "graphdriver" and not engine["holds"]
    is_able = engine["kind"] == "none" or _major(engine) >= 25
    return (
        "containerd"
        if is_ours or (is_able and (engine["kind"] == "none" or is_empty))
        else "default"
    )


def _major(engine: Engine) -> int:
    return int(re.sub(r"\D.*", "", str(engine["version"])) or 0)


def check_data_root(data_root: str, engine: Engine, filesystem: Filesystem, least_mb: int) -> None:
    """Raise an error if the engine's data cannot be in ``data_root``."""
    now = str(engine["root_dir"])
    if data_root and now and now != data_root and engine["holds"]:
        raise UsageError(
            "the engine has images or containers in %s; with the data directory %s it would not "
            "find them" % (now, data_root),
            code="DATA_ROOT_IN_USE",
            where=now,
            hint="move them yourself (see Docker's documentation of data-root), or leave"
            " docker_data_root empty",
        )
    free, place = filesystem.get("free_bytes"), str(filesystem["path"])
    if free is not None and not engine["holds"] and free < least_mb * 1024 * 1024:
        raise DiskError(
            "the engine's data needs %d MB; the filesystem of %s has %d MB free"
            % (least_mb, place, free // (1024 * 1024)),
            code="DISK_FULL",
            where=place,
            hint="free some space, or set docker_data_root to another directory",
        )
