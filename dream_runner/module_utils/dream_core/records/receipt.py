"""Receipts: what each phase made, recorded on the host itself.

A receipt shows where to look, and is never alone a reason to skip a phase. It is written before a
phase changes anything (``running``) and after its work is verified (``done``).
"""

from __future__ import annotations

import os
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..errors import DreamError
from ..files import json_file
from ..phases import PHASES, RECEIPT_SCHEMA
from ..types.receipt import PhaseFacts, Receipt, Receipts, Stamp
from ..types.resource import Resource
from . import receipt_form

#: The field that identifies a resource among those of its kind.
IDENTITY = {
    "file": ("path",),
    "directory": ("path",),
    "tree": ("path",),
    "model": ("path",),
    "unit": ("scope", "name"),
    "supervisor": ("config", "program"),
    "background": ("path",),
    "port": ("port",),
    "package": ("name",),
    "linger": ("user",),
    "sysctl": ("name",),
    "group": ("group", "user"),
    "options": ("path",),
    "container": ("project", "service"),
    "image": ("reference",),
    "network": ("name",),
    "volume": ("name",),
    "data": ("path",),
}

#: ``removed``: uninstalled, except for resources that are kept or could not be removed.
_STATES = ("running", "done", "failed", "removed")


def path_of(state_dir: str, phase: str) -> str:
    """Return the path of the receipt of ``phase``."""
    return os.path.join(state_dir, "receipts", phase + ".json")


def read_all(state_dir: str) -> Tuple[Dict[str, Receipt], List[str]]:
    """Return ``({phase: receipt}, warnings)``, phases in run order.

    An invalid receipt is skipped with a warning, and its phase is checked again on the host. A
    receipt of a newer version is used as far as this version knows it.
    """
    receipts: Dict[str, Receipt] = {}
    warnings: List[str] = []
    for phase in PHASES:
        document, why = read_one(path_of(state_dir, phase), phase)
        if why:
            warnings.append("receipt of phase %s %s" % (phase, why))
        if document:
            receipts[phase] = document
    return receipts, warnings


def read_one(path: str, phase: str) -> Tuple[Optional[Receipt], Optional[str]]:
    """Return a receipt, and the reason why it is ignored; both are None without a file."""
    document, why = json_file.read_json(path)
    if document is None:
        return None, why and "ignored: %s" % why
    defect = _defect(document, phase)
    if defect:
        return None, "ignored: %s" % defect
    return _understood(document)


def _defect(document: Any, phase: str) -> Optional[str]:
    if not isinstance(document, dict):
        return "it is not an object"
    if not isinstance(document.get("schema"), int):
        return "its schema is %s" % str(document.get("schema"))[:40]
    state = document.get("state")
    if document.get("phase") != phase or not isinstance(state, str) or state not in _STATES:
        return "its phase or state is unknown"
    problem = receipt_form.problem(document, phase)
    return "its %s" % problem if problem else None


def _understood(document: Receipt) -> Tuple[Receipt, Optional[str]]:
    """Move what this version does not know out of the resources; return the receipt and a warning.

    It is kept in the receipt under ``foreign`` and never acted on. A newer receipt loses its
    inputs, so that its role checks the phase again.
    """
    resources = document.get("resources", [])
    known = [item for item in resources if _is_recorded(item)]
    foreign = [item for item in resources if not _is_recorded(item)]
    warning = None
    if document["schema"] > RECEIPT_SCHEMA:
        warning = "has schema %d, but this version knows %d: its phase is checked again" % (
            document["schema"],
            RECEIPT_SCHEMA,
        )
        document = {**document, "inputs": None}
    elif foreign:
        warning = "lists %d resources in an unknown form, which are left alone" % len(foreign)
    if foreign:
        earlier = document.get("foreign")
        kept = earlier if isinstance(earlier, list) else []
        document = {**document, "foreign": kept + foreign}
    return {**document, "resources": known}, warning


