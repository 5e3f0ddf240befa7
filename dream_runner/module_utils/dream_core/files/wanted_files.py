"""Create and update many directories and small files in one task.

Every module call takes a third of a second, so a loop over files would take longer than the work
itself.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Dict, List, Mapping, Sequence

from .. import arguments
from ..errors import UsageError
from ..system import atomic

Wanted = Mapping[str, Any]

_ENTRY = {
    "path": {"type": arguments.path, "required": True},
    "mode": {"type": "str", "required": True},
}
_OWNED = dict(_ENTRY, owner={"type": "str", "default": ""}, data={"type": "bool", "default": False})
#: The options of the module dream_files.
SPEC = {
    "directories": {"type": "list", "elements": "dict", "default": [], "options": _OWNED},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": dict(
            _ENTRY,
            content={"type": "str", "required": True},
            replace_link={"type": "bool", "default": False},
        ),
    },
}


def carry_out(params: Mapping[str, Any], *, write: bool) -> Dict[str, Any]:
    """Run a dream_files task, in this process or in the module. Raises DreamError."""
    changes = settle(params["directories"], params["files"], write=write)
    before = "".join("%(path)s: %(was)s\n" % change for change in changes)
    after = "".join("%(path)s: as wanted\n" % change for change in changes)
    diff = {"before": before, "after": after}
    return {"changed": bool(changes), "changes": changes, "diff": diff}


def settle(
    directories: Sequence[Wanted], files: Sequence[Wanted], *, write: bool
) -> List[Dict[str, str]]:
    """Create or update ``directories`` (path, mode), then ``files`` (path, mode, content).

    A directory may have an ``owner`` (``uid:gid``). A directory with ``data`` is created once;
    after that its service decides its mode and owner. A file replaces a link only with
    ``replace_link``; the target of the link is not changed. Returns ``{path, was}`` for each path
    that differed, in order. A file is replaced atomically. Raises UsageError IN_THE_WAY if an
    object of another type is there, and DiskError or PrivilegeError if the filesystem refuses.
    """
    changes = []
    for wanted in directories:
        was = _directory_defect(wanted)
        if was:
            changes.append({"path": wanted["path"], "was": was})
            if write:
                _make_directory(wanted)
    for wanted in files:
        was = _file_defect(wanted)
        if was:
            changes.append({"path": wanted["path"], "was": was})
            if write:
                content = str(wanted["content"]).encode("utf-8", "surrogateescape")
                atomic.write_bytes(wanted["path"], content, _mode(wanted))
    return changes


def _mode(wanted: Wanted) -> int:
    return int(str(wanted["mode"]), 8)


def _directory_defect(wanted: Wanted) -> str:
    status = _status(wanted["path"])
    if status is None:
        return "missing"
    if not stat.S_ISDIR(status.st_mode):
        raise _in_the_way(wanted["path"], "a directory")
    if wanted.get("data"):
        return ""
    return _mode_defect(status, wanted) or _owner_defect(status, wanted)


def _file_defect(wanted: Wanted) -> str:
    status = _status(wanted["path"], follow=False)
    if status is None:
        return "missing"
    if stat.S_ISLNK(status.st_mode) and wanted.get("replace_link"):
        return "a link"
    if not stat.S_ISREG(status.st_mode):
        raise _in_the_way(wanted["path"], "a file")
    try:
        with open(wanted["path"], "rb") as handle:
            content = handle.read()
    except PermissionError as error:
        # Our file, made unreadable by others: a new one replaces it.
        if status.st_uid == os.geteuid():
            return "unreadable"
        raise atomic.translate(error, wanted["path"]) from error
    except OSError as error:
        raise atomic.translate(error, wanted["path"]) from error
    if content != str(wanted["content"]).encode("utf-8", "surrogateescape"):
        return "other content"
    return _mode_defect(status, wanted)


def _mode_defect(status: os.stat_result, wanted: Wanted) -> str:
    now = stat.S_IMODE(status.st_mode)
    return "" if now == _mode(wanted) else "mode %04o" % now


def _owner_defect(status: os.stat_result, wanted: Wanted) -> str:
    now = "%d:%d" % (status.st_uid, status.st_gid)
    return "" if wanted.get("owner", "") in ("", now) else "owner %s" % now


def _make_directory(wanted: Wanted) -> None:
    path = wanted["path"]
    try:
        os.makedirs(path, exist_ok=True)
        os.chmod(path, _mode(wanted))
        if wanted.get("owner"):
            user, group = str(wanted["owner"]).split(":")
            os.chown(path, int(user), int(group))
    except OSError as error:
        raise atomic.translate(error, wanted["path"]) from error


def _status(path: str, follow: bool = True) -> Any:
    """Return the status of ``path``, or None; a directory may be reached through a link."""
    try:
        return os.stat(path) if follow else os.lstat(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise _in_the_way(os.path.dirname(path), "a directory") from error
    except OSError as error:
        raise atomic.translate(error, path) from error


def _in_the_way(path: str, wanted: str) -> UsageError:
    return UsageError(
        "%s is not %s" % (path, wanted),
        code="IN_THE_WAY",
        where=path,
        hint="move it away, or choose another --install-dir",
    )
