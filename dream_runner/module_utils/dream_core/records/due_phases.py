"""Which phases have work to do, and why: one pure decision for plan and run.

Nothing is left out on a receipt's word alone: a phase rests only when it ended,
its inputs are what they were, and the host was just looked at and still shows
everything the phase made.
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

#: Refuse what must not go on; they run before anything else does.
_GUARDS = ("preflight", "requirements")
#: Prove and tell what is there; they run after anything else did.
_PROOFS = ("health", "summary")


class Reason(NamedTuple):
    """Why a phase runs, or that it does not (``UNCHANGED``); ``detail`` names what differs."""

    why: str
    detail: str = ""

    @property
    def is_due(self) -> bool:
        """Return whether the phase has to run."""
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

    ``wanted`` holds for each phase the digests of its inputs and whose facts it
    reads: ``{inputs: {name: digest}, consumes: [phase]}``. ``full`` runs all.
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


def with_silence(
    drift: Mapping[str, Sequence[Mapping[str, str]]], unanswered: bool
) -> Dict[str, Sequence[Mapping[str, str]]]:
    """Return the drift with an engine that holds its port and answers nobody.

    No file or state shows that: who asked it has to say so.
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
    """Return the digests of all inputs: those known beforehand, and what other phases found."""
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
    """Let run what stands on something that runs."""
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
