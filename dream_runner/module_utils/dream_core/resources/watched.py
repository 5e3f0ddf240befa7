"""Check whether waiting for the unit or program that runs the model is useless.

The health phase uses this; it needs no other kind of resource.
"""

from __future__ import annotations

from ..native.supervisord_state import program_state
from ..types.resource import Resource
from .kind import GLANCE, name_of
from .observed_host import Host
from .unit import observe_unit

#: States of a unit (systemd) or program (supervisord) that do not become "active" by themselves.
_FAILED_FOR_GOOD = frozenset(("failed", "FATAL", "STOPPED", "EXITED", "UNKNOWN"))


def failed_for_good(resource: Resource) -> str:
    """Return why waiting for this unit or program is useless, or ""."""
    state = _state(resource)
    return "%s is %s" % (name_of(resource), state) if state in _FAILED_FOR_GOOD else ""


def _state(resource: Resource) -> str:
    if resource["kind"] == "unit":
        return str(observe_unit(resource, Host([resource]), GLANCE).get("active", ""))
    if resource["kind"] == "supervisor":
        return program_state(resource["config"], resource["program"]) or ""
    return ""
