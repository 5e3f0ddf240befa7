"""Units of systemd, and accounts whose units run without a login."""

from __future__ import annotations

import os

from ..layout import LINGER_DIRECTORY
from ..system import systemd, tools
from ..types.resource import Resource, Seen
from .kind import LOOK, Cannot, Kind, run_or_keep
from .observed_host import Host


def observe_unit(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe a unit: whether it is loaded, active and enabled."""
    scope = resource["scope"]
    units = host.once(
        ("units", scope), lambda: systemd.shown_units(scope, host.names("unit", scope))
    )
    shown = units.get(resource["name"], {})
    if shown.get("LoadState") != "loaded":
        return {"present": False}
    active = shown.get("ActiveState", "unknown")
    if resource.get("retries") and active in ("activating", "reloading"):
        # The unit is between two starts, which is normal for it.
        active = "active"
    return {
        "present": True,
        "active": active,
        "enabled": shown.get("UnitFileState", "unknown"),
    }


def observe_linger(resource: Resource, host: Host, depth: int) -> Seen:
    """Observe whether units of an account run without a login."""
    return {"present": os.path.exists(LINGER_DIRECTORY + resource["user"])}


def remove_unit(resource: Resource) -> None:
    """Stop and disable a unit. Raises Cannot if it still runs."""
    if not tools.path_of("systemctl"):
        raise Cannot("systemctl is not installed")
    done = systemd.run(resource["scope"], "disable", "--now", resource["name"], seconds=60)
    if done.status != 0:
        raise Cannot(done.errors.strip() or "systemctl failed")
    state = observe_unit(resource, Host([resource]), LOOK).get("active")
    if state in ("active", "activating"):
        raise Cannot("it is still running")


def remove_linger(resource: Resource) -> None:
    """Disable lingering: the units of an account then stop with its last login."""
    run_or_keep(["loginctl", "disable-linger", resource["user"]])


KINDS = {
    "unit": Kind(observe_unit, remove_unit, can_precede_us=False),
    "linger": Kind(observe_linger, remove_linger),
}
