"""``dream-runner status``: the current state of this machine.

Receipts only say where to look; the state itself is always observed. Ready means that
the model has just answered a question.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .. import wording
from ..machine import resume
from ..module_utils.dream_core import layout
from ..module_utils.dream_core.health import access, feature_probes, serving
from ..module_utils.dream_core.phases import PHASES
from ..module_utils.dream_core.records.receipt import read_all
from ..module_utils.dream_core.records.survey import survey
from ..module_utils.dream_core.resources import supervised
from ..module_utils.dream_core.resources.kind import GLANCE
from ..module_utils.dream_core.resources.observed_host import Host
from ..module_utils.dream_core.system import systemd
from ..module_utils.dream_core.types.access import Access
from ..module_utils.dream_core.types.look import Drift
from ..module_utils.dream_core.types.receipt import Receipts
from ..module_utils.dream_core.types.resource import Resource
from ..module_utils.dream_core.types.upgrade import UpgradeSeen
from ..module_utils.dream_core.upgrade import progress as upgrade

#: Exit code by state: 0 done, 11 degraded, 8 engine, 3 requirement (DESIGN section 8).
EXIT_CODES = {"ready": 0, "degraded": 11, "interrupted": 11, "stopped": 8, "absent": 3}

NOTHING_INSTALLED = "Nothing is installed for this user."
#: A large model that was swapped out is slow to produce the first token.
ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Engine:
    """The inference engine as observed: its process, health and answer."""

    url: str = ""
    listening: bool = False
    holder: str = ""
    ours: bool = False
    healthy: bool = False
    model: str = ""
    answer: str = ""
    answers: bool = False
    busy: bool = False
    seconds: float = 0.0
    why: str = ""


def _no_access() -> Access:
    return {}


@dataclass(frozen=True)
class Status:
    """The state of the machine and the observations behind it."""

    state: str
    install_dir: str = ""
    version: str = ""
    detail: str = ""
    engine: Engine = field(default_factory=Engine)
    units: Mapping[str, str] = field(default_factory=dict)
    phases: Mapping[str, str] = field(default_factory=dict)
    drift: Drift = field(default_factory=dict)
    upgrade: UpgradeSeen | None = None
    access: Access = field(default_factory=_no_access)
    warnings: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """Return the exit code of the state."""
        return EXIT_CODES[self.state]


def run(state_dir: str) -> Status:
    """Observe the machine and return its status."""
    receipts, warnings = read_all(state_dir)
    before = resume.read(receipts)
    if before.state == "absent":
        return Status("absent", detail=NOTHING_INSTALLED, warnings=tuple(warnings))
    # Count an engine as busy while it reads another user's long prompt: someone waits for us.
    engine = Engine(**serving.ask(receipts, ANSWER_SECONDS, trusting=True))
    units = {name: _unit_state(name, scope) for name, scope in _units(receipts)}
    units.update(_programs(receipts))
    pending = upgrade.look(receipts)
    access_now = current_access(receipts, engine, pending)
    failed = (access_now.get("features") or {}).get("failed")
    state, detail = judge(before, engine, units, pending, failed)
    return Status(
        state=state,
        install_dir=before.install_dir,
        version=str(max(str(item.get("version", "")) for item in receipts.values())),
        detail=detail,
        engine=engine,
        units=units,
        phases={name: receipts.get(name, {}).get("state", "never ran") for name in PHASES},
        drift={} if _is_switching(pending) else _drift(receipts),
        upgrade=pending,
        access=access_now,
        warnings=tuple(warnings),
    )


def current_access(receipts: Receipts, engine: Engine, pending: UpgradeSeen | None) -> Access:
    """Return the addresses, with the model that answers now: an upgrade may have changed it."""
    found = access.of(receipts.get("summary", {}).get("facts") or {})
    if found and engine.model and not serving.endpoint(receipts)["path"]:
        found["model"] = engine.model
    if pending is None and found.get("features"):
        found["features"] = feature_probes.since(found["features"])
    return found


def _is_switching(pending: UpgradeSeen | None) -> bool:
    """Tell whether the upgrade is changing resources whose receipts it has not updated yet."""
    changing = (upgrade.SWITCHING, upgrade.RETIRING)
    return pending is not None and pending["stage"] in changing


def _drift(receipts: Receipts) -> Drift:
    return {phase: found for phase, found in survey(receipts).items() if found}


def judge(
    before: resume.Before,
    engine: Engine,
    units: Mapping[str, str],
    pending: UpgradeSeen | None = None,
    failed: Mapping[str, str] | None = None,
) -> tuple[str, str]:
    """Return the state and one sentence about it.

    A running upgrade is normal; a failed one is a problem. ``failed`` are the features that
    did not work when they were last tested.
    """
    if before.is_open:
        return "interrupted", resume.sentence(before) + " Run 'dream-runner install' to continue."
    if not engine.listening or not engine.ours:
        return "stopped", engine.why or "nothing listens on the engine's port"
    if not engine.answers:
        return "degraded", f"the engine runs but does not answer: {engine.why}"
    found = f"the model answered in {wording.duration(engine.seconds)}"
    found = "busy: answering another user" if engine.busy else found
    bad = [f"{name} failed: {why}" for name, why in (failed or {}).items()]
    bad += [
        f"{name} is {state}"
        for name, state in units.items()
        if state not in ("active", "RUNNING", "") and name != layout.UPGRADE_UNIT
    ]
    if pending and pending["stage"] in (upgrade.FAILED, upgrade.STOPPED):
        bad.append(upgrade.sentence(pending, wording.size))
    return ("degraded", "; ".join(bad)) if bad else ("ready", found)


def _units(receipts: Receipts) -> list[tuple[str, str]]:
    return [
        (str(resource["name"]), str(resource.get("scope", "system")))
        for receipt in receipts.values()
        for resource in receipt.get("resources", [])
        if resource["kind"] == "unit" and _was_left(resource)
    ]


def _was_left(resource: Resource) -> bool:
    """Tell whether the last install left a unit or program there; it may have removed one."""
    return (resource.get("seen") or {}).get("present") is not False


def _programs(receipts: Receipts) -> dict[str, str]:
    """Return the states of supervised programs beside the engine, which was just asked."""
    resources = (receipts.get("services") or {}).get("resources", [])
    found = [item for item in resources if item["kind"] == "supervisor" and _was_left(item)]
    return {
        str(item["program"]): supervised.observe_supervisor(item, Host(found), GLANCE)["active"]
        for item in found
        if item["program"] != "engine"
    }


def _unit_state(name: str, scope: str) -> str:
    """Return systemd's state of a unit, or an empty string without systemd."""
    return systemd.show(name, scope, ("ActiveState",)).get("ActiveState", "")


