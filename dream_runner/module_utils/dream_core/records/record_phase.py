"""Record on the host that a phase begins or ends."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from typing import List, Optional

from ..document import TypedDict
from ..errors import DreamError
from ..resources import registry
from ..system import atomic
from ..types.receipt import PhaseFacts, Receipt, Stamp, Wanted
from ..types.resource import Original, Resource
from . import due_phases, install_mark, last_good, locks, originals, receipt

#: Maximum size of a configuration file that existed before; a larger one is not kept.
_ORIGINAL_LIMIT_BYTES = 1024 * 1024


class Recorded(TypedDict):
    """The result for a role: whether the phase was found ``running``, and lines for the user."""

    interrupted: bool
    warnings: List[str]


def record(
    *,
    state_dir: str,
    phase: str,
    state: str,
    resources: Optional[List[Resource]] = None,
    facts: Optional[PhaseFacts] = None,
    stamp: Optional[Stamp] = None,
    wanted: Optional[Wanted] = None,
    write: bool = True,
) -> Recorded:
    """Write the receipt of ``phase``; return the result for the role.

    ``stamp`` has version, run_id and install_dir, ``wanted`` the inputs of the phase
    (due_phases.py). The result is ``{interrupted, warnings}``: ``interrupted`` is true if the phase
    was found ``running``; the handlers of the interrupted run are then still due.
    """
    if state == "running" and write:
        # The upgrade of a fast start must not begin to change containers between the two.
        with locks.kept_off(state_dir):
            return _record(state_dir, phase, state, resources, facts, stamp, wanted, write)
    return _record(state_dir, phase, state, resources, facts, stamp, wanted, write)


def _record(
    state_dir: str,
    phase: str,
    state: str,
    resources: Optional[List[Resource]],
    facts: Optional[PhaseFacts],
    stamp: Optional[Stamp],
    wanted: Optional[Wanted],
    write: bool,
) -> Recorded:
    receipts, _ = receipt.read_all(state_dir)
    before = receipts.get(phase)
    was_interrupted = before is not None and before["state"] == "running"
    begun: Stamp = {**(stamp or {}), "started_at": now()}
    warnings: List[Optional[str]] = []
    if state == "running":
        listed = resources or []
        after = receipt.begin(
            before,
            phase=phase,
            resources=listed,
            exists=_was_there(before, listed, str((stamp or {}).get("install_dir") or "")),
            stamp=begun,
        )
        if write:
            warnings += _keep_originals(state_dir, before, after)
    else:
        base = before or receipt.begin(None, phase=phase, resources=[], exists=[], stamp=begun)
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
            every = {**receipts, phase: after}.values()
            made = [item for document in every for item in document.get("resources", [])]
            warnings.append(install_mark.note(install_dir, made))
        proof = (facts or {}).get("proof")
        if write and phase == "health" and state == "done" and proof:
            warnings += last_good.keep(state_dir, receipts, proof)
    warnings.append(receipt.write(state_dir, after) if write else None)
    return {"interrupted": was_interrupted, "warnings": [line for line in warnings if line]}


def _was_there(
    before: Optional[Receipt], resources: List[Resource], install_dir: str
) -> List[bool]:
    """Return for each resource whether it was on the host before the install.

    If a phase has no receipt, an earlier one may have been lost; the mark in the install directory
    then shows which resources are ours.
    """
    found = registry.was_there(resources)
    if before and before.get("resources"):
        return found
    ours = install_mark.owned(install_dir, resources)
    return [present and not own for present, own in zip(found, ours)]


def _keep_originals(state_dir: str, before: Optional[Receipt], after: Receipt) -> List[str]:
    """Save the original state of files and directories, the first time a phase records them.

    The ``original`` of the resource describes what to restore: ``{mode, uid, gid}``, and ``sha256``
    for a file.
    """
    known = {receipt.identity(item) for item in before.get("resources", [])} if before else set()
    warnings = []
    for item in after["resources"]:
        is_new = receipt.identity(item) not in known
        if is_new and item["kind"] in _ORIGINALS and item["origin"] == "found":
            try:
                item["original"] = _ORIGINALS[item["kind"]](state_dir, item["path"])
            except (DreamError, OSError) as error:
                warnings.append("%s cannot be restored later: %s" % (item["path"], error))
    return warnings


def _original(state_dir: str, path: str) -> Optional[Original]:
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
    # dream_env keeps a file's previous content beside it; the user may have a file with that name.
    is_there = os.path.lexists(path + ".bak")
    return {**originals.rights(status), "sha256": digest, "backup": is_there}


def _original_directory(state_dir: str, path: str) -> Optional[Original]:
    status = os.lstat(path)
    return originals.rights(status) if stat.S_ISDIR(status.st_mode) else None


_ORIGINALS = {"file": _original, "directory": _original_directory}


def now() -> str:
    """Return the current time in UTC as ISO 8601, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