def _is_recorded(resource: Any) -> bool:
    is_whole = identity(resource) is not None and receipt_form.is_resource(resource)
    return is_whole and resource.get("origin") in ("made", "found")


def identity(resource: Any) -> Optional[Tuple[Any, ...]]:
    """Return the identity of ``resource``, or None if its form is unknown."""
    kind = resource.get("kind") if isinstance(resource, dict) else None
    if not isinstance(kind, str) or kind not in IDENTITY:
        return None
    values = tuple(resource.get(name) for name in IDENTITY[kind])
    return None if any(value in (None, "") for value in values) else (kind, *values)


def interrupted(receipts: Dict[str, Receipt]) -> List[str]:
    """Return the phases that began but did not end, in run order."""
    return [name for name in PHASES if receipts.get(name, {}).get("state") == "running"]


def next_phase(receipts: Dict[str, Receipt]) -> Optional[str]:
    """Return the first phase that is not known to be finished.

    A phase in state ``running`` counts as unfinished: the machine may have lost power between its
    last change and its receipt.
    """
    for phase in PHASES:
        if receipts.get(phase, {}).get("state") != "done":
            return phase
    return None


def begin(
    before: Optional[Receipt],
    *,
    phase: str,
    resources: Sequence[Resource],
    exists: Sequence[bool],
    stamp: Stamp,
) -> Receipt:
    """Return the ``running`` receipt of a phase that begins.

    ``exists`` states for each resource whether it is on the host now. That decides its origin only
    the first time: what we made stays ours, although it exists in every later run. Resources that
    are no longer wanted are kept, so that uninstall still finds them.
    """
    receipt: Receipt = before.copy() if before else {}
    known = {identity(item): item for item in receipt.get("resources", [])}
    merged = dict(known)
    for resource, present in zip(resources, exists):
        key = identity(resource)
        origin = known[key]["origin"] if key in known else ("found" if present else "made")
        merged[key] = {**known.get(key, resource), **resource, "origin": origin}
    receipt.update(stamp)
    receipt["schema"] = RECEIPT_SCHEMA
    receipt["phase"] = phase
    receipt["state"] = "running"
    receipt["finished_at"] = None
    receipt["resources"] = list(merged.values())
    receipt.setdefault("facts", {})
    return receipt


def finish(
    receipt: Receipt,
    *,
    state: str,
    facts: PhaseFacts,
    inputs: Dict[str, str],
    finished_at: str,
) -> Receipt:
    """Return the receipt of a phase that ended with ``state``.

    ``inputs`` are the digests of the phase's inputs (inputs.py).
    """
    return {
        **receipt,
        "state": state,
        "facts": facts,
        "inputs": inputs,
        "finished_at": finished_at,
    }


def write(state_dir: str, receipt: Receipt) -> Optional[str]:
    """Write ``receipt``; return a warning instead of failing the install."""
    directory = os.path.join(state_dir, "receipts")
    path = path_of(state_dir, receipt["phase"])
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _set_aside(path, receipt["phase"])
        json_file.write_json(path, receipt)
    except (DreamError, OSError) as error:
        return "the receipt of phase %s was not written: %s" % (receipt["phase"], error)
    return None


def _set_aside(path: str, phase: str) -> None:
    """Keep an unreadable receipt, or one of a newer version, under another name."""
    document, why = json_file.read_json(path)
    if document is None and why is None:
        return
    if document is None or _defect(document, phase) or document["schema"] > RECEIPT_SCHEMA:
        os.replace(path, path + ".aside")


def directory_of(receipts: Receipts) -> str:
    """Return the install directory of the newest valid receipt, or an empty string.

    An uninstall leaves receipts of what it kept; these do not belong to an installation.
    """
    live = [item for item in receipts.values() if item.get("state") != "removed"]
    nothing: Receipt = {}
    newest = max(live, key=lambda item: str(item.get("started_at") or ""), default=nothing)
    return str(newest.get("install_dir") or "")
