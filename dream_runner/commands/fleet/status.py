"""Show whether the model of each host is ready."""

from __future__ import annotations

from collections.abc import Mapping

from ...fleet import visit_hosts
from ...fleet.seen import Seen
from ...fleet.session import HostAccess
from ...fleet.view import View
from .host_report import HostReport, each_host


def run(environment: Mapping[str, str], access: HostAccess, view: View) -> list[HostReport]:
    """Return the state of each host; the model of each is asked one question."""
    options = visit_hosts.Options(save=False, force=True)
    return each_host("status", {}, None, environment, access, view, options, _state)


def _state(seen: Seen) -> HostReport:
    before, engine = seen.before, seen.engine
    versions = [str(item.get("version", "")) for item in seen.receipts.values()]
    facts = {
        "version": max(versions, default=""),
        "url": engine["url"],
        "drift": seen.drift,
    }
    if before.state == "absent":
        return HostReport(seen.name, "absent", "nothing is installed", facts=facts)
    if before.is_open:
        detail = f"{before.state} in phase {before.phase}"
        return HostReport(seen.name, "interrupted", detail, facts=facts)
    if not seen.answers:
        return HostReport(seen.name, "stopped", engine["why"], facts=facts)
    if seen.drift:
        return HostReport(seen.name, "drifted", seen.drift[0], facts=facts)
    return HostReport(seen.name, "ready", "the model answers", facts=facts)
