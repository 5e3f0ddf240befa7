"""Show what install would do on each host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ...fleet import visit_hosts
from ...fleet.seen import Seen
from ...fleet.session import HostAccess
from ...fleet.view import View
from ...machine import pins
from ...module_utils.dream_core.checks import versions
from ...settings.values import Given
from .host_report import HostReport, each_host


def run(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    access: HostAccess,
    view: View,
    *,
    force: bool = False,
    locked: bool = False,
) -> list[HostReport]:
    """Return what install would do on each host; write nothing there."""
    options = visit_hosts.Options(save=False, force=force)
    hosts = each_host("plan", flags, answers_file, environment, access, view, options, _planned)
    return hosts if locked else with_pins(hosts)


def with_pins(hosts: list[HostReport]) -> list[HostReport]:
    """Return the hosts with the pins that install would record first."""
    tags = sorted({tag for host in hosts for tag in host.facts.get("unpinned", ())})
    found = pins.ask(tags).found if tags else {}
    return [_with_pin(host, found) if host.facts.get("unpinned") else host for host in hosts]


def _with_pin(host: HostReport, found: Mapping[str, Any]) -> HostReport:
    rows = [pins.row(tag, found[tag]) for tag in host.facts["unpinned"] if tag in found]
    left = [tag for tag in host.facts["unpinned"] if tag not in found]
    notes = [f"pinned now: {row['image']} {row['digest']}" for row in rows]
    notes += [f"not pinned: {tag}" for tag in left]
    facts = {**host.facts, "unpinned": left, "pinned_now": rows}
    return replace(host, detail="; ".join([host.detail, *notes]), facts=facts)


def _planned(seen: Seen) -> HostReport:
    due = [step for step in seen.steps if step.is_due]
    phases = f"all {len(due)} phases" if len(due) == len(seen.steps) else ""
    detail = phases or ", ".join(step.phase for step in due) or "nothing to do"
    if not due and not seen.answers:
        detail = "restart the engine, which does not answer"
    choice = seen.choice
    changes = list(choice.get("data_changes", ()))
    detail = "; ".join([detail, *(f"data: {versions.sentence(item)}" for item in changes)])
    return HostReport(
        seen.name,
        "due" if seen.is_due else "up to date",
        detail,
        facts={
            "tier": choice["tier"]["id"],
            "model": choice["model"]["id"],
            "missing_bytes": seen.missing_bytes if seen.needs_model else 0,
            "unpinned": pins.unpinned(choice),
            "data_changes": changes,
            "install_dir": seen.places()["dream_install_dir"],
            "steps": [asdict(step) for step in seen.steps],
        },
    )
