"""Findings: the problems of a host, and the error that reports them.

A finding is ``{id, severity: blocker|warning|info, what, needed, found, hint, error, code}``. The
user accepts a blocker by its id (``--accept memory``).
"""

from __future__ import annotations

import re
from typing import Any, List, Optional, Sequence

from .. import errors
from ..errors import DreamError
from ..types.finding import Finding
from ..types.host import Session


def finding(
    id_: str,
    severity: str,
    what: str,
    *,
    needed: str = "",
    found: str = "",
    hint: str = "",
    error: str = "RequirementError",
    code: str = "",
    final: bool = False,
) -> Finding:
    """Return one finding; ``error`` is the error class, which decides a blocker's exit code.

    A ``final`` blocker cannot be accepted.
    """
    return {
        **({"final": True} if final else {}),
        "id": id_,
        "severity": severity,
        "what": what,
        "needed": needed,
        "found": found,
        "hint": hint,
        "error": error,
        "code": code or re.sub(r"[^A-Z0-9]+", "_", id_.upper()),
    }


def open_blockers(findings: Sequence[Finding], accept: Sequence[str]) -> List[Finding]:
    """Return the blockers that the user did not accept or cannot accept."""
    accepted = set(accept)
    blockers = [f for f in findings if f["severity"] == "blocker"]
    return [f for f in blockers if f.get("final") or f["id"] not in accepted]


def error_of(findings: Sequence[Finding], accept: Sequence[str] = ()) -> Optional[DreamError]:
    """Return one error that lists every open blocker, or None.

    The first blocker decides the class, code and exit code.
    """
    blockers = open_blockers(findings, accept)
    if not blockers:
        return None
    first = blockers[0]
    found: Any = getattr(errors, first["error"])
    if len(blockers) == 1:
        error: DreamError = found(sentence(first), code=first["code"], hint=first["hint"])
        return error
    lines = ["- %s%s" % (sentence(f), " -> " + f["hint"] if f["hint"] else "") for f in blockers]
    ids = sorted({f["id"] for f in blockers if not f.get("final")})
    regardless = ", or ignore them with: " + " ".join("--accept " + name for name in ids)
    error = found(
        "this host lacks %d requirements:\n%s" % (len(blockers), "\n".join(lines)),
        code=first["code"],
        hint="correct them" + (regardless if ids else ""),
    )
    return error


def sentence(item: Finding) -> str:
    """Return a finding as one line: what, needed and found."""
    facts = ["%s %s" % (word, item[word]) for word in ("needed", "found") if item[word]]
    return str(item["what"]) + (": " + ", ".join(facts) if facts else "")


def can_become(session: Session) -> bool:
    """Return whether a task can become root.

    A sudo that asks for a password counts: the wrapper asked for it at the start, and a run by hand
    uses ``--ask-become-pass``.
    """
    return bool(session.get("is_root")) or session.get("sudo") in ("passwordless", "password")
