"""Decide which phases have to run, and why. Pure; used by plan and run.

A receipt alone is not enough to skip a phase: it is skipped only if it has finished, its inputs are
unchanged, and a survey has just found everything that it made.
"""

from __future__ import annotations

from typing import Dict, List, Mapping, NamedTuple, Sequence

from ..phases import PHASES
from ..types.receipt import Receipts, Wanted
from . import inputs

NEVER = "never ran"
INTERRUPTED = "interrupted"
FAILED = "failed"
VERSION = "made by another version"
ELSEWHERE = "another directory"
CHANGED = "changed"
DRIFT = "differs"
FOLLOWS = "follows"
ASKED = "asked for"
UNCHANGED = "unchanged"

#: Phases that can refuse the install; they run first.
_GUARDS = ("preflight", "requirements")
#: Phases that test and report the result; they run after any other phase.
_PROOFS = ("health", "summary")


class Reason(NamedTuple):
    """Why a phase runs, or ``UNCHANGED``; ``detail`` lists the differences."""

    why: str
    detail: str = ""

    @property
    def is_due(self) -> bool:
        """Return whether the phase must run."""
        return self.why != UNCHANGED


def decide(
    receipts: Receipts,
    drift: Mapping[str, Sequence[Mapping[str, str]]],
    wanted: Mapping[str, Wanted],
    *,
    install_dir: str,
    version: str,
    full: bool = False,
) -> Dict[str, Reason]:
    """Return the reason of every phase, in run order.

    ``wanted`` has the digests of each phase's inputs, and the phases whose facts it reads:
    ``{inputs: {name: digest}, consumes: [phase]}``. ``full`` runs all.
    """
    reasons = {
        phase: _reason(phase, receipts, drift, wanted[phase], install_dir, version)
        for phase in PHASES
    }
    if full:
        return {
            phase: reason if reason.is_due else Reason(ASKED) for phase, reason in reasons.items()
        }
    return _with_followers(reasons, wanted)


def add_unresponsive_engine(
    drift: Mapping[str, Sequence[Mapping[str, str]]], unanswered: bool
) -> Dict[str, Sequence[Mapping[str, str]]]:
    """Add an engine that keeps its port but does not answer to the drift.

    No file or state shows this; the caller has asked the engine.
    """
    if not unanswered:
        return dict(drift)
    silent = {"what": "the model", "found": "it did not answer"}
    return {**drift, "services": [silent, *drift.get("services", ())]}


def _reason(
    phase: str,
    receipts: Receipts,
    drift: Mapping[str, Sequence[Mapping[str, str]]],
    wanted: Wanted,
    install_dir: str,
    version: str,
) -> Reason:
    receipt = receipts.get(phase)
    if receipt is None or receipt["state"] == "removed":
        return Reason(NEVER)
    if receipt["state"] != "done":
        return Reason(INTERRUPTED if receipt["state"] == "running" else FAILED)
    if receipt.get("install_dir") != install_dir:
        return Reason(ELSEWHERE, str(receipt.get("install_dir")))
    if receipt.get("facts", {}).get("degraded"):
        return Reason(FAILED, _several(sorted(receipt["facts"]["degraded"])))
    before = receipt.get("inputs")
    if receipt.get("version") != version or not isinstance(before, dict):
        return Reason(VERSION, str(receipt.get("version")))
    changed = inputs.difference(before, complete(wanted, receipts))
    if changed:
        return Reason(CHANGED, _several(changed))
    found = ["%s: %s" % (item["what"], item["found"]) for item in drift.get(phase, ())]
    return Reason(DRIFT, _several(found)) if found else Reason(UNCHANGED)


def complete(wanted: Wanted, receipts: Receipts) -> Dict[str, str]:
    """Return the digests of all inputs: those known beforehand, and the facts of other phases."""
    return {
        **wanted.get("inputs", {}),
        **{
            phase + "_facts": inputs.digest(receipts.get(phase, {}).get("facts", {}))
            for phase in wanted.get("consumes", ())
        },
    }


def _several(items: Sequence[str]) -> str:
    return items[0] + (" and %d more" % (len(items) - 1) if len(items) > 1 else "")


def _with_followers(reasons: Dict[str, Reason], wanted: Mapping[str, Wanted]) -> Dict[str, Reason]:
    """Add the phases that depend on a phase that runs."""
    for phase in PHASES:
        sources: List[str] = [
            name for name in wanted[phase].get("consumes", ()) if reasons[name].is_due
        ]
        if sources and not reasons[phase].is_due:
            reasons[phase] = Reason(FOLLOWS, sources[0])
    first = next((phase for phase in PHASES if reasons[phase].is_due), None)
    if first is not None:
        for phase in (*_GUARDS, *_PROOFS):
            if not reasons[phase].is_due:
                reasons[phase] = Reason(FOLLOWS, first)
    return reasons
