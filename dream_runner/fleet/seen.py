"""The observed state of one host of a fleet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..decide.plan import Step
from ..machine import resume
from ..module_utils.dream_core.types.choice import Choice
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.upgrade import progress
from ..settings.values import Settings


@dataclass(frozen=True)
class Seen:
    """What a host is and what it needs. ``document`` is the result of its survey."""

    name: str
    settings: Settings
    document: Mapping[str, Any]

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return the phases, each with the reason to run it or not."""
        reasons = self.document["decided"]["reasons"]
        return tuple(Step(phase, *reason) for phase, reason in reasons.items())

    @property
    def is_due(self) -> bool:
        """Tell whether a phase is due or the model does not answer."""
        return any(step.is_due for step in self.steps) or not self.answers

    @property
    def needs_model(self) -> bool:
        """Tell whether the models phase is due."""
        return any(step.phase == "models" and step.is_due for step in self.steps)

    @property
    def choice(self) -> Choice:
        """Return the decision for the host (``dream_choice``)."""
        choice: Choice = self.document["decided"]["choice"]
        return choice

    @property
    def receipts(self) -> Receipts:
        """Return the host's receipts."""
        receipts: Receipts = self.document["context"]["receipts"]
        return receipts

    @property
    def before(self) -> resume.Before:
        """Return the state of the existing install according to its receipts."""
        return resume.read(self.receipts)

    @property
    def answers(self) -> bool:
        """Tell whether the model has just answered."""
        return bool(self.document["engine"]["answers"])

    @property
    def drift(self) -> list[str]:
        """Return the drift of finished phases, one line per resource."""
        found = {
            phase: items
            for phase, items in self.document["context"]["drift"].items()
            if self.receipts[phase]["state"] == "done"
        }
        return [
            f"{item['what']} (phase {phase}): {item['found']}"
            for phase, items in found.items()
            for item in items
        ]

    @property
    def sudo(self) -> str:
        """Return how the login user becomes root: root, passwordless, password or none."""
        return str(self.document["decided"]["session"]["sudo"])

    @property
    def needs_root(self) -> bool:
        """Tell whether the install needs root on the host."""
        if not self.is_due:
            return False
        is_native = self.choice["profile"] == "native"
        supervisor = self.choice["supervisor"]
        return (
            (is_native and not self.document["loads_engine"])
            or (is_native and supervisor == "systemd-user" and not self.document["lingers"])
            or (not is_native and self.receipts.get("docker", {}).get("state") != "done")
        )

    @property
    def missing_bytes(self) -> int:
        """Return the bytes of the model that are not downloaded yet; unknown sizes count as 0."""
        present = self.document["present"]
        return sum(
            max(0, int(item.get("size_bytes") or 0) - int(present.get(item["file"], 0)))
            for item in progress.first_files(self.choice)
        )

    @property
    def free_bytes(self) -> int | None:
        """Return the free bytes in the install directory's filesystem; None if unknown."""
        free = self.document["filesystem"]["free_bytes"]
        return None if free is None else int(free)

    @property
    def interpreter(self) -> str:
        """Return the path of the host's Python."""
        return str(self.document["interpreter"])

    def validate(self) -> None:
        """Read every property once: a malformed answer fails here, for this host only."""
        for name in dir(type(self)):
            if isinstance(getattr(type(self), name), property):
                getattr(self, name)
        self.places()

    @property
    def engine(self) -> Mapping[str, str]:
        """Return the engine's URL, and why it did not answer."""
        engine = self.document["engine"]
        return {"url": str(engine["url"]), "why": str(engine["why"])}

    def places(self) -> dict[str, str]:
        """Return the paths as the host resolved them."""
        return {
            "dream_install_dir": str(self.document["install_dir"]),
            "dream_state_dir": str(self.document["state_dir"]),
        }