def as_json(status: Status) -> dict[str, Any]:
    """Return the status as the data that ``--json`` prints."""
    return {**asdict(status), "exit_code": status.exit_code}


def as_text(status: Status) -> str:
    """Return the status as text: the state, the addresses, then the details."""
    if status.state == "absent":
        return "\n".join([status.detail, "Run 'dream-runner install' to install."])
    lines = [f"{status.state}: {status.detail}"]
    pending = upgrade.sentence(status.upgrade, wording.size) if status.upgrade else ""
    if status.access:
        lines += access.lines(status.access, pending)
    lines += _details(status, "" if status.access else pending)
    lines += [
        f"  Changed       {item['what']} (phase {phase}): {item['found']}"
        for phase, found in status.drift.items()
        for item in found
    ]
    lines += [f"  warning: {warning}" for warning in status.warnings]
    return "\n".join(lines)


def _details(status: Status, pending: str) -> list[str]:
    engine = status.engine
    rows = []
    if engine.url and not status.access:
        rows.append(("Model API", f"{engine.url}/v1"))
    if pending:
        rows.append(("Upgrade", pending))
    if status.install_dir:
        rows.append(("Installed in", f"{status.install_dir} (version {status.version})"))
    if engine.holder:
        rows.append(("Process", engine.holder))
    if engine.answers and not status.access:
        rows.append(("Model", engine.model))
    rows += [("Unit", f"{name}: {state or 'unknown'}") for name, state in status.units.items()]
    width = 21 if status.access else 12
    return [f"  {label:{width}}  {value}" for label, value in rows]
