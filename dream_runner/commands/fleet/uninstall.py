"""Remove from hosts what their receipts list."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from ... import wording
from ...fleet.results import FleetOutcome
from ...fleet.session import HostAccess
from ...fleet.view import View
from ...fleet.wave_order import Amount, Order
from ...module_utils.dream_core.errors import Interrupted, UsageError
from ...run.request import Request
from ...run.results import listed
from ...ui import terminal
from .open_fleet import open_fleet

#: All hosts at once: removing needs no canary.
_ALL = Order(Amount(0), (), Amount(100, is_percent=True))


def run(
    environment: Mapping[str, str], access: HostAccess, view: View, *, purge: bool, yes: bool
) -> FleetOutcome:
    """Remove from the hosts what their receipts list."""
    began = time.monotonic()
    with open_fleet("uninstall", {}, None, environment, access, view) as opened:
        _confirm_removal(list(opened.fleet.hosts), purge=purge, yes=yes)

        def plan(name: str) -> Request:
            return opened.fleet.request(
                "uninstall", [name], opened.fleet.directory(name), {"dream_purge": purge}
            )

        opened.crew.work(list(opened.fleet.hosts), plan, _ALL, len(opened.fleet.hosts))
        return opened.outcome(time.monotonic() - began, {})


def _confirm_removal(names: Sequence[str], *, purge: bool, yes: bool) -> None:
    if yes:
        return
    if not terminal.is_present():
        raise UsageError(
            "cannot ask for confirmation: there is no terminal",
            code="NOT_CONFIRMED",
            hint="add --yes",
        )
    what = "everything, including models and your data," if purge else "what was installed"
    terminal.say(f"This removes {what} on {wording.plural(len(names), 'host')}: {listed(names)}.")
    if terminal.ask("Remove it?", ("y", "n"), "n") != "y":
        raise Interrupted("cancelled; nothing was changed", code="DECLINED")
