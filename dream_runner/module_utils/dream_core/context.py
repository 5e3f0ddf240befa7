"""Look at a host: everything that the decisions of a run are made from."""

from __future__ import annotations

from typing import Any, Dict

from . import live, receipt, survey
from .facts import load_or_gather
from .session import gather_session


def look(
    *,
    state_dir: str,
    install_dir: str,
    version: str,
    force: bool = False,
    full: bool = False,
    verify: bool = False,
    save: bool = True,
) -> Dict[str, Any]:
    """Return facts, session, receipts, drift and listeners (our own are marked).

    ``force`` gathers the facts anew whatever the cache says; ``full`` leaves the
    drift out, because every phase will look for itself; ``verify`` reads every
    file to find it; ``save`` False writes nothing at all. ``notes`` are lines
    for the user.
    """
    facts, origin = load_or_gather(
        state_dir, version, install_dir=install_dir, force=force, save=save
    )
    receipts, warnings = receipt.read_all(state_dir)
    return {
        "facts": facts,
        "facts_source": origin["source"],
        "session": gather_session(),
        "receipts": receipts,
        "drift": {} if full else survey.survey(receipts, verify=verify),
        # A recorded process id may by now belong to another program; an argument
        # below the install directory tells our own.
        "listeners": live.listeners(own_paths=[install_dir]),
        "notes": [line for line in [origin.get("why", "")] if line] + warnings,
    }
