"""Find problems on each host, with a fix for each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ... import wording
from ...fleet import visit_hosts
from ...fleet.seen import Seen
from ...fleet.session import HostAccess
from ...fleet.view import View
from .host_report import HostReport, each_host

#: Warn below this: logs and state may soon fill the disk.
_LOW_DISK_BYTES = 1_000_000_000


def run(environment: Mapping[str, str], access: HostAccess, view: View) -> list[HostReport]:
    """Return the problems of each host, each with a fix."""
    options = visit_hosts.Options(save=False, force=True, verify=True)
    return each_host("exec-doctor", {}, None, environment, access, view, options, _findings)


def _findings(seen: Seen) -> HostReport:
    found = list(_problems(seen))
    bad = [item for item in found if item["severity"] == "error"]
    state = "error" if bad else "warning" if found else "ok"
    lines = [f"{item['severity']}: {item['what']}" for item in found]
    return HostReport(seen.name, state, "; ".join(lines) or "no problems found",
                facts={"findings": found})  # fmt: skip


def _problems(seen: Seen) -> Iterator[dict[str, str]]:
    for item in seen.document["decided"]["host"]["findings"]:
        if item["severity"] in ("warning", "error"):
            yield {key: str(item.get(key, "")) for key in ("id", "severity", "what", "hint")}
    again = "run 'dream-runner fleet install' to repair it"
    if seen.before.is_open:
        where = f"{seen.before.state} in phase {seen.before.phase}"
        yield _problem("interrupted", "warning", where, again)
    for line in seen.drift:
        yield _problem("drift", "warning", line, again)
    if seen.before.state == "finished" and not seen.answers:
        yield _problem("engine", "error", seen.engine["why"], again)
    if seen.free_bytes is not None and seen.free_bytes < _LOW_DISK_BYTES:
        yield _problem(
            "disk", "warning", f"only {wording.size(seen.free_bytes)} free", "free some disk space"
        )


def _problem(name: str, severity: str, what: str, hint: str) -> dict[str, str]:
    return {"id": name, "severity": severity, "what": what, "hint": hint}
