"""The outcome of a fleet run: each host, groups of equal errors, one exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .. import wording
from ..module_utils.dream_core.errors import (
    Degraded,
    DreamError,
    FleetError,
    Interrupted,
    RebootRequired,
)
from ..run.results import STATES, HostResult, groups, hosts_in_words, listed


@dataclass(frozen=True)
class FleetOutcome:
    """How a fleet run ended. ``stopped`` is the reason if it stopped early."""

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
        """Return one error that summarizes all hosts; None if every host succeeded."""
        if self.interrupted:
            return Interrupted(
                f"stopped before the end; {self._tally()}",
                code="INTERRUPTED",
                hint="run the same command again to continue with the hosts that are not done",
            )
        found = self.of("failed")
        if found or self.of("untouched"):
            why = f"; {self.stopped}" if self.stopped else ""
            return FleetError(
                f"{self._tally()}{why}",
                code="FLEET_FAILED",
                where=self.run_dir,
                hint="fix the cause, then run the same command again to continue with these hosts",
            )
        if self.of("reboot"):
            return RebootRequired(
                f"{hosts_in_words(self.of('reboot'))} to be rebooted",
                code="FLEET_REBOOT",
                hint="reboot them, then run the same command again",
            )
        if self.of("degraded"):
            return Degraded(
                f"{hosts_in_words(self.of('degraded'))} run without some optional services",
                code="FLEET_DEGRADED",
                hint="see the report for the services",
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
        """Return the result as text: number of hosts by state, errors, path of the report."""
        lines = [f"{self._tally() or 'no hosts'} in {wording.duration(self.seconds)}."]
        lines += self._traffic_line()
        for group in groups(self.hosts):
            lines += group.lines()
        names = [host.name for host in self.of("untouched")]
        lines += [f"Not started: {listed(names)}"] if names else []
        lines += [f"Report and logs: {self.run_dir}"] if self.run_dir else []
        return "\n".join(lines)

    def _traffic_line(self) -> list[str]:
        served, between = self.traffic.get("served_bytes", 0), self.traffic.get("peer_bytes", 0)
        if not served and not between:
            return []
        origin = wording.size(self.traffic.get("origin_bytes", 0))
        shared = f", {wording.size(between)} between hosts" if between else ""
        return [
            f"Model files: {origin} downloaded from the origin, "
            f"{wording.size(served)} served by this machine{shared}."
        ]
