"""``dream-runner fleet install``: visit all hosts at once, then install them in waves.

Each host has its own Ansible process over SSH.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ... import wording
from ...fleet import visit_hosts
from ...fleet.results import FleetOutcome
from ...fleet.rollout import Crew
from ...fleet.seen import Seen
from ...fleet.session import Fleet, HostAccess
from ...fleet.view import View
from ...fleet.wave_order import Order
from ...machine import pins
from ...module_utils.dream_core.errors import DreamError, Interrupted, PrivilegeError
from ...report import record
from ...run.request import Request
from ...settings.values import Given
from ...ui import terminal
from .open_fleet import open_fleet
from .serve_files import Sources, serving


@dataclass(frozen=True)
class Options:
    """The options of an install besides the settings."""

    order: Order
    fresh: bool = False
    force: bool = False
    full: bool = False
    verify: bool = False
    install_python: bool = False
    sources: Sources = field(default_factory=Sources)
    yes: bool = False
    locked: bool = False


def run(
    flags: Mapping[str, Given],
    answers_file: str | None,
    environment: Mapping[str, str],
    access: HostAccess,
    options: Options,
    view: View,
) -> FleetOutcome:
    """Install, continue, repair or change the hosts. Raises a DreamError if it cannot start."""
    began = time.monotonic()
    with open_fleet("install", flags, answers_file, environment, access, view) as opened:
        fleet, crew = opened.fleet, opened.crew
        found = opened.look(
            visit_hosts.Options(
                fresh=options.fresh,
                full=options.full,
                verify=options.verify,
                force=options.force,
                install_python=options.install_python,
                try_become=True,
            ),
            keep_rested=options.sources.share,
        )
        traffic: Mapping[str, int] = {}
        if not crew.interrupted:
            crew.add_failed({**visit_hosts.failed_of(found), **without_sudo(found, fleet)})
            due = {seen.name: seen for seen in visit_hosts.due_of(found)}
            crew.add_unchanged(
                [n for n, seen in found.items() if isinstance(seen, Seen) and n not in due]
            )
            _record(fleet, found)
            due = {name: seen for name, seen in due.items() if name not in crew.results}
            pinned, unpinned = pins_of(list(due.values()), locked=options.locked)
            crew.add_failed(unpinned)
            due = {name: seen for name, seen in due.items() if name not in unpinned}
            for tag, entry in pinned.items():
                view.note(f"pinned now: {tag} {entry['digest']}")
            _confirm_install(list(due.values()), crew, options.yes)
            # The lock file of this machine applies to every host.
            pins.record(pinned)
            with serving(fleet, found, due, options.sources, opened) as served:
                crew.fleet = served.fleet
                plan = _install_of(served.fleet, due, options)
                crew.work(list(due), plan, options.order, len(fleet.hosts))
            traffic = served.traffic
        return opened.outcome(time.monotonic() - began, traffic)


def pins_of(
    due: Sequence[Seen], *, locked: bool
) -> tuple[Mapping[str, Any], dict[str, DreamError]]:
    """Return new pins for unpinned images, and errors for hosts that still lack some."""
    missing = {seen.name: pins.unpinned(seen.choice) for seen in due}
    online = {seen.name for seen in due if not seen.settings["offline"]} if not locked else set()
    tags = sorted({tag for name in online for tag in missing[name]})
    answers = pins.ask(tags) if tags else None
    found = answers.found if answers else {}
    reasons = answers.reasons() if answers else []
    left = {name: [tag for tag in tags if tag not in found] for name, tags in missing.items()}
    return found, {
        name: pins.refusal(tags, reasons if name in online else (), locked=locked)
        for name, tags in left.items()
        if tags
    }


def _record(fleet: Fleet, found: visit_hosts.Found) -> None:
    """Record the facts and the plan of every host for the report."""
    for name, seen in found.items():
        if isinstance(seen, Seen):
            facts = seen.document["decided"]["host"]
            record.planned(fleet.directory(name), facts, seen.choice, seen.steps, host=name)


def _install_of(
    fleet: Fleet, due: Mapping[str, Seen], options: Options
) -> Callable[[str], Request]:
    def plan(name: str) -> Request:
        seen = due[name]
        return fleet.request(
            "install",
            [name],
            fleet.directory(name),
            {
                "dream_fresh": options.fresh,
                "dream_full": options.full or options.fresh,
                "dream_force": options.force,
                "dream_verify": options.verify,
                "dream_unanswered": not any(step.is_due for step in seen.steps),
            },
            places={name: seen.places()},
        )

    return plan


def without_sudo(found: visit_hosts.Found, fleet: Fleet) -> dict[str, DreamError]:
    """Return errors for hosts that need root and lack sudo or its password."""
    wanting = [seen for seen in found.values() if isinstance(seen, Seen) and seen.needs_root]
    errors: dict[str, DreamError] = {}
    for seen in wanting:
        has_password = fleet.passwords.become is not None
        has_password = has_password or fleet.hosts[seen.name].has_become_password
        if seen.sudo == "none":
            errors[seen.name] = PrivilegeError(
                "root is needed, but the host has no sudo",
                code="SUDO_MISSING",
                hint="install sudo on the host, or log in as root: ansible_user=root",
            )
        elif seen.sudo == "password" and not has_password:
            errors[seen.name] = PrivilegeError(
                "root is needed, but sudo asks for a password",
                code="SUDO_NEEDED",
                hint="use --ask-become-pass, --become-password-file, or ansible_become_password "
                "in a vault",
            )
    return errors


def _confirm_install(due: Sequence[Seen], crew: Crew, yes: bool) -> None:
    if yes or not due or not terminal.is_present():
        return
    lost = sum(result.state == "failed" for result in crew.results.values())
    rest = len(crew.results) - lost
    megabytes = wording.size(sum(seen.missing_bytes for seen in due))
    terminal.say(
        f"Hosts: {len(due)} to change ({megabytes} to download), {rest} up to date, {lost} failed."
    )
    if terminal.ask("Go ahead?", ("y", "n"), "y") != "y":
        raise Interrupted("cancelled; nothing was changed", code="DECLINED")
