"""The receipts of an upgrade, before and after the switch.

Afterwards they equal those of an install with the host's own model, so the next install finds
nothing to change.
"""

from __future__ import annotations

import json
import os
from typing import Any, Callable, Dict, List, Mapping, Sequence, cast

from ..health import access
from ..phases import PHASES
from ..records import due_phases, install_mark, last_good, receipt
from ..resources import observed_host, registry
from ..system import atomic
from ..types.access import Access
from ..types.receipt import PhaseFacts, Receipt
from ..types.resource import Resource, Seen
from ..types.upgrade import UpgradeDocument
from . import progress

Say = Callable[[str], None]


class Receipts:
    """The receipts of the install to which the upgrade belongs."""

    def __init__(
        self, document: UpgradeDocument, paths: progress.Paths, engine: Any, say: Say
    ) -> None:
        self._document = document
        self._paths = paths
        self._engine = engine
        self._say = say
        self._state_dir = str(document["state_dir"])

    def are_upgraded(self) -> bool:
        """Return whether the receipts already record the switch."""
        receipts, _ = receipt.read_all(self._state_dir)
        facts = (receipts.get("models") or {}).get("facts") or {}
        served = facts.get("sha256") == self._document["model"]["sha256"]
        return bool(served and not facts.get("upgrade"))

    def reason_to_wait(self) -> str:
        """Return a sentence about the first unfinished phase of the install, or an empty string."""
        receipts, _ = receipt.read_all(self._state_dir)
        for name in ("models", "services", "health", *receipts):
            state = receipts.get(name, {}).get("state")
            # An install is finished even if its report could not be written.
            if state != "done" and (name, state) != ("summary", "failed"):
                return "the install has not finished its phase %s" % name
        return ""

    def made_models(self) -> List[Resource]:
        """Return the resources of model files that an install made."""
        receipts, _ = receipt.read_all(self._state_dir)
        return [
            item
            for item in (receipts.get("models") or {}).get("resources", [])
            if item["kind"] == "model" and item["origin"] == "made"
        ]

    def record(self, degraded: Mapping[str, str]) -> None:
        """Update the receipts to the current host; ``degraded`` are the services that are down."""
        receipts, _ = receipt.read_all(self._state_dir)
        self._write_summary(receipts)
        touched = self._touched()
        told = self._told()
        for name in [name for name in PHASES if receipts.get(name, {}).get("state") == "done"]:
            known = receipts[name].copy()
            known["facts"] = self._facts(name, known.get("facts") or {}, told, degraded)
            known["resources"] = [
                {**item, "coming": False, "seen": _seen(item)} if _key(item) in touched else item
                for item in known["resources"]
            ]
            wanted = self._document["upgraded"].get(name)
            if wanted:
                known["inputs"] = due_phases.complete(wanted, receipts)
            receipts[name] = known
        proof = (receipts.get("health", {}).get("facts") or {}).get("proof")
        for line in last_good.keep(self._state_dir, receipts, proof) if proof else ():
            self._say(line)
        # The models receipt last: it shows a later start that all the others are written.
        for name in sorted(receipts, key=lambda name: name == "models"):
            warning = receipt.write(self._state_dir, receipts[name])
            if warning:
                self._say(warning)

    def _told(self) -> Dict[str, PhaseFacts]:
        """Return the facts that the switch changes, by phase."""
        told = {name: dict(facts) for name, facts in self._document["facts"].items()}
        for name, facts in self._engine.facts().items():
            told[name] = {**told.get(name, {}), **facts}
        return told

    def _facts(
        self,
        phase: str,
        facts: PhaseFacts,
        told: Mapping[str, PhaseFacts],
        degraded: Mapping[str, str],
    ) -> PhaseFacts:
        merged = {**facts, **told.get(phase, {})}
        if phase == "summary":
            merged = self._with_access(merged)
        if phase == "models":
            merged.pop("upgrade", None)
        if isinstance(merged.get("proof"), dict):
            # A later failed change is rolled back to this state (last_good.py).
            side = self._document["after"]
            asked = {"model": side["api"]["model"], "services": side["services"]}
            merged["proof"] = {**merged["proof"], **asked}
        if phase in ("health", "services") and "degraded" in merged:
            merged["degraded"] = dict(degraded)
        return merged

    def _touched(self) -> List[Any]:
        """Return the identities of the resources that the switch changes."""
        models = [
            ("model", os.path.join(self._paths.models, item["file"]))
            for item in self._document["model"]["files"]
        ]
        summary = ("file", str(self._document["summary_file"]))
        return [*self._engine.touched(), *models, summary]

    def _write_summary(self, receipts: Mapping[str, Receipt]) -> None:
        """Write the summary as the role does: the recorded facts with the new model."""
        before = (receipts.get("summary") or {}).get("facts") or {}
        path = str(self._document["summary_file"])
        if before and os.path.isfile(path):
            document = self._with_access({**before, **self._document["facts"].get("summary", {})})
            text = json.dumps(document, indent=4, sort_keys=True) + "\n"
            atomic.write_bytes(path, text.encode(), 0o644)

    def _with_access(self, summary: PhaseFacts) -> PhaseFacts:
        """Replace the model's name in the access part of the summary."""
        known = summary.get("access")
        if not isinstance(known, dict):
            return summary
        model = self._document["after"]["api"]["model"]
        reached: Access = {**cast("Access", known), "model": model}
        return {**summary, "access": reached, "lines": access.lines(reached)}

    def forget(self, paths: Sequence[str]) -> None:
        """Drop the removed resources: these paths, and the unit or program that used them."""
        receipts, _ = receipt.read_all(self._state_dir)
        changed = []
        for name, known in receipts.items():
            left = [item for item in known["resources"] if not self._is_gone(item, paths)]
            if left != known["resources"]:
                receipts[name] = {**known, "resources": left}
                changed.append(name)
        for name in changed:
            receipt.write(self._state_dir, receipts[name])
        made = [item for document in receipts.values() for item in document.get("resources", [])]
        install_mark.note(str(self._document["install_dir"]), made)

    def _is_gone(self, item: Resource, paths: Sequence[str]) -> bool:
        unit = self._document["unit"]["name"]
        is_unit = item["kind"] == "unit" and item["name"] == unit
        return item.get("path") in paths or is_unit or bool(self._engine.owns(item))


def _key(item: Resource) -> Any:
    return receipt.identity(item)


def _seen(item: Resource) -> Seen:
    return registry.observe(item, observed_host.Host([item]))
