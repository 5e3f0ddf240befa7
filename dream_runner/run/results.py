"""The results of a run by host, and groups of equal errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .. import wording
from ..module_utils.dream_core.errors import Degraded, DreamError, Interrupted, RebootRequired

#: In the order of display; ``untouched`` hosts were not started.
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


def state_of(error: DreamError | None, changed: int) -> str:
    """Return the final state of a host's run."""
    if error is None:
        return "done" if changed else "unchanged"
    if isinstance(error, Interrupted):
        return "interrupted"
    if isinstance(error, RebootRequired):
        return "reboot"
    return "degraded" if isinstance(error, Degraded) else "failed"


def is_good(state: str) -> bool:
    """Tell whether ``state`` is a success."""
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
        """Return the group as lines of text."""
        error = self.error
        lines = [f"{wording.plural(len(self.hosts), 'host')}: {error.code}: {error.what}"]
        lines += [f"  {listed(self.hosts)}"]
        lines += [f"  where: {error.where}"] if error.where else []
        lines += [f"  hint: {error.hint}"] if error.hint else []
        return lines


def groups(hosts: Iterable[HostResult]) -> list[Group]:
    """Return the errors, grouped if equal, the most frequent first.

    Errors are equal if they differ only in host names, fingerprints or numbers.
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
    """Return at most ``most`` names, and the number of the others."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def hosts_in_words(found: Sequence[HostResult]) -> str:
    """Return the number of hosts, or their names if they are few."""
    verb = "has" if len(found) == 1 else "have"
    return f"{listed([host.name for host in found])} {verb}"
