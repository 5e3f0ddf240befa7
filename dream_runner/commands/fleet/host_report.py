"""The result of a read-only visit to each host: for plan, status and exec-doctor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...fleet import visit_hosts
from ...fleet.seen import Seen
from ...fleet.session import HostAccess
from ...fleet.view import View
from ...module_utils.dream_core.errors import DreamError, FleetError, Interrupted
from ...settings.values import Given
from .open_fleet import open_fleet


@dataclass(frozen=True)
class HostReport:
    """The result for one host: for plan, status and exec-doctor."""

    name: str
    state: str
    detail: str = ""
    error: DreamError | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the host as plain data."""
        error = self.error.to_dict() if self.error else None
        return {
            "host": self.name,
            "state": self.state,
            "detail": self.detail,
            "error": error,
            **self.facts,
        }


def each_host(
    verb: str,
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    access: HostAccess,
    view: View,
    options: visit_hosts.Options,
    tell: Callable[[Seen], HostReport],
) -> list[HostReport]:
    """Visit every host and return what ``tell`` makes of it; write nothing there."""
    with open_fleet(
        verb, flags, answers_file, environment, access, view, exclusive=False
    ) as opened:
        found = opened.look(options)
        if opened.crew.interrupted:
            raise Interrupted("stopped", code="INTERRUPTED")
        return [
            HostReport(name, "failed", seen.what, seen)
            if isinstance(seen, DreamError)
            else tell(seen)
            for name, seen in found.items()
        ]


def as_json(verb: str, hosts: Sequence[HostReport], code: int) -> dict[str, Any]:
    """Return the hosts as the data that ``--json`` prints."""
    counts: dict[str, int] = {}
    for host in hosts:
        counts[host.state] = counts.get(host.state, 0) + 1
    return {
        "schema": "dream-runner.fleet-hosts/1",
        "verb": verb,
        "exit_code": code,
        "counts": counts,
        "hosts": [host.to_dict() for host in hosts],
    }


def as_text(hosts: Sequence[HostReport]) -> str:
    """Return one line per host, with the hints of the errors below."""
    wide = max(len(host.name) for host in hosts)
    broad = max(len(host.state) for host in hosts)
    lines = [f"{host.name:{wide}}  {host.state:{broad}}  {host.detail}" for host in hosts]
    hints = {host.error.hint: host.error.code for host in hosts if host.error and host.error.hint}
    return "\n".join([*lines, *(f"hint ({code}): {hint}" for hint, code in hints.items())])


def exit_code(hosts: Sequence[HostReport], good: Sequence[str]) -> int:
    """Return 0 if every host is in one of the ``good`` states, else 13."""
    return 0 if all(host.state in good for host in hosts) else FleetError.exit_code
