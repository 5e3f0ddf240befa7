"""How a fleet run ended: each host, the groups of equal errors, one exit code."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..module_utils.dream_core.errors import (
    Degraded,
    DreamError,
    FleetError,
    Interrupted,
    RebootRequired,
)
from ..ui import text

#: In the order in which they are told; ``untouched`` was never begun.
STATES = (
    "done",
    "unchanged",
    "degraded",
    "reboot",
    "failed",
    "interrupted",
    "untouched",
)
_GOOD = ("done", "unchanged", "degraded", "reboot")


@dataclass(frozen=True)
class HostResult:
    """How one host ended. ``stage`` is preflight, canary, wave 1 and so on."""

    name: str
    state: str
    stage: str = ""
    error: DreamError | None = None
    changed: int = 0
    ok: int = 0
    seconds: float = 0.0
    log: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {
            "host": self.name,
            "state": self.state,
            "stage": self.stage,
            "error": self.error.to_dict() if self.error else None,
            "changed": self.changed,
            "ok": self.ok,
            "seconds": round(self.seconds, 1),
            "log": self.log,
        }


@dataclass(frozen=True)
class Outcome:
    """How a fleet run ended. ``stopped`` says why it did not go on, if it did not."""

    verb: str
    run_id: str
    run_dir: str
    hosts: Sequence[HostResult]
    seconds: float = 0.0
    stopped: str = ""
    interrupted: bool = False
    traffic: Mapping[str, int] = field(default_factory=dict)

    @property
    def error(self) -> DreamError | None:
        """Return the one error that stands for all; None when every host is fine."""
        if self.interrupted:
            return Interrupted(
                f"stopped before the end; {self._tally()}",
                code="INTERRUPTED",
                hint="the same command again goes on with those that are not done",
            )
        found = self.of("failed")
        if found or self.of("untouched"):
            why = f"; {self.stopped}" if self.stopped else ""
            return FleetError(
                f"{self._tally()}{why}",
                code="FLEET_FAILED",
                where=self.run_dir,
                hint="mend the cause, then the same command again: it goes on with those not done",
            )
        if self.of("reboot"):
            return RebootRequired(
                f"{_hosts(self.of('reboot'))} to be rebooted",
                code="FLEET_REBOOT",
                hint="reboot them, then the same command again",
            )
        if self.of("degraded"):
            return Degraded(
                f"{_hosts(self.of('degraded'))} run without some optional services",
                code="FLEET_DEGRADED",
                hint="the report says which",
            )
        return None

    def of(self, state: str) -> list[HostResult]:
        """Return the hosts that ended in ``state``."""
        return [host for host in self.hosts if host.state == state]

    def _tally(self) -> str:
        counts = [(state, len(self.of(state))) for state in STATES]
        return ", ".join(f"{count} {state}" for state, count in counts if count)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        error = self.error
        return {
            "schema": "dream-runner.fleet-report/1",
            "verb": self.verb,
            "outcome": "done" if error is None else "interrupted" if self.interrupted else "failed",
            "exit_code": error.exit_code if error else 0,
            "error": error.to_dict() if error else None,
            "run_id": self.run_id,
            "run_dir": self.run_dir,
            "seconds": round(self.seconds, 1),
            "counts": {state: len(self.of(state)) for state in STATES},
            "stopped": self.stopped,
            "traffic": dict(self.traffic),
            "errors": [group.to_dict() for group in groups(self.hosts)],
            "hosts": [host.to_dict() for host in self.hosts],
        }

    def as_text(self) -> str:
        """Return the end of the run for a person: how many, what went wrong, where to read on."""
        lines = [f"{self._tally() or 'no host'} in {text.duration(self.seconds)}."]
        lines += self._traffic_line()
        for group in groups(self.hosts):
            lines += group.lines()
        names = [host.name for host in self.of("untouched")]
        lines += [f"Not begun: {listed(names)}"] if names else []
        lines += [f"Report and logs: {self.run_dir}"] if self.run_dir else []
        return "\n".join(lines)

    def _traffic_line(self) -> list[str]:
        served, between = self.traffic.get("served_bytes", 0), self.traffic.get("peer_bytes", 0)
        if not served and not between:
            return []
        origin = text.size(self.traffic.get("origin_bytes", 0))
        shared = f", {text.size(between)} from host to host" if between else ""
        return [
            f"Model bytes: {origin} from the origin, {text.size(served)} served from here{shared}."
        ]


def state_of(error: DreamError | None, changed: int) -> str:
    """Return the state that a host's run ended in."""
    if error is None:
        return "done" if changed else "unchanged"
    if isinstance(error, Interrupted):
        return "interrupted"
    if isinstance(error, RebootRequired):
        return "reboot"
    return "degraded" if isinstance(error, Degraded) else "failed"


def is_good(state: str) -> bool:
    """Tell whether a host in ``state`` is no failure."""
    return state in _GOOD


@dataclass(frozen=True)
class Group:
    """Hosts with the same error."""

    error: DreamError
    hosts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the group as plain data."""
        return {"hosts": list(self.hosts), **self.error.to_dict()}

    def lines(self) -> list[str]:
        """Return the group for a person."""
        error = self.error
        lines = [f"{text.plural(len(self.hosts), 'host')}: {error.code}: {error.what}"]
        lines += [f"  {listed(self.hosts)}"]
        lines += [f"  where: {error.where}"] if error.where else []
        lines += [f"  hint: {error.hint}"] if error.hint else []
        return lines


def groups(hosts: Iterable[HostResult]) -> list[Group]:
    """Return the errors, equal ones together, the most frequent first.

    What differs from host to host, such as its name or a number, keeps no errors apart.
    """
    found: dict[tuple[str, str, str], tuple[DreamError, list[str]]] = {}
    for host in hosts:
        if host.error is None or isinstance(host.error, Interrupted):
            continue
        key = (host.error.code, host.error.where, _skeleton(host.error.what, host.name))
        found.setdefault(key, (host.error, []))[1].append(host.name)
    made = [Group(error, tuple(names)) for error, names in found.values()]
    return sorted(made, key=lambda group: -len(group.hosts))


def _skeleton(what: str, name: str) -> str:
    return re.sub(r"SHA256:\S+|\d+", "#", what.replace(name, "HOST"))


def listed(names: Sequence[str], most: int = 12) -> str:
    """Return the names, not more than a person reads."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _hosts(found: Sequence[HostResult]) -> str:
    verb = "has" if len(found) == 1 else "have"
    return f"{listed([host.name for host in found])} {verb}"
