"""Record on the host that a phase begins or ends."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import Any, Dict, List, Optional

from ..errors import DreamError
from ..resources import registry
from ..system import atomic
from . import due_phases, install_mark, last_good, locks, originals, receipt

#: A file that was there before us is configuration; a larger one is not kept.
_ORIGINAL_LIMIT_BYTES = 1024 * 1024


def record(
    *,
    state_dir: str,
    phase: str,
    state: str,
    resources: Optional[List[Dict[str, Any]]] = None,
    facts: Optional[Dict[str, Any]] = None,
    stamp: Optional[Dict[str, Any]] = None,
    wanted: Optional[Dict[str, Any]] = None,
    write: bool = True,
) -> Dict[str, Any]:
    """Write the receipt of ``phase`` and return what the role needs to know.

    ``stamp`` carries version, run_id and install_dir, ``wanted`` the inputs of
    the phase (due.py). The result is ``{interrupted, warnings}``: interrupted
    tells that the phase was found ``running``, so that handlers that were due
    then are due now.
    """
    if state == "running" and write:
        # Between the two the upgrade of a fast start must not begin to change containers.
        with locks.kept_off(state_dir):
            return _record(state_dir, phase, state, resources, facts, stamp, wanted, write)
    return _record(state_dir, phase, state, resources, facts, stamp, wanted, write)


def _record(
    state_dir: str,
    phase: str,
    state: str,
    resources: Optional[List[Dict[str, Any]]],
    facts: Optional[Dict[str, Any]],
    stamp: Optional[Dict[str, Any]],
    wanted: Optional[Dict[str, Any]],
    write: bool,
) -> Dict[str, Any]:
    receipts, _ = receipt.read_all(state_dir)
    before = receipts.get(phase)
    was_interrupted = bool(before) and before["state"] == "running"  # type: ignore[index]
    warnings: List[Optional[str]] = []
    if state == "running":
        listed = resources or []
        after = receipt.begin(
            before,
            phase=phase,
            resources=listed,
            exists=_was_there(before, listed, str((stamp or {}).get("install_dir") or "")),
            stamp=dict(stamp or {}, started_at=now()),
        )
        if write:
            warnings += _keep_originals(state_dir, before, after)
    else:
        base = before or receipt.begin(
            None, phase=phase, resources=[], exists=[], stamp=dict(stamp or {}, started_at=now())
        )
        base["resources"] = registry.observe_all(base["resources"])
        after = receipt.finish(
            base,
            state=state,
            facts=facts or {},
            inputs=due_phases.complete(wanted or {}, receipts),
            finished_at=now(),
        )
        install_dir = str(after.get("install_dir") or "")
        if write and install_dir:
            every = dict(receipts, **{phase: after}).values()
            made = [item for document in every for item in document.get("resources", [])]
            warnings.append(install_mark.note(install_dir, made))
        proof = (facts or {}).get("proof")
        if write and phase == "health" and state == "done" and proof:
            warnings += last_good.keep(state_dir, receipts, proof)
    warnings.append(receipt.write(state_dir, after) if write else None)
    return {"interrupted": was_interrupted, "warnings": [line for line in warnings if line]}


def _was_there(
    before: Optional[receipt.Receipt], resources: List[Dict[str, Any]], install_dir: str
) -> List[bool]:
    """Tell of each resource whether it was on the host before us.

    Where a phase has no receipt at all, an earlier one may have been lost; the
    mark in the install directory then tells ours from what was found.
    """
    found = registry.was_there(resources)
    if before and before.get("resources"):
        return found
    ours = install_mark.owned(install_dir, resources)
    return [present and not own for present, own in zip(found, ours)]


def _keep_originals(
    state_dir: str, before: Optional[receipt.Receipt], after: receipt.Receipt
) -> List[str]:
    """Keep what files and directories were like before us, the first time we meet them.

    ``original`` of the resource then says what to restore: ``{mode, uid, gid}``,
    and ``sha256`` of a file.
    """
    known = {receipt.identity(item) for item in (before or {}).get("resources", [])}
    warnings = []
    for item in after["resources"]:
        is_new = receipt.identity(item) not in known
        if is_new and item["kind"] in _ORIGINALS and item["origin"] == "found":
            try:
                item["original"] = _ORIGINALS[item["kind"]](state_dir, item["path"])
            except (DreamError, OSError) as error:
                warnings.append("%s cannot be restored later: %s" % (item["path"], error))
    return warnings


def _original(state_dir: str, path: str) -> Optional[Dict[str, Any]]:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _ORIGINAL_LIMIT_BYTES:
            return None
        content = stream.read()
    digest = hashlib.sha256(content).hexdigest()
    directory = os.path.join(state_dir, "originals")
    os.makedirs(directory, mode=0o700, exist_ok=True)
    atomic.write_bytes(os.path.join(directory, digest), content, mode=0o600)
    # dream_env keeps a file's last content beside it; one of that name may be the user's.
    return dict(originals.rights(status), sha256=digest, backup=os.path.lexists(path + ".bak"))


def _original_directory(state_dir: str, path: str) -> Optional[Dict[str, Any]]:
    status = os.lstat(path)
    return originals.rights(status) if stat.S_ISDIR(status.st_mode) else None


_ORIGINALS = {"file": _original, "directory": _original_directory}


def now() -> str:
    """Return the present time as UTC in ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
