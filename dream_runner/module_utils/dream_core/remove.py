"""Uninstall: the receipts read backwards.

Removes what the receipts say was made here, and nothing else: no name pattern,
no path outside the install directory and the two unit directories, no link
followed. Safe to kill: a receipt goes only after everything in it has gone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
from typing import Any, Callable, Dict, List, Sequence

from . import atomic, receipt, survey
from .phases import PHASES
from .session import SYSTEM_PATH

Resource = Dict[str, Any]

#: Kept without ``purge``: what took long to fetch. Secrets are marked by the resource.
_PRECIOUS_KINDS = ("model",)
#: Kept always: by now other programs may use a package.
_SHARED_KINDS = ("package",)
_SYSTEM_UNITS = "/etc/systemd/system"
_USER_UNITS = ".config/systemd/user"


class Cannot(Exception):
    """A resource stays on the host, and why."""


def remove(state_dir: str, home: str, *, purge: bool, dry: bool = False) -> Dict[str, Any]:
    """Remove what was made here; return ``{removed, kept, left}`` as lines for a person.

    ``left`` is what should have gone and did not, each with the reason: the
    walk goes on after an error. With ``dry`` nothing is touched.
    """
    receipts, _ = receipt.read_all(state_dir)
    answer: Dict[str, Any] = {"removed": [], "kept": [], "left": []}
    for phase in reversed(PHASES):
        if phase not in receipts:
            continue
        remaining = _remove_phase(receipts[phase], home, purge, dry, answer)
        if not dry:
            _settle(state_dir, receipts[phase], remaining)
    if not dry and not answer["left"]:
        _remove_state(state_dir, purge)
    return answer


def _remove_phase(
    document: Dict[str, Any], home: str, purge: bool, dry: bool, answer: Dict[str, Any]
) -> List[Resource]:
    """Remove what one phase made; return what of it is still there."""
    remaining = []
    for resource in reversed(document.get("resources", [])):
        name = survey.name_of(resource)
        if resource["origin"] != "made":
            answer["kept"].append(name + " (was there before)")
            continue
        if _stays(resource, purge):
            if _is_there(resource):
                answer["kept"].append(name)
                remaining.append(resource)
            continue
        try:
            gone = _take_away(resource, document, home, dry)
        except (Cannot, OSError, subprocess.SubprocessError) as error:
            answer["left"].append("%s: %s" % (name, error))
            remaining.append(resource)
            continue
        if gone:
            answer["removed"].append(name)
        elif _is_there(resource):
            answer["kept"].append(name + " (not empty)")
            remaining.append(resource)
    return list(reversed(remaining))


def _stays(resource: Resource, purge: bool) -> bool:
    if resource["kind"] in _SHARED_KINDS:
        return True
    return not purge and (resource["kind"] in _PRECIOUS_KINDS or bool(resource.get("secret")))


def _is_there(resource: Resource) -> bool:
    return bool(survey.observe(resource, survey.Host(), survey.GLANCE)["present"])


def _take_away(resource: Resource, document: Dict[str, Any], home: str, dry: bool) -> bool:
    """Remove one resource; return whether there was anything to remove."""
    path = resource.get("path")
    if path and not is_allowed(path, document.get("install_dir", ""), home):
        raise Cannot("it is outside what an install of ours writes to")
    if not _is_there(resource):
        return False
    # Not a failure: the files of the user, or what is kept, live on in it.
    if resource["kind"] == "directory" and not _is_empty(str(path), dry):
        return False
    if not dry:
        _REMOVERS[resource["kind"]](resource)
    return True


def _is_empty(path: str, dry: bool) -> bool:
    """Tell whether a directory holds nothing; temporary files of a killed run are removed."""
    names = os.listdir(path)
    if all(name.startswith(atomic.TEMP_PREFIX) for name in names) and not dry:
        for name in names:
            os.unlink(os.path.join(path, name))
        return True
    return not names


def is_allowed(path: str, install_dir: str, home: str) -> bool:
    """Tell whether an install may have made ``path``.

    A receipt is a file like any other: one that was tampered with must not
    lead outside. The folder is resolved, so that no link on the way does either.
    """
    parent = os.path.realpath(os.path.dirname(path))
    real = os.path.join(parent, os.path.basename(path))
    root = os.path.realpath(install_dir) if os.path.isabs(install_dir) else ""
    # One level below / is a system directory or somebody's whole home.
    if root.count("/") >= 2 and (real == root or real.startswith(root + "/")):
        return True
    units = (_SYSTEM_UNITS, os.path.realpath(os.path.join(home, _USER_UNITS)))
    return parent in units and os.path.basename(path).startswith("dream-runner")


def _remove_file(resource: Resource) -> None:
    os.unlink(resource["path"])


def _remove_model(resource: Resource) -> None:
    from .fetch import remove_stamp

    os.unlink(resource["path"])
    remove_stamp(resource["path"])


def _remove_directory(resource: Resource) -> None:
    if stat.S_ISDIR(os.lstat(resource["path"]).st_mode):
        os.rmdir(resource["path"])


def _remove_tree(resource: Resource) -> None:
    if os.path.islink(resource["path"]):
        raise Cannot("it is a link now")
    shutil.rmtree(resource["path"])


def _remove_unit(resource: Resource) -> None:
    scope = ["--user"] if resource["scope"] == "user" else []
    _run(["systemctl", *scope, "disable", "--now", resource["name"]])
    if survey.observe(resource, survey.Host()).get("active") in ("active", "activating"):
        raise Cannot("it still runs")


def _remove_supervisor(resource: Resource) -> None:
    from .supervisor import stop

    stop(resource["config"])


def _remove_linger(resource: Resource) -> None:
    _run(["loginctl", "disable-linger", resource["user"]])


def _nothing(resource: Resource) -> None:
    """Do nothing: a port goes with its program."""


_REMOVERS: Dict[str, Callable[[Resource], None]] = {
    "file": _remove_file,
    "model": _remove_model,
    "directory": _remove_directory,
    "tree": _remove_tree,
    "unit": _remove_unit,
    "supervisor": _remove_supervisor,
    "linger": _remove_linger,
    "port": _nothing,
}


def _run(argv: Sequence[str]) -> None:
    program = shutil.which(argv[0], path=SYSTEM_PATH)
    if program is None:
        raise Cannot("%s is not there" % argv[0])
    done = subprocess.run(
        [program, *argv[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise Cannot(done.stderr.decode("utf-8", "replace").strip() or "%s failed" % argv[0])


def _settle(state_dir: str, document: Dict[str, Any], remaining: List[Resource]) -> None:
    """Drop the receipt of a phase, or keep what of it is still on the host."""
    path = receipt.path_of(state_dir, document["phase"])
    if remaining:
        receipt.write(state_dir, dict(document, state="removed", resources=remaining, facts={}))
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


#: What the state directory holds besides receipts; ``runs`` and ``lock`` are in use.
_STATE_FILES = ("facts.json",)
_PURGED_STATE_FILES = ("settings.json",)


def _remove_state(state_dir: str, purge: bool) -> None:
    for name in _STATE_FILES + (_PURGED_STATE_FILES if purge else ()):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(state_dir, name))
    with contextlib.suppress(OSError):
        os.rmdir(os.path.join(state_dir, "receipts"))
